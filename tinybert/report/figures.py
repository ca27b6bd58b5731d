"""The figures of a page: a chart for each quantity over the steps, and the same in numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from markupsafe import Markup

from tinybert.compare.verdict import Comparison
from tinybert.manifest.document import Run
from tinybert.report.chart import Line, Mark, chart
from tinybert.report.curves import Curve, Steps, apart
from tinybert.report.facts import Row

NUMBERS = ["", "first", "least", "greatest", "last", "not finite"]
"""The columns of `curve_rows`."""
Curves = Mapping[str, Curve]
"""Curves of one run by quantity."""


@dataclass(frozen=True)
class Figure:
    """A chart with what its caption needs."""

    title: str
    runs: list[str]
    """The runs that have a line, `A`, `B` and on; empty on a page about one run."""
    overflows: int
    """How many overflows are marked on the axis."""
    svg: Markup


def step_figures(
    runs: Sequence[Run], steps: Sequence[Steps], comparison: Comparison | None
) -> Iterator[Figure]:
    """Yield the charts of what the traces of one run, or of several, hold."""
    curves = [each.curves for each in steps]
    if not any(curves):
        return
    reach = _reach(curves)
    marks = list(_marks(runs, comparison))
    overflows = [each.overflows for each in steps]
    for number, (name, lines) in enumerate(_lines(curves, overflows).items()):
        yield _figure(f"curve-{number}", _title(name), lines, reach, marks)
    if comparison is not None and comparison.step is not None:
        difference = apart(comparison.step)
        if difference.steps:
            title = "relative difference of the losses, where they differ"
            yield _figure("apart", title, [Line("apart", difference)], reach, marks)


def evaluation_figures(runs: Sequence[Run], steps: Sequence[Steps]) -> Iterator[Figure]:
    """Yield the charts of the evaluations between the steps, as the logs have them."""
    evaluations = [each.evaluations for each in steps]
    if not any(evaluations):
        return
    reach = _reach([*evaluations, *(each.curves for each in steps)])
    marks = [
        Mark(run.manifest.outcome.best_step, f"best{f' of {name}' if len(runs) > 1 else ''}")
        for name, run in zip(ascii_uppercase, runs, strict=False)
        if run.manifest.outcome.best_step is not None
    ]
    for number, (name, lines) in enumerate(_lines(evaluations).items()):
        yield _figure(f"evaluation-{number}", _title(name), lines, reach, marks, dots=True)


def curve_rows(steps: Sequence[Steps]) -> Iterator[Row]:
    """Yield each curve in numbers, `NUMBERS`, for those who do not see the chart."""
    for name, line in _named_lines([each.curves for each in steps]):
        lost, extent = str(len(line.curve.lost)), line.curve.extent
        if extent is None:
            yield name, *"----", lost
        else:
            first, last = (f"{value:.6g}" for value, _ in (extent.first, extent.last))
            turns = [f"{v:.6g} (step {step})" for v, step in (extent.least, extent.greatest)]
            yield name, first, *turns, last, lost


def evaluation_rows(steps: Sequence[Steps]) -> Iterator[Row]:
    """Yield metric, steps before it and value of every evaluation."""
    for name, line in _named_lines([each.evaluations for each in steps]):
        for step, value in zip(line.curve.steps, line.curve.values, strict=True):
            yield name, str(step), repr(value)


def _named_lines(curves: Sequence[Curves]) -> Iterator[tuple[str, Line]]:
    for name, lines in _lines(curves).items():
        for line in lines:
            yield f"{_title(name)}{f' of {line.run}' if line.run else ''}", line


def _lines(
    curves: Sequence[Curves], overflows: Sequence[Sequence[int]] | None = None
) -> dict[str, list[Line]]:
    """Return the curves of the runs by quantity; that of the loss scale has the overflows."""
    lines: dict[str, list[Line]] = {}
    every = overflows or [()] * len(curves)
    for run, of_run, events in zip(ascii_uppercase, curves, every, strict=False):
        for name, curve in of_run.items():
            marked = events if name == "loss_scale" else ()
            key = run if len(curves) > 1 else ""
            lines.setdefault(name, []).append(Line(run.lower(), curve, marked, key))
    return lines


def _reach(curves: Sequence[Curves]) -> tuple[int, int]:
    every = [curve for of_run in curves for curve in of_run.values()]
    return min(curve.steps[0] for curve in every), max(curve.steps[-1] for curve in every)


def _marks(runs: Sequence[Run], comparison: Comparison | None) -> Iterator[Mark]:
    """Yield where two runs part; of a single run, where it was resumed and where phases begin."""
    if comparison is not None or len(runs) > 1:
        if comparison is not None and comparison.step is not None:
            yield Mark(comparison.step.number, "first difference")
        return
    manifest = runs[0].manifest
    for segment in manifest.volatile.segments[1:]:
        yield Mark(segment.first_step + 1, "resumed")
    before = 0
    for name, phase in (manifest.effective.phases if manifest.effective else {}).items():
        if before:
            yield Mark(before + 1, name)
        before += phase.total_steps or 0


def _figure(
    identity: str,
    title: str,
    lines: Sequence[Line],
    reach: tuple[int, int],
    marks: Sequence[Mark],
    *,
    dots: bool = False,
) -> Figure:
    svg = chart(identity, title, lines, reach=reach, marks=marks, dots=dots)
    overflows = sum(len(line.events) for line in lines)
    return Figure(title, [line.run for line in lines if line.run], overflows, svg)


def _title(name: str) -> str:
    return name.removeprefix("parts.").replace("_", " ")
