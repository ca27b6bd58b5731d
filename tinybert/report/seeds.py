"""Runs that differ in their seed alone, and the options and facts in which others differ."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinybert.compare.causes import ABSENT, format_value
from tinybert.errors import counted
from tinybert.manifest.document import Run
from tinybert.metrics.spread import Spread
from tinybert.recipe.identity import has_effect
from tinybert.recipe.load import leaves
from tinybert.report.facts import Row, final_metrics


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in their seed alone."""

    options: dict[str, str]
    """Their values of the options in which the groups differ."""
    runs: list[Run]
    spreads: dict[str, Spread]
    """By metric, over the seeds: runs that repeat a seed count once, by their mean."""

    @property
    def seeds(self) -> int:
        """How many seeds the runs have."""
        return len({_seed(run) for run in self.runs})

    @property
    def name(self) -> str:
        """The options in one line."""
        return ", ".join(f"{key} = {value}" for key, value in self.options.items()) or "all"

    @property
    def short_name(self) -> str:
        """The options in one line, by the last parts of their names, as far as those differ."""
        named = zip(short_keys(list(self.options)), self.options.values(), strict=True)
        return ", ".join(f"{key} = {value}" for key, value in named) or "all"

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
    options = [options_of(run) for run in runs]
    differing = [key for key in _keys(options) if key != "seed" and _differs(options, key)]
    groups: dict[str, list[int]] = {}
    for place, (run, own) in enumerate(zip(runs, options, strict=True)):
        parents = {each.role: each.outcome_digest for each in run.manifest.inputs.parents}
        fixed = {key: value for key, value in own.items() if key != "seed"}
        groups.setdefault(json.dumps([fixed, parents], sort_keys=True), []).append(place)
    for places in groups.values():
        members = [runs[place] for place in places]
        metrics = _metrics_by_seed(members)
        yield SeedGroup(
            {key: options[places[0]].get(key, ABSENT) for key in differing},
            members,
            {
                name: Spread.of([values[name] for values in metrics])
                for name in (metrics[0] if metrics else {})
                if all(name in values for values in metrics)
            },
        )


def _metrics_by_seed(runs: Sequence[Run]) -> list[dict[str, float]]:
    """Return for each seed the means of what its runs measured, of the metrics that all have."""
    seeds: dict[object, list[dict[str, float]]] = {}
    for run in runs:
        seeds.setdefault(_seed(run), []).append(final_metrics(run))
    return [
        {
            name: sum(each[name] for each in measured) / len(measured)
            for name in measured[0]
            if all(name in each for each in measured)
        }
        for measured in seeds.values()
    ]


def _seed(run: Run) -> object:
    return run.manifest.inputs.recipe.values.get("seed")


def differing_options(runs: Sequence[Run]) -> tuple[list[Row], int]:
    """Return what is not the same in all runs, of the options and facts that every stage has.

    Returns:
        Name and values of each, and how many others there are that not every stage has.
    """
    options = [options_of(run) | _facts(run) for run in runs]
    stages = [run.manifest.inputs.stage for run in runs]
    rows, unshared = list[Row](), 0
    for key in _keys(options):
        having = {stage for stage, own in zip(stages, options, strict=True) if key in own}
        if len(having) < len(set(stages)):
            unshared += 1
        elif _differs(options, key):
            rows.append((key, *(own.get(key, "-") for own in options)))
    return rows, unshared


def unshared_text(unshared: int) -> str:
    """Return how many options not every stage has; empty where every stage has all of them."""
    return f"{counted(unshared, 'option')} that not every stage has" if unshared else ""


def short_keys(keys: Sequence[str]) -> list[str]:
    """Return the last parts of dotted keys; a whole key where another has the same last part."""
    counts = Counter(key.rpartition(".")[2] for key in keys)
    return [last if counts[last := key.rpartition(".")[2]] == 1 else key for key in keys]


def options_of(run: Run) -> dict[str, str]:
    """Return the options of a run that change its outcome, by dotted key."""
    values = run.manifest.inputs.recipe.values
    named = ((".".join(path), format_value(value)) for path, value in leaves(values))
    return {key: value for key, value in named if has_effect(key, values)}


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
