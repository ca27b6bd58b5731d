"""Several runs side by side: what differs, what they measured, its spread over seeds; `compare`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from tinybert.errors import UsageError
from tinybert.manifest.canonical import to_json
from tinybert.manifest.document import Run
from tinybert.report.facts import Row, ending, final_metrics
from tinybert.report.page import write_page
from tinybert.report.seeds import SeedGroup, differing_options, options_of, over_seeds
from tinybert.report.table import as_table

MOST = len(ascii_uppercase)
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
        ManifestError: A manifest is missing, or is none.
        UsageError: There are too many runs, or the page may not be written.
    """
    if len(manifests) > MOST:
        raise UsageError(f"{len(manifests)} runs are too many: at most {MOST} have a letter each")
    runs = [Run.load(path) for path in manifests]
    groups = list(over_seeds(runs))
    differing, measured = list(differing_options(runs)), list(_metrics(runs))
    if output is not None:
        write_page(manifests, output, force=force)
    if format == "json":
        return json.dumps(to_json(_document(runs, groups)), indent=2, allow_nan=False) + "\n"
    return "\n".join(_lines(runs, differing, measured, groups)) + "\n"


def _metrics(runs: Sequence[Run]) -> Iterator[tuple[str, list[float | None]]]:
    metrics = [final_metrics(run) for run in runs]
    for name in dict.fromkeys(name for each in metrics for name in each):
        yield name, [each.get(name) for each in metrics]


def _shown(values: Sequence[float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.6g}" for value in values]


def _lines(
    runs: Sequence[Run],
    differing: Sequence[Row],
    measured: Sequence[tuple[str, list[float | None]]],
    groups: Sequence[SeedGroup],
) -> Iterator[str]:
    names = ascii_uppercase[: len(runs)]
    for letter, run in zip(names, runs, strict=True):
        yield f"{letter}  {run.path}  {ending(run)}"
    yield "what differs"
    yield from as_table([("", *names), *differing], indent=2) if differing else ["  nothing"]
    yield "results"
    rows = [(name, *_shown(values)) for name, values in measured]
    yield from as_table([("", *names), *rows], indent=2) if rows else ["  none"]
    repeated = [group for group in groups if len(group.runs) > 1]
    if repeated:
        yield "over seeds"
        yield from as_table([row for group in repeated for row in group.rows()], indent=2)


def _document(runs: Sequence[Run], groups: Sequence[SeedGroup]) -> dict[str, Any]:
    """Return the comparison as JSON."""
    return {
        "runs": [
            {
                "manifest": str(run.path),
                "status": run.status,
                "options": options_of(run),
                "metrics": final_metrics(run),
            }
            for run in runs
        ],
        "over_seeds": [group.to_json() for group in groups],
    }
