"""One chart as SVG: lines over steps or time, drawn without a library, coloured by the style."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from markupsafe import Markup, escape

from tinybert.report.axes import Axis, place_text, steps_axis, values_axis
from tinybert.report.curves import BUCKETS, Curve, Point, points, spans

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 38
TOUCHED = 60
"""Points of a line, at most, that show their value where a pointer rests on them."""
SERIES = "abcdefgh"
"""Names of the colours of lines."""


@dataclass(frozen=True)
class Line:
    """A curve of one run."""

    name: str
    """One of `SERIES`, by which the page's style colours it, or `apart`."""
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
class Frame:
    """What the charts of a group share."""

    reach: tuple[float, float]
    """First and last step."""
    marks: Sequence[Mark] = ()
    """Steps with a name."""
    dots: bool = False
    """Whether each step has a dot, for few steps."""
    over: Literal["step", "second"] = "step"
    """What the curves are over; the axis of values over seconds begins with zero."""


def chart(identity: str, title: str, lines: Sequence[Line], frame: Frame) -> Markup:
    """Return a chart with title and description for those who cannot see it.

    Args:
        identity: Names the chart in the page.
        title: The quantity.
        lines: One curve a run.
        frame: Its steps and their marks.
    """
    reach, over = frame.reach, frame.over
    y = values_axis(
        [line.curve for line in lines], (HEIGHT - BOTTOM, TOP), from_zero=over != "step"
    )
    x = steps_axis(reach, (LEFT, WIDTH - RIGHT), whole=over == "step")
    parts = [
        f'<title id="{identity}-title">{escape(title)}</title>',
        f'<desc id="{identity}-desc">{escape(description(lines, y, over))}</desc>',
        *_grid(x, y, over),
    ]
    inside = [mark for mark in frame.marks if reach[0] <= mark.step <= reach[1]]
    parts += [_mark_line(mark, x) for mark in inside]
    for line in lines:
        parts.extend(_line(line, x, y, frame))
        parts.extend(_events(line.events, "overflow", line.name, x))
        parts.extend(_events(line.curve.lost, f"{title} not finite", "lost", x))
    parts += [_mark_text(mark, x) for mark in inside]
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{identity}-title {identity}-desc">{"".join(parts)}</svg>'
    )


def description(lines: Sequence[Line], y: Axis, over: str) -> str:
    """Return in words what a chart shows."""
    sentences = []
    for line in lines:
        name = f"{line.run}: " if line.run else ""
        if (extent := line.curve.extent) is None:
            sentences.append(f"{name}no finite value.")
            continue
        first, least, greatest, last = (
            f"{value:.4g} at {over} {step:.6g}" for value, step in astuple(extent)
        )
        sentences.append(f"{name}from {first} to {last}, least {least}, greatest {greatest}.")
    return " ".join([*sentences, "Logarithmic scale." if y.logarithmic else "Linear scale."])


def _grid(x: Axis, y: Axis, over: str) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value, label in y.labels():
        at = place_text(y.place(value))
        yield f'<path class="rule" d="M{LEFT} {at}H{right}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{at}" dy="0.32em">{label}</text>'
    for value, label in x.labels():
        at = place_text(x.place(value))
        yield f'<path class="axis" d="M{at} {bottom}v4"/>'
        yield f'<text class="step" x="{at}" y="{bottom + 17}">{label}</text>'
    yield f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
    plural = "" if over == "step" else "s"
    yield f'<text class="step" x="{(LEFT + right) / 2:g}" y="{HEIGHT - 4}">{over}{plural}</text>'


def _line(line: Line, x: Axis, y: Axis, frame: Frame) -> Iterator[str]:
    """Yield band, line, and points that stand alone."""
    every = points(line.curve)
    touched = len(every) <= TOUCHED
    for run in _unbroken(every):
        if any(point.low < point.high for point in run):
            upper = [_pair(x, y, point.step, point.high) for point in run]
            lower = [_pair(x, y, point.step, point.low) for point in reversed(run)]
            path = "L".join([*upper, *lower])
            yield f'<path class="band {line.name}" d="M{path}Z"/>'
        path = "L".join(_pair(x, y, point.step, point.mean) for point in run)
        if len(run) > 1:
            yield f'<path class="line {line.name}" d="M{path}"/>'
        seen = frame.dots or len(run) == 1
        look = f"{line.name}" if seen else "touch"
        for point in run if seen or touched else ():
            where, height = place_text(x.place(point.step)), place_text(y.place(point.mean))
            owner = f"{line.run}: " if line.run else ""
            title = f"<title>{owner}{point.mean!r} at {frame.over} {point.step:g}</title>"
            radius = 3 if seen else 6
            yield f'<circle class="{look}" cx="{where}" cy="{height}" r="{radius}">{title}</circle>'


def _unbroken(curve: Sequence[Point | None]) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in [*curve, None]:
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []


def _events(steps: Sequence[float], what: str, name: str, x: Axis) -> Iterator[str]:
    """Yield a stroke a bucket of steps, above the axis; the second run's above the first's."""
    bottom = HEIGHT - BOTTOM - (10 if name == "b" else 0)
    for start, end in spans(steps, BUCKETS // 2):
        many = f"{end - start} x {what}, steps {steps[start]:g} to {steps[end - 1]:g}"
        text = escape(many if end - start > 1 else f"{what}, step {steps[start]:g}")
        path = f'class="event {name}" d="M{place_text(x.place(steps[start]))} {bottom}v-9"'
        yield f"<path {path}><title>{text}</title></path>"


def _mark_line(mark: Mark, x: Axis) -> str:
    at = place_text(x.place(mark.step))
    return f'<path class="mark" d="M{at} {TOP}V{HEIGHT - BOTTOM}"/>'


def _mark_text(mark: Mark, x: Axis) -> str:
    at = x.place(mark.step)
    left = at < (LEFT + WIDTH) / 2
    place = f'x="{place_text(at + (4 if left else -4))}" y="{HEIGHT - BOTTOM - 8}"'
    return f'<text class="{"after" if left else "before"}" {place}>{escape(mark.text)}</text>'


def _pair(x: Axis, y: Axis, step: float, value: float) -> str:
    return f"{place_text(x.place(step))} {place_text(y.place(value))}"
