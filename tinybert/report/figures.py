"""The figures of a page: charts in groups, a group for each phase of a training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from markupsafe import Markup

from tinybert.report.chart import Frame, Line, Mark, chart
from tinybert.report.curves import BUCKETS, Curve
from tinybert.report.numbers import number
from tinybert.report.recorded import ROWS_A_SECOND, apart
from tinybert.report.subject import PagedRun, Subject
from tinybert.report.words import METRICS

NUMBERS = ["", "first", "least", "greatest", "last", "not finite"]
"""The columns of `curve_rows`."""
CAPTIONED = 3
"""Runs at most whose first and last values are in a caption."""


@dataclass(frozen=True)
class Ends:
    """Where a curve begins and ends, for a caption."""

    letter: str
    color: str
    first: Markup
    last: Markup


@dataclass(frozen=True)
class Figure:
    """A chart with what its caption needs."""

    title: str
    ends: list[Ends]
    """Of each run, unless they are many."""
    same: str
    """The runs that have equal values, and one line; mostly empty."""
    overflows: int
    """How many overflows are marked on the axis."""
    svg: Markup


@dataclass(frozen=True)
class Constant:
    """A quantity that is the same in every step."""

    title: str
    runs: list[tuple[str, Markup]]
    """Letter and value of each run; without a letter where all have the same."""


@dataclass(frozen=True)
class LegendEntry:
    """What a colour stands for."""

    color: str
    text: str


@dataclass(frozen=True)
class FigureGroup:
    """Charts that belong together, over the same steps."""

    title: str
    """Empty: the page's only charts of this kind."""
    figures: list[Figure]
    constants: list[Constant]
    equals: list[tuple[str, str]]
    """Quantities that are not drawn, each with the one that has the same values."""
    shortened: bool
    """Whether a curve has fewer points than steps."""

    @property
    def same(self) -> str:
        """The runs that have equal values in all charts; mostly empty."""
        runs = {figure.same for figure in self.figures}
        return runs.pop() if len(runs) == 1 else ""


def step_groups(subject: Subject) -> Iterator[FigureGroup]:
    """Yield the charts of what the traces hold, a group for each phase."""
    spans = [dict(_phases(paged)) for paged in subject.runs]
    for phase in dict.fromkeys(name for each in spans for name in each):
        lines: dict[str, list[Line]] = {}
        for paged, own in zip(subject.runs, spans, strict=True):
            for name, line in _lines_between(paged, *own.get(phase, (1, 0))):
                lines.setdefault(name, []).append(line)
        if lines:
            title = phase.replace("phase", "Phase ")
            frame = Frame(_reach(lines), list(_marks(subject)))
            yield _group(f"curve-{phase or 'all'}", title, lines, frame)


def _lines_between(paged: PagedRun, first: int, last: int) -> Iterator[tuple[str, Line]]:
    """Yield the curves of a run's trace from one step to another, each with its quantity."""
    for name, curve in paged.steps.curves.items():
        part = curve.within(first, last)
        if len(part.steps):
            events = paged.steps.overflows if name == "loss_scale" else ()
            inside = [step for step in events if first <= step <= last]
            yield name, Line(paged.color, part, inside, paged.letter)


def difference_figure(subject: Subject) -> Figure | None:
    """Return the chart of how far the losses of two runs are apart, where they differ."""
    if subject.comparison is None or subject.comparison.step is None:
        return None
    curve = apart(subject.comparison.step)
    if not len(curve.steps):
        return None
    reach = curve.steps[0], curve.steps[-1]
    title = "relative difference of the losses, where they differ"
    return _figure("apart", title, [Line("apart", curve)], Frame(reach))


def evaluation_group(subject: Subject) -> FigureGroup | None:
    """Return the charts of the evaluations between the steps, as the logs have them."""
    evaluations = [paged.steps.evaluations for paged in subject.runs]
    lines = _lines(subject, evaluations)
    if not lines:
        return None
    marks = list(_best_marks(subject)) if len(subject.runs) < 3 else []
    return _group("evaluation", "", lines, Frame(_reach(lines), marks, dots=True))


def pace_group(subject: Subject) -> FigureGroup | None:
    """Return the charts of speed and memory over time."""
    lines = _lines(subject, [paged.steps.pace for paged in subject.runs])
    return _group("pace", "", lines, Frame(_reach(lines), over="second")) if lines else None


def legend(subject: Subject) -> list[LegendEntry]:
    """Return what the colours of charts stand for, where their captions do not say it."""
    if len(subject.runs) <= CAPTIONED:
        return []
    letters: dict[str, list[str]] = {}
    for paged in subject.runs:
        letters.setdefault(paged.color, []).append(paged.letter)
    names = {run.path: group.short_name for group in subject.groups for run in group.runs}
    entries = []
    for color, of_color in letters.items():
        first = next(paged for paged in subject.runs if paged.color == color)
        name = f": {names[first.run.path]}" if len(subject.groups) < len(subject.runs) else ""
        entries.append(LegendEntry(color, ", ".join(of_color) + name))
    return entries


def curve_rows(subject: Subject) -> Iterator[tuple[str, ...]]:
    """Yield each curve in numbers, `NUMBERS`, for those who do not see the chart."""
    for name, line in _named_lines(_lines(subject, [each.steps.curves for each in subject.runs])):
        lost, extent = str(len(line.curve.lost)), line.curve.extent
        if extent is None:
            yield name, *"----", lost
        else:
            first, last = (number(value) for value, _ in (extent.first, extent.last))
            turns = [
                Markup("{} (step {:g})").format(number(value), step)
                for value, step in (extent.least, extent.greatest)
            ]
            yield name, first, *turns, last, lost


def evaluation_rows(subject: Subject) -> Iterator[tuple[str, ...]]:
    """Yield metric, steps before it and value of every evaluation."""
    evaluations = [each.steps.evaluations for each in subject.runs]
    for name, line in _named_lines(_lines(subject, evaluations)):
        for step, value in zip(line.curve.steps, line.curve.values, strict=True):
            yield name, f"{step:g}", number(value)


def quantity_title(name: str) -> str:
    """Return the name of a curve for people."""
    return METRICS.get(name, name.removeprefix("parts.").replace("_", " "))


def _named_lines(lines: Mapping[str, Sequence[Line]]) -> Iterator[tuple[str, Line]]:
    for name, of_name in lines.items():
        for line in of_name:
            yield f"{quantity_title(name)}{f' of {line.run}' if line.run else ''}", line


def _lines(subject: Subject, curves: Sequence[Mapping[str, Curve]]) -> dict[str, list[Line]]:
    """Return the curves of the runs by quantity."""
    lines: dict[str, list[Line]] = {}
    for paged, of_run in zip(subject.runs, curves, strict=True):
        for name, curve in of_run.items():
            lines.setdefault(name, []).append(Line(paged.color, curve, (), paged.letter))
    return lines


def _phases(paged: PagedRun) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield name, first and last step of each phase of a run."""
    effective, before = paged.run.manifest.effective, 0
    for name, facts in (effective.phases if effective else {}).items():
        steps = facts.total_steps or 0
        yield name, (before + 1, before + steps)
        before += steps
    if not before:
        curves = paged.steps.curves.values()
        yield "", (1, max((int(curve.steps[-1]) for curve in curves), default=0))


def _marks(subject: Subject) -> Iterator[Mark]:
    """Yield where two runs part; of a single run, where it was resumed."""
    if subject.comparison is not None and subject.comparison.step is not None:
        yield Mark(subject.comparison.step.number, "first difference")
    if subject.alone is not None:
        for segment in subject.alone.run.manifest.volatile.segments[1:]:
            yield Mark(segment.first_step + 1, "resumed")


def _best_marks(subject: Subject) -> Iterator[Mark]:
    """Yield where the best evaluations were; one mark for all runs that had it there."""
    owners: dict[int, list[str]] = {}
    for paged in subject.runs:
        if (best := paged.run.manifest.outcome.best_step) is not None:
            owners.setdefault(best, []).append(paged.letter)
    for step, letters in owners.items():
        every = len(letters) == len(subject.runs)
        yield Mark(step, "best" if every else f"best of {', '.join(letters)}")


def _reach(lines: Mapping[str, Sequence[Line]]) -> tuple[float, float]:
    """Return the first and the last step of all curves."""
    every = [line.curve.steps for line in chain.from_iterable(lines.values())]
    return min(steps[0] for steps in every), max(steps[-1] for steps in every)


def _group(
    identity: str, title: str, lines: Mapping[str, Sequence[Line]], frame: Frame
) -> FigureGroup:
    """Return a group of charts over the same steps; constants are named, and not drawn."""
    figures, constants, equals = [], [], list[tuple[str, str]]()
    drawn: list[tuple[str, Sequence[Line]]] = []
    for place, (name, of_name) in enumerate(lines.items()):
        if all(_is_flat(line) for line in of_name) and not frame.dots:
            constants.append(_constant(name, of_name))
            continue
        known = [other for other, its_lines in drawn if _are_equal(of_name, its_lines)]
        if known:
            equals.append((quantity_title(name), quantity_title(known[0])))
            continue
        drawn.append((name, of_name))
        own = f"{identity}-{place}"
        figures.append(_figure(own, quantity_title(name), of_name, frame))
    every = chain.from_iterable(lines.values())
    shortened = any(len(line.curve.steps) > BUCKETS for line in every)
    return FigureGroup(title, figures, constants, equals, shortened)


def _are_equal(lines: Sequence[Line], others: Sequence[Line]) -> bool:
    """Return whether two quantities have the same values in all runs."""
    if [line.run for line in lines] != [line.run for line in others]:
        return False
    return all(_is_equal(a, b) for a, b in zip(lines, others, strict=True))


def _is_equal(a: Line, b: Line) -> bool:
    return a.curve.equals(b.curve) and list(a.events) == list(b.events)


def _is_flat(line: Line) -> bool:
    return line.curve.constant is not None and len(line.curve.steps) > 1 and not line.events


def _constant(name: str, lines: Sequence[Line]) -> Constant:
    values = [(line.run, line.curve.constant or 0.0) for line in lines]
    if len({value for _, value in values}) == 1:
        values = [("", values[0][1])]
    title = quantity_title(name)
    return Constant(title, [(letter, number(value)) for letter, value in values])


def _figure(identity: str, title: str, lines: Sequence[Line], frame: Frame) -> Figure:
    same = ""
    if len(lines) > 1 and all(_is_equal(line, lines[0]) for line in lines):
        same = ", ".join(line.run for line in lines)
        lines = [replace(lines[0], run="")]
    svg = chart(identity, title, lines, frame)
    overflows = sum(len(line.events) for line in lines)
    ends = [
        Ends(line.run, line.name, number(extent.first[0]), number(extent.last[0]))
        for line in lines
        if (extent := line.curve.extent) is not None
        and len(lines) <= CAPTIONED
        and title != ROWS_A_SECOND
    ]
    return Figure(title, ends, same, overflows, svg)
