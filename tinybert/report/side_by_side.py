"""Several runs side by side: what differs, what they measured, its spread over seeds; `compare`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from tinybert.compare.causes import ABSENT, format_value
from tinybert.errors import UsageError
from tinybert.manifest.canonical import to_json
from tinybert.manifest.document import Run
from tinybert.metrics.spread import Spread
from tinybert.recipe.identity import WITHOUT_EFFECT
from tinybert.recipe.load import leaves
from tinybert.report.facts import Row, ending, final_metrics
from tinybert.report.page import write_page
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
    """Return runs side by side; with `output`, write a page with their curves over each other too.

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
        tables = {"What differs": differing, "Results": [(n, *_shown(v)) for n, v in measured]}
        tables["Over seeds"] = [row for group in groups for row in group.rows()]
        write_page("compare.html.jinja", runs, tables, output, force=force)
    if format == "json":
        return json.dumps(to_json(_document(runs, groups)), indent=2, allow_nan=False) + "\n"
    return "\n".join(_lines(runs, differing, measured, groups)) + "\n"


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in their seed alone."""

    options: dict[str, str]
    """What tells them from the other runs."""
    runs: list[Run]
    spreads: dict[str, Spread]
    """By metric."""

    @property
    def name(self) -> str:
        """The options in one line."""
        return ", ".join(f"{key} = {value}" for key, value in self.options.items()) or "all"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "options": self.options,
            "runs": [str(run.path) for run in self.runs],
            "metrics": {
                name: {
                    "mean": spread.mean,
                    "deviation": spread.deviation,
                    "interval": spread.interval,
                }
                for name, spread in self.spreads.items()
            },
        }

    def rows(self) -> Iterator[Row]:
        """Yield options, metric and spread."""
        for name, spread in self.spreads.items():
            yield self.name, name, str(spread)


def over_seeds(runs: Sequence[Run]) -> Iterator[SeedGroup]:
    """Yield the groups of runs of equal options and parents, whatever their seeds."""
    options = [_options(run) for run in runs]
    telling = [key for key in _keys(options) if key != "seed" and _differs(options, key)]
    groups: dict[str, list[int]] = {}
    for place, (run, own) in enumerate(zip(runs, options, strict=True)):
        parents = {each.role: each.outcome_digest for each in run.manifest.inputs.parents}
        fixed = {key: value for key, value in own.items() if key != "seed"}
        groups.setdefault(json.dumps([fixed, parents], sort_keys=True), []).append(place)
    for places in groups.values():
        members = [runs[place] for place in places]
        metrics = [final_metrics(run) for run in members]
        yield SeedGroup(
            {key: options[places[0]].get(key, ABSENT) for key in telling},
            members,
            {
                name: Spread.of([values[name] for values in metrics])
                for name in (metrics[0] if metrics else {})
                if all(name in values for values in metrics)
            },
        )


def differing_options(runs: Sequence[Run]) -> Iterator[Row]:
    """Yield name and values of every option and fact that is not the same in all runs."""
    options = [_options(run) | _facts(run) for run in runs]
    for key in _keys(options):
        if _differs(options, key):
            yield (key, *(each.get(key, "-") for each in options))


def _options(run: Run) -> dict[str, str]:
    values = leaves(run.manifest.inputs.recipe.values)
    named = ((".".join(path), format_value(value)) for path, value in values)
    return {key: value for key, value in named if not WITHOUT_EFFECT.match(key)}


def _facts(run: Run) -> dict[str, str]:
    """Return what a result may depend on, beside the options."""
    inputs, environment = run.manifest.inputs, run.manifest.environment
    facts = {"stage": inputs.stage, "code": inputs.code.digest[:12]}
    facts |= {f"{each.role}'s run": each.outcome_digest[:12] for each in inputs.parents}
    files = {file.role: file.sha256[:12] for file in inputs.files if file.role.endswith("data")}
    facts |= {f"files of {role}": digest for role, digest in files.items()}
    if environment is not None:
        facts["processor"] = environment.cpu.model or "-"
        facts["MindSpore"] = environment.mindspore.version or "-"
    return facts


def _keys(options: Sequence[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for each in options for key in each))


def _differs(options: Sequence[dict[str, str]], key: str) -> bool:
    return len({each.get(key) for each in options}) > 1


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
                "options": _options(run),
                "metrics": final_metrics(run),
            }
            for run in runs
        ],
        "over_seeds": [group.to_json() for group in groups],
    }
