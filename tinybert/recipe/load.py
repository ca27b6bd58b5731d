"""Read, validate and resolve a recipe, or report all its problems."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import rfc8785
from pydantic import ValidationError

from tinybert.recipe.diagnose import ValidValues, diagnose
from tinybert.recipe.distill_rules import distill_problems
from tinybert.recipe.keys import TablePath, dotted
from tinybert.recipe.model import STAGES, AnyRecipe
from tinybert.recipe.network_rules import network_problems
from tinybert.recipe.problems import InvalidRecipeError
from tinybert.recipe.run_rules import run_problems
from tinybert.recipe.source import Document, overridden, parse, read_source
from tinybert.recipe.tables import Batches, batch_size, device_count, global_batch_size


@dataclass(frozen=True)
class Origin:
    """Where a resolved value comes from.

    Args:
        kind: The recipe file, a default, `--set`, `--device`, or other values.
        place: `path:line:column`, the argument, or the formula; empty for a default.
    """

    kind: Literal["file", "default", "set", "device", "derived"]
    place: str


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe that is valid, with every value that a run of it uses.

    Args:
        path: The file as the user named it.
        text: Its content.
        text_sha256: SHA-256 of its bytes, in hexadecimal.
        recipe: The typed tables.
        overrides: The `--set` arguments, without `--set`.
        device: The `--device` argument.
        values: All values as plain TOML types, with defaults and derived values.
        origins: Where each leaf of `values` comes from, by dotted key.
        digest: SHA-256 of `values` as canonical JSON, in hexadecimal. Two recipes of one digest
            ask for the same run, whatever their comments and the order of their keys.
    """

    path: Path
    text: str
    text_sha256: str
    recipe: AnyRecipe
    overrides: tuple[str, ...]
    device: str | None
    values: dict[str, Any]
    origins: dict[str, Origin]
    digest: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem


def load(
    path: str | Path, overrides: Sequence[str] = (), device: str | None = None
) -> ResolvedRecipe:
    """Read, validate and resolve a recipe.

    Args:
        path: The TOML file.
        overrides: `a.b=c` each, as after `--set`.
        device: `CPU` or `Ascend`, to run on another device than the recipe's.

    Raises:
        RecipeError: The file cannot be read.
        InvalidRecipeError: It has problems, all of which are in the error.
    """
    return resolve(path, read_source(path), overrides, device)


def resolve(
    path: str | Path, content: bytes, overrides: Sequence[str] = (), device: str | None = None
) -> ResolvedRecipe:
    """Validate and resolve the content of a recipe, as `load` does with a file's.

    Raises:
        InvalidRecipeError: It has problems, all of which are in the error.
    """
    name = str(path).encode("utf-8", "replace").decode()
    document, problems = overridden(parse(name, content), overrides, device)
    stage = _stage(document)
    try:
        recipe, errors = STAGES[stage].model_validate(document.values), []
    except ValidationError as error:
        recipe, errors = None, error.errors(include_url=False)
    diagnosis = diagnose(document, STAGES[stage], errors)
    written = ValidValues(document, diagnosis)
    problems += diagnosis.problems
    problems += network_problems(written, stage)
    for table in written.trainings():
        problems += distill_problems(written, table)
    problems += run_problems(written, stage)
    if problems or recipe is None:
        raise InvalidRecipeError(problems)
    values, origins = _resolved(document, recipe)
    return ResolvedRecipe(
        path=Path(path),
        text=content.decode(),
        text_sha256=sha256(content).hexdigest(),
        recipe=recipe,
        overrides=tuple(overrides),
        device=device,
        values=values,
        origins=origins,
        digest=sha256(rfc8785.dumps(values)).hexdigest(),
    )


def _stage(document: Document) -> str:
    """Return the stage, or the likeliest one, so that the rest is checked even without it."""
    stage = document.value(("stage",))
    close = get_close_matches(str(stage), STAGES, 1)
    if close:
        return close[0]
    if document.value(("phase1",)) or document.value(("phase2",)):
        return "task_distill"
    if document.value(("distill",)):
        return "general_distill"
    return "finetune" if document.value(("training",)) else "evaluate"


def _resolved(document: Document, recipe: AnyRecipe) -> tuple[dict[str, Any], dict[str, Origin]]:
    values = recipe.model_dump(mode="json", exclude_none=True)
    if not values["network"]:
        del values["network"]
    origins = {dotted(path): _origin(document, path) for path, _ in leaves(values)}
    values["topology"]["device_count"] = device_count(recipe.topology)
    origins["topology.device_count"] = Origin("derived", "hosts * devices_per_host")
    for path, batches in _batches(recipe):
        table = values[path]
        for key, number, formula in (
            ("batch_size", batch_size, "global_batch_size / device_count"),
            ("global_batch_size", global_batch_size, "batch_size * device_count"),
        ):
            if key not in table:
                table[key] = number(batches, recipe.topology)
                origins[f"{path}.{key}"] = Origin("derived", formula)
    return values, origins


def _batches(recipe: AnyRecipe) -> Iterator[tuple[str, Batches]]:
    """Yield each table of a recipe that has batch sizes."""
    for name in ("data", "phase1", "phase2"):
        table = getattr(recipe, name, None)
        if isinstance(table, Batches):
            yield name, table


def leaves(values: dict[str, Any], table: TablePath = ()) -> Iterator[tuple[TablePath, Any]]:
    """Yield path and value of every value that is not a table."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*table, key))
        else:
            yield (*table, key), value


def _origin(document: Document, path: TablePath) -> Origin:
    if document.value(path) is None:
        return Origin("default", "")
    place = document.value_place(path)
    if place.name.startswith("--device "):
        return Origin("device", str(place))
    return Origin("set" if place.name.startswith("--set ") else "file", str(place))
