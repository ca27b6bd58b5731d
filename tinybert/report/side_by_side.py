"""Several runs side by side: what differs, what they measured, its spread over seeds; `compare`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from tinybert.errors import UsageError
from tinybert.manifest.canonical import to_json
from tinybert.manifest.document import Run
from tinybert.report.assessed import AssessedRun
from tinybert.report.assessed_text import paired_lines
from tinybert.report.facts import Row, ending, final_metrics
from tinybert.report.page import write_page
from tinybert.report.paired import PairedRuns, pair_runs
from tinybert.report.seeds import (
    SeedGroup,
    differing_options,
    options_of,
    over_seeds,
    unshared_text,
)
from tinybert.report.table import as_table

MAX_RUNS = len(ascii_uppercase)
"""Runs that have a letter each."""


def compare(
    manifests: Sequence[Path],
    *,
    format: Literal["text", "json"],
    output: Path | None,
    force: bool,
) -> str:
    """Return runs side by side; with `output`, write their page too.

    Raises:
        ManifestError: A file is missing, or is no manifest.
        UsageError: There are too many runs, or the page may not be written.
    """
    if len(manifests) > MAX_RUNS:
        raise UsageError(
            f"{len(manifests)} runs are too many: at most {MAX_RUNS} have a letter each"
        )
    runs = [Run.load(path) for path in manifests]
    groups = list(over_seeds(runs))
    if output is not None:
        write_page(manifests, output, force=force)
    assessed = [AssessedRun(run) for run in runs]
    pairs = list(_pairs(assessed))
    if format == "json":
        document = to_json(_document(assessed, groups, pairs))
        return json.dumps(document, indent=2, allow_nan=False) + "\n"
    lines = [*_lines(runs, groups), *_paired_lines(pairs)]
    return "\n".join(lines) + "\n"


def _metrics(runs: Sequence[Run]) -> Iterator[Row]:
    """Yield name and values of every metric of the runs."""
    metrics = [final_metrics(run) for run in runs]
    for name in dict.fromkeys(name for each in metrics for name in each):
        yield (name, *(f"{each[name]:.6g}" if name in each else "-" for each in metrics))


def _lines(runs: Sequence[Run], groups: Sequence[SeedGroup]) -> Iterator[str]:
    names = ascii_uppercase[: len(runs)]
    differing, unshared = differing_options(runs)
    for letter, run in zip(names, runs, strict=True):
        yield f"{letter}  {run.path}  {ending(run)}"
    yield "what differs"
    yield from as_table([("", *names), *differing], indent=2) if differing else ["  nothing"]
    if unshared:
        yield f"  and {unshared_text(unshared)}"
    yield "results"
    rows = list(_metrics(runs))
    yield from as_table([("", *names), *rows], indent=2) if rows else ["  none"]
    repeated = [group for group in groups if group.seeds > 1]
    if repeated:
        yield "over seeds"
        yield from as_table([row for group in repeated for row in group.rows()], indent=2)


def _pairs(assessed: Sequence[AssessedRun]) -> Iterator[tuple[str, PairedRuns]]:
    """Yield A beside each other evaluation of the same rows, with the letter of that one."""
    if len(assessed) > 1 and assessed[0].assessment is not None:
        for letter, other in zip(ascii_uppercase[1:], assessed[1:], strict=False):
            if (paired := pair_runs(assessed[0], other)) is not None:
                yield letter, paired


def _paired_lines(pairs: Sequence[tuple[str, PairedRuns]]) -> Iterator[str]:
    for letter, paired in pairs:
        yield f"A and {letter}, row by row"
        yield from (f"  {line}" for line in paired_lines(paired, other=letter))


def _document(
    assessed: Sequence[AssessedRun],
    groups: Sequence[SeedGroup],
    pairs: Sequence[tuple[str, PairedRuns]],
) -> dict[str, Any]:
    """Return the comparison as JSON."""
    return {
        "runs": [
            {
                "manifest": str(each.run.path),
                "status": each.run.status,
                "options": options_of(each.run),
                "metrics": final_metrics(each.run),
                "intervals": each.intervals,
            }
            for each in assessed
        ],
        "over_seeds": [group.to_json() for group in groups],
        "paired": [{"a": "A", "b": letter} | to_json(paired) for letter, paired in pairs],
    }
