"""What one run measured, or two: metrics of the task first, losses after them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tinybert.compare.expectations import ExpectationFailure
from tinybert.compare.steps import relative_difference
from tinybert.compare.verdict import expectations
from tinybert.manifest.document import Run
from tinybert.metrics.intervals import Interval
from tinybert.recipe.tables import Bounds
from tinybert.report.facts import final_metrics, unmet
from tinybert.report.numbers import INTERVAL, difference, interval_text, number
from tinybert.report.runs import is_loss
from tinybert.report.subject import PagedRun, Subject
from tinybert.report.words import metric_words

Cells = tuple[Markup | str, ...]
NONE = "-"
PHASE = re.compile(r"^(phase\d_)?")


@dataclass(frozen=True)
class ResultTable:
    """Metrics in a table."""

    heads: list[str]
    rows: list[Cells]
    """Name, and a cell a head."""


@dataclass(frozen=True)
class Results:
    """Metrics of a task, and losses; either may be absent."""

    metrics: ResultTable | None
    losses: ResultTable | None


def results(subject: Subject) -> Results | None:
    """Return what one run measured with what was expected of it, or what two did."""
    if subject.alone is not None:
        tables = Results(_metrics_of(subject.alone), _losses_of(subject.alone.run))
    elif subject.comparison is not None:
        tables = Results(_compared(subject, losses=False), _compared(subject, losses=True))
    else:
        return None
    return tables if tables.metrics or tables.losses else None


def _metrics_of(paged: PagedRun) -> ResultTable | None:
    """Return the metrics of the last and of the best evaluation beside each other."""
    run, intervals = paged.run, paged.assessed.intervals
    outcome = run.manifest.outcome
    names = [name for name in {**outcome.metrics, **outcome.best_metrics} if not is_loss(name)]
    bounds, failed = expectations(run.manifest).metrics or {}, unmet(run)
    rows: list[Cells] = []
    for name in names:
        last, best = outcome.metrics.get(name), outcome.best_metrics.get(name)
        values = [NONE if value is None else number(float(value)) for value in (last, best)]
        interval = intervals.get(f"best {name}" if best is not None else name)
        interval_cell = "" if interval is None else _interval_and_method(interval)
        expected = expected_text(name, bounds, failed)
        rows.append((metric_words(name), *values, interval_cell, expected))
    best_head = f"best, step {outcome.best_step}"
    heads = ["metric", "last evaluation", best_head, INTERVAL, "expected"]
    if not outcome.best_metrics:
        heads[1] = "value"
    return _without_empty_columns(heads, rows)


def _losses_of(run: Run) -> ResultTable | None:
    """Return the losses of the last step beside their means over the last steps."""
    metrics = {name: float(value) for name, value in run.manifest.outcome.metrics.items()}
    bounds, failed = expectations(run.manifest).metrics or {}, unmet(run)
    rows: list[Cells] = []
    for name, value in metrics.items():
        mean_name = PHASE.sub(r"\1mean_", name, count=1)
        if not is_loss(name) or PHASE.sub("", name).startswith("mean_"):
            continue
        mean = number(metrics[mean_name]) if mean_name in metrics else NONE
        texts = [expected_text(each, bounds, failed) for each in (name, mean_name)]
        expected = Markup(", ").join(filter(None, texts))
        rows.append((metric_words(name), number(value), mean, expected))
    return _without_empty_columns(["loss", "last step", "mean of the last steps", "expected"], rows)


def expected_text(
    name: str, bounds: Mapping[str, Bounds], failures: Sequence[ExpectationFailure]
) -> Markup:
    """Return the bounds of a metric, and whether they hold; empty without any."""
    bound = bounds.get(name)
    if bound is None:
        return Markup()
    words = [] if bound.min is None else [f"at least {bound.min:g}"]
    words += [] if bound.max is None else [f"at most {bound.max:g}"]
    failed = any(failure.key == f"metrics.{name}" for failure in failures)
    look, mark = ("bad", "\N{MULTIPLICATION X}") if failed else ("good", "\N{CHECK MARK}")
    return Markup('<span class="{}">{} {}</span>').format(look, mark, ", ".join(words))


def _interval_and_method(interval: Interval) -> Markup:
    return Markup("<span>{} ({})</span>").format(interval_text(interval), interval.method)


def _without_empty_columns(heads: list[str], rows: list[Cells]) -> ResultTable | None:
    """Return a table of the columns that have any text; None without rows."""
    if not rows:
        return None
    kept = [at for at in range(len(heads)) if any(row[at] not in ("", NONE) for row in rows)]
    return ResultTable([heads[at] for at in kept], [tuple(row[at] for at in kept) for row in rows])


def _compared(subject: Subject, *, losses: bool) -> ResultTable | None:
    a, b = (paged.run for paged in subject.runs)
    differences = subject.paired.differences if subject.paired is not None else {}
    every = _compared_rows(a, b, differences)
    rows = [cells for name, cells in every if is_loss(name) is losses]
    apart = "B \N{MINUS SIGN} A"
    heads = ["metric", "A", "B", apart, "relative", f"{INTERVAL} of {apart}"]
    return _without_empty_columns(heads, rows)


def _compared_rows(
    a: Run, b: Run, differences: Mapping[str, tuple[float, Interval]]
) -> Iterator[tuple[str, Cells]]:
    columns = [final_metrics(run) for run in (a, b)]
    best_steps = [run.manifest.outcome.best_step for run in (a, b)]
    for column, best in zip(columns, best_steps, strict=True):
        if best is not None:
            column["best step"] = float(best)
    last_is_best = best_steps == [run.manifest.outcome.steps for run in (a, b)]
    for name in {**columns[0], **columns[1]}:
        if last_is_best and name.startswith("best "):
            continue
        x, y = (column.get(name) for column in columns)
        values = [NONE if value is None else number(value) for value in (x, y)]
        apart: list[Markup | str] = [NONE, NONE]
        if x is not None and y is not None:
            far = relative_difference(x, y)
            apart = ["equal", ""] if x == y else [difference(y - x), number(far)]
        interval = interval_text(differences[name][1]) if name in differences else ""
        yield name, (result_words(name), *values, *apart, interval)


def result_words(name: str) -> str:
    """Return the name of a metric in a table that has those of the best evaluation as well."""
    if name == "best step":
        return "Best step"
    return metric_words(name) + (", best" if name.startswith("best ") else "")
