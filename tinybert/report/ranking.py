"""Several runs, the best first, and what runs of several seeds have in common."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tinybert.report.badges import Badge, run_badge
from tinybert.report.facts import duration, final_metrics
from tinybert.report.numbers import number
from tinybert.report.results import NONE, Cells, ResultTable, result_words
from tinybert.report.runs import is_loss, main_metric
from tinybert.report.seeds import differing_options, short_keys, unshared_text
from tinybert.report.strip import Strip, strips
from tinybert.report.subject import PagedRun, Subject
from tinybert.report.words import metric_words

OTHER_LOSSES = ("mean_loss", "phase2_mean_loss")
"""What a table of several runs has beside the main metric, where it is there."""


@dataclass(frozen=True)
class RankedRun:
    """A run in a table of several."""

    paged: PagedRun
    manifest: str
    """Link to its manifest."""
    badge: Badge
    best: bool
    cells: list[Markup | str]


@dataclass(frozen=True)
class Ranking:
    """Several runs, the best first, and what each of them measured."""

    heads: list[Markup | str]
    runs: list[RankedRun]
    unshared: str
    """How many options are not in the table because not every stage has them; mostly empty."""
    absent: list[str]
    """What the runs of a study that are not here change."""
    every: ResultTable
    """All metrics of all runs."""


@dataclass(frozen=True)
class Spreads:
    """Means of runs that differ in their seed alone."""

    metric: str
    strips: list[Strip]
    rows: list[Cells]
    """Values, metric and spread of the other metrics."""


def ranking(subject: Subject) -> Ranking | None:
    """Return several runs, the best by the metric that they share first."""
    if subject.alone is not None or subject.comparison is not None:
        return None
    paged, runs = subject.runs, [each.run for each in subject.runs]
    options, unshared = differing_options(runs)
    keys = [row[0] for row in options]
    option_heads = [
        Markup('<span title="{}">{}</span>').format(key, short)
        for key, short in zip(keys, short_keys(keys), strict=True)
    ]
    metrics = [final_metrics(run) for run in runs]
    names = {main_metric(run)[0] for run in runs if run.status == "finished"}
    shared = names.pop() if len(names) == 1 else ""
    losses = [n for n in OTHER_LOSSES if n != shared and any(n in each for each in metrics)][:1]
    columns = [*filter(None, [shared]), *losses]
    order = sorted(range(len(paged)), key=lambda place: _rank(metrics[place].get(shared), shared))
    best = order[0] if shared and shared in metrics[order[0]] else None
    return Ranking(
        heads=[*map(metric_words, columns), *option_heads, "took"],
        runs=[
            RankedRun(
                paged=paged[place],
                manifest=subject.link(runs[place].path),
                badge=run_badge(runs[place]),
                best=place == best,
                cells=[
                    *_metric_cells(metrics[place], columns),
                    *(row[1 + place] for row in options),
                    duration(runs[place]) or NONE,
                ],
            )
            for place in order
        ],
        unshared=unshared_text(unshared),
        absent=list(_absent(subject)),
        every=ResultTable(["metric", *(each.letter for each in paged)], list(_every(metrics))),
    )


def spreads(subject: Subject) -> Spreads | None:
    """Return means and intervals over seeds; None where no runs differ in their seed alone."""
    repeated = [group for group in subject.groups if group.seeds > 1]
    metrics = {main_metric(group.runs[0])[0] for group in repeated}
    if len(metrics) != 1:
        return None
    (metric,) = metrics
    colors = {paged.run.path: paged.color for paged in subject.runs}
    return Spreads(
        metric_words(metric),
        strips(repeated, metric, [colors[group.runs[0].path] for group in repeated]),
        [
            (group.short_name, result_words(name), str(spread))
            for group in repeated
            for name, spread in group.spreads.items()
            if name != metric
        ],
    )


def _absent(subject: Subject) -> Iterator[str]:
    for member, run in subject.study.members() if subject.study is not None else ():
        if run is None:
            yield " ".join(member.overrides)


def _rank(value: float | None, metric: str) -> float:
    if value is None or math.isnan(value):
        return math.inf
    return value if is_loss(metric) else -value


def _metric_cells(metrics: dict[str, float], names: Sequence[str]) -> list[Markup | str]:
    return [number(metrics[name]) if name in metrics else NONE for name in names]


def _every(metrics: Sequence[dict[str, float]]) -> Iterator[Cells]:
    for name in dict.fromkeys(name for each in metrics for name in each):
        values = (number(own[name]) if name in own else NONE for own in metrics)
        yield result_words(name), *values
