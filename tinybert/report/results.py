"""What the runs of a page measured, beside each other and beside what was expected."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tinybert.compare.steps import relative_difference
from tinybert.compare.verdict import expectations
from tinybert.manifest.document import Run
from tinybert.metrics.intervals import Interval
from tinybert.recipe.tables import Bounds
from tinybert.report.badges import Badge, run_badge
from tinybert.report.facts import duration, final_metrics, unmet
from tinybert.report.runs import is_loss, main_metric
from tinybert.report.seeds import SeedGroup, differing_options
from tinybert.report.shown import INTERVAL, difference, interval_text, number
from tinybert.report.strip import Strip, strips
from tinybert.report.subject import PagedRun, Subject
from tinybert.report.words import metric_words

Cells = tuple[Markup | str, ...]
OTHER_LOSSES = ("mean_loss", "phase2_mean_loss")
"""What a table of several runs has beside the main metric, where it is there."""


@dataclass(frozen=True)
class Results:
    """Metrics of one run, or of two."""

    heads: list[str]
    rows: list[Cells]
    """Name, and a cell a head."""


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

    heads: list[str]
    runs: list[RankedRun]
    every: Results
    """All metrics of all runs."""


@dataclass(frozen=True)
class Spreads:
    """Means of runs that differ in their seed alone."""

    metric: str
    strips: list[Strip]
    rows: list[Cells]
    """Values, metric and spread of the other metrics."""


def results(subject: Subject) -> Results | None:
    """Return the metrics of one run with what was expected of them, or those of two."""
    runs = [paged.run for paged in subject.runs]
    if subject.alone is not None:
        rows = list(_expected_rows(subject.alone))
        return _used(["metric", "value", INTERVAL, "expected"], rows)
    if subject.comparison is None:
        return None
    differences = subject.paired.differences if subject.paired is not None else {}
    rows = list(_compared_rows(runs[0], runs[1], differences))
    apart = "B \N{MINUS SIGN} A"
    return _used(["metric", "A", "B", apart, "relative", f"{INTERVAL} of {apart}"], rows)


def _used(heads: Sequence[str], rows: Sequence[Cells]) -> Results | None:
    """Return rows without the columns that are empty in all of them."""
    used = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    every = [tuple(row[at] for at in used) for row in rows]
    return Results([heads[at] for at in used], every) if rows else None


def ranking(subject: Subject) -> Ranking | None:
    """Return several runs, the best by the metric that they share first."""
    if subject.alone is not None or subject.comparison is not None:
        return None
    paged, runs = subject.runs, [each.run for each in subject.runs]
    options = list(differing_options(runs))
    metrics = [final_metrics(run) for run in runs]
    names = {main_metric(run)[0] for run in runs}
    shared = names.pop() if len(names) == 1 else ""
    losses = [n for n in OTHER_LOSSES if n != shared and any(n in each for each in metrics)][:1]
    columns = [*filter(None, [shared]), *losses]
    ranked = [
        RankedRun(
            each,
            subject.link(each.run.path),
            run_badge(each.run),
            False,
            [
                *(row[1 + place] for row in options),
                *(number(own[name]) if name in own else "-" for name in columns),
                duration(each.run) or "-",
            ],
        )
        for place, (each, own) in enumerate(zip(paged, metrics, strict=True))
    ]
    order = sorted(range(len(paged)), key=lambda place: _rank(metrics[place].get(shared), shared))
    best = order[0] if shared and shared in metrics[order[0]] else None
    return Ranking(
        heads=[*(row[0] for row in options), *map(metric_words, columns), "took"],
        runs=[replace(ranked[place], best=place == best) for place in order],
        every=Results(["metric", *(each.letter for each in paged)], list(_every(metrics))),
    )


def spreads(subject: Subject) -> Spreads | None:
    """Return means and intervals over seeds; None where no runs differ in their seed alone."""
    repeated = [group for group in subject.groups if len(group.runs) > 1]
    metrics = {main_metric(group.runs[0])[0] for group in repeated}
    if not repeated or len(metrics) != 1:
        return None
    (metric,) = metrics
    colors = {paged.run.path: paged.color for paged in subject.runs}
    return Spreads(
        metric_words(metric),
        strips(repeated, metric, [colors[group.runs[0].path] for group in repeated]),
        list(_spread_rows(repeated, metric)),
    )


def _expected_rows(paged: PagedRun) -> Iterator[Cells]:
    """Yield name, value, interval and expectation of every metric."""
    run, intervals = paged.run, paged.assessed.intervals
    bounds = expectations(run.manifest).metrics or {}
    failures = unmet(run)
    metrics = final_metrics(run)
    for name, value in metrics.items():
        interval: Markup | str = ""
        if name in intervals:
            found = intervals[name]
            interval = Markup("<span>{} ({})</span>").format(interval_text(found), found.method)
        yield metric_row_name(name), number(value), interval, _expected(name, bounds, failures)
    if (best := run.manifest.outcome.best_step) is not None:
        yield "best step", f"{best:,}", "", ""


def metric_row_name(name: str) -> str:
    """Return the name of a metric in a table."""
    return name.replace("_", " ")


def _expected(name: str, bounds: Mapping[str, Bounds], failures: Sequence[str]) -> Markup | str:
    bound = bounds.get(name)
    if bound is None:
        return ""
    words = [] if bound.min is None else [f"at least {bound.min:g}"]
    words += [] if bound.max is None else [f"at most {bound.max:g}"]
    failed = any(failure.startswith(f"{name} is ") for failure in failures)
    look, mark = ("bad", "\N{MULTIPLICATION X}") if failed else ("good", "\N{CHECK MARK}")
    return Markup('<span class="{}">{} {}</span>').format(look, mark, ", ".join(words))


def _compared_rows(
    a: Run, b: Run, differences: Mapping[str, tuple[float, Interval]]
) -> Iterator[Cells]:
    columns = [final_metrics(run) for run in (a, b)]
    for column, run in zip(columns, (a, b), strict=True):
        if (best := run.manifest.outcome.best_step) is not None:
            column["best step"] = float(best)
    for name in {**columns[0], **columns[1]}:
        x, y = (column.get(name) for column in columns)
        values = ["-" if value is None else number(value) for value in (x, y)]
        apart: list[Markup | str] = ["-", "-"]
        if x is not None and y is not None:
            far = relative_difference(x, y)
            apart = ["0", "0"] if x == y else [difference(y - x), number(far)]
        interval = interval_text(differences[name][1]) if name in differences else ""
        yield metric_row_name(name), *values, *apart, interval


def _rank(value: float | None, metric: str) -> float:
    if value is None or math.isnan(value):
        return math.inf
    return value if is_loss(metric) else -value


def _every(metrics: Sequence[dict[str, float]]) -> Iterator[Cells]:
    for name in dict.fromkeys(name for each in metrics for name in each):
        yield (
            metric_row_name(name),
            *(number(own[name]) if name in own else "-" for own in metrics),
        )


def _spread_rows(groups: Sequence[SeedGroup], metric: str) -> Iterator[Cells]:
    for group in groups:
        for name, spread in group.spreads.items():
            if name != metric:
                yield group.name, metric_row_name(name), str(spread)
