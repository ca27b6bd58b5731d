"""Why two runs differ: what differs in their inputs, their graphs and their environments, ranked.

Input comes before what was built from it, and that before the environment. The batches of the
first differing step decide whether the data or the arithmetic is the more probable cause.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.compare.steps import StepDifference
from tinybert.compare.tensors import differing_names, tensor_tables
from tinybert.manifest.bit_relevance import is_bit_relevant
from tinybert.manifest.leaf import Kind, Section, iterate_facts
from tinybert.manifest.model import InputFile, Inputs, Manifest, Number
from tinybert.recipe.identity import has_effect

PLACE = re.compile(r"(_dir|_path)(\.|$)")
"""Options that name the place of a file; its digest is what identifies it."""
DATA_OPTION = re.compile(r"data\.(?!micro_batches)|phase\d\.(global_)?batch_size")
"""Options that choose or order the rows of a batch."""
OF_PROCESSES = frozenset({"topology.hosts", "topology.processes"})
"""What the number of processes changes in `effective` and `environment`."""
SHA256 = re.compile("[0-9a-f]{64}")
ABSENT = "absent"

SEED, DATA, OPTION, WEIGHTS, PARENT, CODE, ORDER, BUILT, ENVIRONMENT, NOTE = range(10)
"""Ranks of causes. A NOTE differs without being a cause."""


@dataclass(frozen=True)
class Cause:
    """A difference outside the outcome.

    Args:
        path: The fact's place in the manifest.
        kind: Its class.
        a: Its value in A.
        b: Its value in B.
        text: The difference in one line.
        rank: SEED to NOTE.
    """

    path: str
    kind: Kind
    a: Any
    b: Any
    text: str
    rank: int


Difference = tuple[str, Kind, Any, Any]
Folders = tuple[Path, Path]


def causes(a: Manifest, b: Manifest, step: StepDifference | None, folders: Folders) -> list[Cause]:
    """Return every difference outside the outcome, the most probable cause first.

    The first differing `step` is None where the traces are equal, or could not be compared.
    """
    inputs = differing_inputs(a.inputs, b.inputs, folders)
    every = [*inputs, *_order(inputs, step), *_built(a, b), *environment_causes(a, b)]
    return sorted(every, key=lambda cause: (_position(cause, step), cause.rank))


def differing_inputs(a: Inputs, b: Inputs, folders: Folders | None = None) -> list[Cause]:
    """Return every difference of two runs' inputs: seed and options, files, parents, code."""
    return [*_options(a, b), *_files(a, b, folders), *_parents(a, b), *_code(a, b)]


def exact_value(value: Any) -> str:
    """Return a value of a manifest or a trace in one line, numbers exact."""
    if isinstance(value, Number):
        value = float(value)
    return f"{value!r} ({value.hex()})" if isinstance(value, float) else format_value(value)


def format_value(value: Any) -> str:
    """Return a value as the recipe or the manifest writes it, cut to a line; a digest's start."""
    if isinstance(value, str) and SHA256.fullmatch(value):
        return value[:12]
    text = value if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def differing_leaves(path: str, a: Section | None, b: Section | None) -> Iterator[Difference]:
    """Yield place, class and both values of the differing leaves of two tables of one kind."""
    if a is None or b is None:
        return
    first, second = ({fact.path: fact for fact in iterate_facts(side, path)} for side in (a, b))
    for place, fact in {**first, **second}.items():
        if fact.leaf.comparator == "ignored":
            continue
        x, y = (side[place].value if place in side else ABSENT for side in (first, second))
        if fact.leaf.comparator == "set":
            x, y = sorted(x), sorted(y)
        if x != y or type(x) is not type(y):
            yield place, fact.leaf.kind, x, y


def _position(cause: Cause, step: StepDifference | None) -> int:
    """Return a cause's place: what can change the batches leads if the batches changed first."""
    if cause.rank not in (DATA, OPTION, WEIGHTS, PARENT) or step is None:
        return cause.rank
    option = cause.path.removeprefix("inputs.recipe.values.")
    about_data = cause.rank == DATA or bool(DATA_OPTION.match(option))
    return DATA if about_data == step.other_data else OPTION


def _cause(difference: Difference, name: str, rank: int) -> Cause:
    path, kind, a, b = difference
    return Cause(path, kind, a, b, f"{name}: {format_value(a)} in A, {format_value(b)} in B", rank)


def _options(a: Inputs, b: Inputs) -> Iterator[Cause]:
    differences = list(differing_leaves("inputs.recipe", a.recipe, b.recipe))
    values = a.recipe.values, b.recipe.values
    for difference in differences:
        option = difference[0].removeprefix("inputs.recipe.values.")
        if option == "seed":
            yield _cause(difference, "seed", SEED)
        elif PLACE.search(option) or not has_effect(option, *values):
            yield _cause(difference, f"option {option}", NOTE)
        else:
            yield _cause(difference, f"option {option}", OPTION)
    if not any(difference[0].endswith("values.seed") for difference in differences):
        for name, x, y in _differing_items(a.seeds, b.seeds):
            yield _cause((f"inputs.seeds.{name}", "input", x, y), f"seed {name}", SEED)


def _differing_items(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in {**a, **b}:
        x, y = a.get(key, ABSENT), b.get(key, ABSENT)
        if x != y:
            yield key, x, y


def _by_role(files: list[InputFile]) -> dict[str, InputFile]:
    counts: Counter[str] = Counter()
    named = {}
    for file in files:
        named[f"{file.role}.{counts[file.role]}"] = file
        counts[file.role] += 1
    return named


def _files(a: Inputs, b: Inputs, folders: Folders | None) -> Iterator[Cause]:
    first, second = _by_role(a.files), _by_role(b.files)
    for key in {**first, **second}:
        x, y = first.get(key), second.get(key)
        path = f"inputs.files.{key}"
        if x is not None and y is not None:
            if x.sha256 != y.sha256:
                yield _changed_file(path, x, y, folders)
        elif only := x or y:
            values = (only.path, ABSENT) if x else (ABSENT, only.path)
            text = f"{only.role} file {only.path} is read in {'A' if x else 'B'} alone"
            yield Cause(path, "input", *values, text, WEIGHTS if only.tensor_digest else DATA)


def _changed_file(path: str, x: InputFile, y: InputFile, folders: Folders | None) -> Cause:
    name = x.path if x.path == y.path else f"{x.path} in A, {y.path} in B"
    if not (x.tensor_digest and y.tensor_digest):
        text = f"{x.role} file: other bytes ({name})"
        return Cause(f"{path}.sha256", "input", x.sha256, y.sha256, text, DATA)
    if x.tensor_digest == y.tensor_digest:
        text = f"{x.role} checkpoint: other bytes, equal tensors ({name})"
        return Cause(f"{path}.sha256", "input", x.sha256, y.sha256, text, NOTE)
    text = f"{x.role} checkpoint: other weights{_first_weight(x, y, folders)} ({name})"
    return Cause(f"{path}.tensor_digest", "input", x.tensor_digest, y.tensor_digest, text, WEIGHTS)


def _first_weight(x: InputFile, y: InputFile, folders: Folders | None) -> str:
    """Return which tensors of two checkpoints differ, if their tables can be read."""
    tables = tensor_tables(x, y, folders) if folders else None
    if tables is None:
        return ""
    names = differing_names(*tables)
    return f" in `{names[0]}`" + (f" and {len(names) - 1} more tensors" if len(names) > 1 else "")


def _parents(a: Inputs, b: Inputs) -> Iterator[Cause]:
    first, second = ({p.role: p.outcome_digest for p in side.parents} for side in (a, b))
    for role, x, y in _differing_items(first, second):
        path = f"inputs.parents.{role}.outcome_digest"
        yield _cause((path, "input", x, y), f"outcome of the {role}'s run", PARENT)


def _code(a: Inputs, b: Inputs) -> Iterator[Cause]:
    x, y = a.code, b.code
    first, second = {**x.untracked, **x.files}, {**y.untracked, **y.files}
    if names := sorted(name for name, _, _ in _differing_items(first, second)):
        text = f"code: {names[0]}"
        if len(names) > 1:
            text += f" and {len(names) - 1} more files"
        if x.commit != y.commit:
            text += f" (commit {(x.commit or 'none')[:12]} in A, {(y.commit or 'none')[:12]} in B)"
        yield Cause("inputs.code.digest", "input", x.digest, y.digest, text, CODE)


def _order(inputs: list[Cause], step: StepDifference | None) -> list[Cause]:
    """Return the batch order as a cause where equal inputs gave other batches."""
    if step is None or step.batches_from is None or any(item.rank < CODE for item in inputs):
        return []
    what = "the same batches in another order" if step.same_batches else "but other batches"
    text = f"batch order: equal inputs, {what} from step {step.batches_from + 1}"
    return [Cause("trace.batch_digest", "derived", ABSENT, ABSENT, text, ORDER)]


def _built(a: Manifest, b: Manifest) -> Iterator[Cause]:
    for difference in differing_leaves("effective", a.effective, b.effective):
        name = difference[0].removeprefix("effective.")
        harmless = name in OF_PROCESSES and not _processes_have_effect(a, b)
        yield _cause(difference, f"built {name}", NOTE if harmless else BUILT)


def environment_causes(a: Manifest, b: Manifest) -> Iterator[Cause]:
    """Yield every difference of what two runs ran on."""
    for difference in differing_leaves("environment", a.environment, b.environment):
        name = difference[0].removeprefix("environment.")
        if name == "distributions.mindspore":
            continue  # the same fact as mindspore.version
        if name in OF_PROCESSES:
            relevant = _processes_have_effect(a, b)
        else:
            relevant = any(m.environment and is_bit_relevant(m.environment, name) for m in (a, b))
        name = name.replace("mindspore.version", "distributions.mindspore")
        name = name.replace("distributions.", "library ")
        yield _cause(difference, name, ENVIRONMENT if relevant else NOTE)


def _processes_have_effect(a: Manifest, b: Manifest) -> bool:
    """Return whether results depend on the number of processes, according to the recipes."""
    return has_effect("topology.hosts", a.inputs.recipe.values, b.inputs.recipe.values)
