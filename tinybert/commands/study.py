"""The command `study`: a recipe with a matrix of values, every run written down beforehand."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import tomli
from pydantic import BaseModel, ConfigDict, ValidationError

from tinybert.commands.chain import chain_of, require_files, run_apart, run_missing
from tinybert.errors import ChainError, RecipeError, UsageError
from tinybert.files import relative_to_cwd
from tinybert.manifest.canonical import to_json
from tinybert.manifest.document import Run
from tinybert.manifest.study import Study, StudyMember, StudyRecord
from tinybert.metrics.spread import Spread
from tinybert.recipe.identity import identity
from tinybert.recipe.keys import as_toml
from tinybert.recipe.load import load
from tinybert.recipe.source import read_source
from tinybert.report.runs import is_loss, main_metric
from tinybert.report.seeds import SeedGroup, over_seeds
from tinybert.report.table import as_table
from tinybert.run.execute import RunOptions
from tinybert.signals import StopRequest
from tinybert.terminal import print_text

MAX_RUNS = 1000
"""Runs of a study."""
Members = Sequence[tuple[StudyMember, Run | None]]
"""The members of a study, each with its run."""
NOT_REPEATED = "TrainingError"
"""The error of a run that would fail again: its loss was not finite, or the like."""
GOES_ON = (1, 3)
"""Exit codes of a member after which the others are run: training failed, [expect] not met."""


class StudyFile(BaseModel):
    """A study as a TOML file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    recipe: str
    """Path of the recipe, relative to the root."""
    values: dict[str, Any]
    """A list of values, or one, by dotted key."""


def study(
    *,
    recipe: str,
    overrides: Sequence[str],
    device: str | None,
    dry_run: bool,
    format: Literal["text", "json"],
    root: Path,
) -> tuple[str, int]:
    """Run every combination of values that has not run yet; return the table, and an exit code.

    Raises:
        ChainError: A run failed by something else than its values; the same command goes on.
        StoppedError: The user stopped.
        TinybertError: The recipe, a value or a file has problems; nothing ran.
    """
    path, matrix = _matrix(recipe, overrides, root)
    members = [_member(path, chosen, device) for chosen in _combinations(matrix)]
    options = RunOptions(path, root, device=device, dry_run=dry_run)
    record = StudyRecord(
        recipe=Path(path).stem, device=device, values=dict(matrix), members=members
    )
    if len({member.identity for member in members}) < len(members):
        raise UsageError("two runs of the study would be the same", cure="name each value once")
    links = list(chain_of([(Path(path), member.overrides) for member in members], options))
    require_files(links, root)
    if dry_run:
        return "\n".join(" ".join(member.overrides) for member in members), 0
    written = Study.write(root, record)
    parents = [link for link in links if not link.recipe.path.samefile(path)]
    with StopRequest() as stop:
        run_missing(parents, options, stop)
        _run_members(written, path, options, stop)
    states = written.members()
    return summary(written, states, format), 1 if _missing(states) else 0


def _run_members(study: Study, path: str, options: RunOptions, stop: StopRequest) -> None:
    """Run the members that are missing."""
    members = study.members()
    for number, (member, run) in enumerate(members, 1):
        name = f"{number} of {len(members)}: {' '.join(member.overrides)}"
        if run is not None and _is_done(run):
            print_text(f"{name} is {run.status}: {relative_to_cwd(run.path)}", sys.stderr)
            continue
        print_text(name, sys.stderr)
        own = replace(options, overrides=member.overrides, study=study.path)
        left = len(members) - number
        try:
            run_apart(
                load(path, member.overrides, options.device),
                own,
                stop,
                [f"{left} more {'run' if left == 1 else 'runs'} of the study"] if left else [],
            )
        except ChainError as error:
            if error.exit_code not in GOES_ON:
                raise
            print_text(f"warning: {error.message}", sys.stderr)


def summary(study: Study, members: Members, format: Literal["text", "json"]) -> str:
    """Return what the runs of a study measured, its spread over seeds, and which is best."""
    runs = [run for _, run in members if run is not None and run.status == "finished"]
    groups = list(over_seeds(runs))
    best = best_group(groups)
    if format == "json":
        document = to_json(_document(study, members, groups, best))
        return json.dumps(document, indent=2, allow_nan=False) + "\n"
    lines = [f"{relative_to_cwd(study.path)}: {len(runs)} of {len(members)} runs finished"]
    lines += _missing(members)
    if best is not None:
        metric = main_metric(best.runs[0])[0]
        names = list(dict.fromkeys([metric, *best.spreads]))
        lines += as_table([("values", "metric", "mean and deviation"), *_rows(groups, names)])
        lines.append(f"best by the mean of {metric}: {best.name}")
    return "\n".join(lines) + "\n"


def _rows(groups: Sequence[SeedGroup], names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for name in names:
        for group in groups:
            if name in group.spreads:
                yield group.name, name, str(group.spreads[name])


def best_group(groups: Sequence[SeedGroup]) -> SeedGroup | None:
    """Return the group with the best mean of the recipe's own metric; a NaN is worse than any."""

    def rank(group: SeedGroup) -> tuple[bool, float]:
        metric, _ = main_metric(group.runs[0])
        values = [value for run in group.runs if (value := main_metric(run)[1]) is not None]
        mean = Spread.of(values).mean
        return not math.isnan(mean), -mean if is_loss(metric) else mean

    measured = [group for group in groups if main_metric(group.runs[0])[1] is not None]
    return max(measured, key=rank, default=None)


def _missing(members: Members) -> list[str]:
    """Return a line for each member without a finished run."""
    return [
        f"{' '.join(member.overrides)}: {'not run' if run is None else run.status}"
        for member, run in members
        if run is None or run.status != "finished"
    ]


def _is_done(run: Run) -> bool:
    error = run.manifest.outcome.error
    failed = run.status == "failed" and error is not None and error.type == NOT_REPEATED
    return run.status == "finished" or failed


def _matrix(
    recipe: str, overrides: Sequence[str], root: Path
) -> tuple[str, Mapping[str, list[Any]]]:
    """Return a study's recipe, and the values of each key, by a recipe or by a study's file."""
    matrix: dict[str, list[Any]] = {}
    if (file := _study_file(recipe)) is not None:
        recipe = relative_to_cwd(root / file.recipe)
        for key, value in file.values.items():
            matrix[key] = value if isinstance(value, list) else [value]
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"`--set {override}` has no values", cure="write KEY=VALUE,VALUE")
        matrix[key.strip()] = list(_values(text))
    runs = math.prod(map(len, matrix.values())) if matrix else 0
    if not 1 <= runs <= MAX_RUNS:
        message = f"a study has 1 to {MAX_RUNS:,} runs, this one {runs:,}"
        raise UsageError(message, cure="vary a value: --set seed=1,2,3")
    return recipe, matrix


def _study_file(path: str) -> StudyFile | None:
    """Return a study's file; None of a recipe, or of what is no TOML, which `load` reports.

    Raises:
        RecipeError: It names a recipe, but is no study otherwise.
    """
    try:
        content = tomli.loads(read_source(path).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if "recipe" not in content:
        return None
    try:
        return StudyFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(f"no study: `{place}`: {first['msg'].lower()}", where=path) from None


def _values(text: str) -> Sequence[Any]:
    """Return the values that `--set` lists: of a TOML array without brackets, or bare words."""
    try:
        values: list[Any] = tomli.loads(f"values = [{text}]")["values"]
    except tomli.TOMLDecodeError:
        return [word.strip() for word in text.split(",")]
    return values


def _combinations(matrix: Mapping[str, list[Any]]) -> Iterator[list[str]]:
    """Yield the arguments of `--set` of each run; the last key varies first."""
    for values in product(*matrix.values()):
        yield [f"{key}={as_toml(value)}" for key, value in zip(matrix, values, strict=True)]


def _member(path: str, overrides: list[str], device: str | None) -> StudyMember:
    resolved = load(path, overrides, device)
    return StudyMember(overrides=overrides, identity=identity(resolved.values))


def _document(
    study: Study, members: Members, groups: Sequence[SeedGroup], best: SeedGroup | None
) -> dict[str, object]:
    """Return the table as JSON."""
    return {
        "study": str(study.path),
        "digest": study.digest,
        "missing": _missing(members),
        "groups": [group.to_json() for group in groups],
        "metric": None if best is None else main_metric(best.runs[0])[0],
        "best": None if best is None else best.options,
    }
