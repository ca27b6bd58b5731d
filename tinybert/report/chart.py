"""One chart as SVG: lines over steps, drawn without a library, coloured by the page's style."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from markupsafe import Markup, escape

from tinybert.report.curves import BUCKETS, LARGEST, Curve, Point, points, spans

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 72, 28, 14, 34
DECADES = 2
"""A quantity above zero that spans as many powers of ten is drawn over their logarithm."""
TICKS = 5


@dataclass(frozen=True)
class Line:
    """A curve of one run."""

    name: str
    """`a` or `b`; the page's style colours by it, and dashes the second."""
    curve: Curve
    events: Sequence[int] = ()
    """Steps to mark below the line."""
    run: str = ""
    """`A` or `B` where a page has both."""


@dataclass(frozen=True)
class Mark:
    """A step that a chart names by an upright line."""

    step: int
    text: str


@dataclass(frozen=True)
class Axis:
    """Where values lie on a page, from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values on the axis."""
        if self.logarithmic:
            lowest, highest = round(math.log10(self.low)), round(math.log10(self.high))
            powers = range(lowest, highest + 1, max(1, (highest - lowest) // TICKS))
            return [10.0**power for power in powers]
        stride = _round((self.high - self.low) / TICKS)
        first, last = math.ceil(self.low / stride), math.floor(self.high / stride)
        return [number * stride for number in range(first, last + 1)]


def chart(
    identity: str,
    title: str,
    lines: Sequence[Line],
    *,
    reach: tuple[int, int],
    marks: Sequence[Mark] = (),
    dots: bool = False,
) -> Markup:
    """Return a chart with title and description for those who cannot see it.

    Args:
        identity: Names the chart in the page.
        title: The quantity.
        lines: One curve a run.
        reach: First and last step of the page's charts.
        marks: Steps with a name.
        dots: Whether each step has a dot, for few steps.
    """
    y = _values_axis([line.curve for line in lines])
    x = _steps_axis(reach)
    parts = [
        f'<title id="{identity}-title">{escape(title)}</title>',
        f'<desc id="{identity}-desc">{escape(description(lines, y))}</desc>',
        *_grid(x, y),
    ]
    for line in lines:
        parts.extend(_line(line, x, y, dots))
        parts.extend(_events(line.events, "overflow", line.name, x))
        parts.extend(_events(line.curve.lost, f"{title} not finite", "lost", x))
    parts += [_mark(mark, x) for mark in marks if reach[0] <= mark.step <= reach[1]]
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{identity}-title {identity}-desc">{"".join(parts)}</svg>'
    )


def description(lines: Sequence[Line], y: Axis) -> str:
    """Return in words what a chart shows."""
    sentences = []
    for line in lines:
        name = f"{line.run}: " if line.run else ""
        if (extent := line.curve.extent) is None:
            sentences.append(f"{name}no finite value.")
            continue
        first, least, greatest, last = (
            f"{value:.4g} at step {step}" for value, step in astuple(extent)
        )
        sentences.append(f"{name}from {first} to {last}, least {least}, greatest {greatest}.")
    return " ".join([*sentences, "Logarithmic scale." if y.logarithmic else "Linear scale."])


def _values_axis(curves: Sequence[Curve]) -> Axis:
    extents = [curve.extent for curve in curves if curve.extent is not None]
    low = min((extent.least[0] for extent in extents), default=0.0)
    high = max((extent.greatest[0] for extent in extents), default=1.0)
    place = HEIGHT - BOTTOM, TOP
    if low > 1 / LARGEST and high / low >= 10**DECADES:
        floor, ceiling = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return Axis(10.0**floor, 10.0**ceiling, *place, logarithmic=True)
    margin = (high - low) / 20
    if margin <= 1e-12 * max(abs(low), abs(high)) or margin < 1 / LARGEST:
        margin = abs(high) / 10 if abs(high) > 1 / LARGEST else 1.0
    return Axis(low - margin if low < 0 else max(low - margin, 0.0), high + margin, *place)


def _steps_axis(reach: tuple[int, int]) -> Axis:
    first, last = reach
    return Axis(first, max(last, first + 1), LEFT, WIDTH - RIGHT)


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in y.ticks():
        at = _at(y.place(value))
        yield f'<path class="grid" d="M{LEFT} {at}H{right}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{at}" dy="0.32em">{value:.6g}</text>'
    for value in x.ticks():
        if value == int(value):
            at = _at(x.place(value))
            yield f'<path class="grid" d="M{at} {bottom}v4"/>'
            yield f'<text class="step" x="{at}" y="{bottom + 16}">{int(value)}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    yield f'<text class="step" x="{(LEFT + right) / 2:g}" y="{HEIGHT - 4}">step</text>'


def _line(line: Line, x: Axis, y: Axis, dots: bool) -> Iterator[str]:
    """Yield band, line, and points that stand alone."""
    for run in _unbroken(points(line.curve)):
        if any(point.low < point.high for point in run):
            upper = [_pair(x, y, point.step, point.high) for point in run]
            lower = [_pair(x, y, point.step, point.low) for point in reversed(run)]
            path = "L".join([*upper, *lower])
            yield f'<path class="band {line.name}" d="M{path}Z"/>'
        path = "L".join(_pair(x, y, point.step, point.mean) for point in run)
        if len(run) > 1:
            yield f'<path class="line {line.name}" d="M{path}"/>'
        for point in run if dots or len(run) == 1 else ():
            where, height = _at(x.place(point.step)), _at(y.place(point.mean))
            title = f"<title>{point.mean!r} at step {point.step:g}</title>"
            yield f'<circle class="{line.name}" cx="{where}" cy="{height}" r="3">{title}</circle>'


def _unbroken(curve: Sequence[Point | None]) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in [*curve, None]:
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []


def _events(steps: Sequence[int], what: str, name: str, x: Axis) -> Iterator[str]:
    """Yield a stroke a bucket of steps, above the axis; the second run's above the first's."""
    bottom = HEIGHT - BOTTOM - (10 if name == "b" else 0)
    for start, end in spans(steps, BUCKETS // 2):
        many = f"{end - start} x {what}, steps {steps[start]} to {steps[end - 1]}"
        text = escape(many if end - start > 1 else f"{what}, step {steps[start]}")
        path = f'class="event {name}" d="M{_at(x.place(steps[start]))} {bottom}v-9"'
        yield f"<path {path}><title>{text}</title></path>"


def _mark(mark: Mark, x: Axis) -> str:
    at = x.place(mark.step)
    left = at < (LEFT + WIDTH) / 2
    place = f'x="{_at(at + (4 if left else -4))}" y="{TOP + 8}"'
    text = f'<text class="{"after" if left else "before"}" {place}>{escape(mark.text)}</text>'
    return f'<path class="mark" d="M{_at(at)} {TOP}V{HEIGHT - BOTTOM}"/>{text}'


def _pair(x: Axis, y: Axis, step: float, value: float) -> str:
    return f"{_at(x.place(step))} {_at(y.place(value))}"


def _at(place: float) -> str:
    return f"{place:.1f}".removesuffix(".0")


def _round(stride: float) -> float:
    """Return the next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(stride))
    return next((n * power for n in (1, 2, 5) if n * power >= stride), 10 * power)
