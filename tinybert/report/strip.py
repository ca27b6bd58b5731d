"""Runs of several seeds on one line each: a dot a run, a bar for the interval of their mean."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from tinybert.report.axes import Axis, place_text
from tinybert.report.curves import finite
from tinybert.report.facts import final_metrics
from tinybert.report.numbers import number
from tinybert.report.seeds import SeedGroup

WIDTH, HEIGHT, EDGE = 320, 30, 10


@dataclass(frozen=True)
class Strip:
    """The runs of a group on a line."""

    name: str
    mean: Markup
    deviation: Markup | str
    interval: Markup | str
    svg: Markup


def strips(groups: Sequence[SeedGroup], metric: str, colors: Sequence[str]) -> list[Strip]:
    """Return a line for each group that has a metric, all over the same values."""
    having = [(g, c) for g, c in zip(groups, colors, strict=True) if metric in g.spreads]
    every = [value for group, _ in having for value in _values(group, metric)]
    every += [end for group, _ in having for end in group.spreads[metric].interval or ()]
    held = [value for value in every if finite(value)] or [0.0]
    low, high = min(held), max(held)
    margin = (high - low) / 20 or abs(high) / 10 or 1.0
    axis = Axis(low - margin, high + margin, EDGE, WIDTH - EDGE)
    return [_strip(group, metric, color, axis) for group, color in having]


def _strip(group: SeedGroup, metric: str, color: str, axis: Axis) -> Strip:
    spread, middle = group.spreads[metric], HEIGHT / 2
    parts = [f'<path class="rule" d="M{EDGE} {middle:g}H{WIDTH - EDGE}"/>']
    if spread.interval is not None:
        start, end = (place_text(axis.place(value)) for value in spread.interval)
        parts.append(f'<path class="interval {color}" d="M{start} {middle:g}H{end}"/>')
    for value in _values(group, metric):
        if finite(value):
            at, title = place_text(axis.place(value)), escape(repr(value))
            parts.append(
                f'<circle class="{color}" cx="{at}" cy="{middle:g}" r="4"><title>{title}</title>'
                "</circle>"
            )
    if finite(spread.mean):
        at = place_text(axis.place(spread.mean))
        parts.append(f'<path class="mean" d="M{at} 4V{HEIGHT - 4}"/>')
    label = escape(f"{group.short_name}: {spread}")
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}'
    interval: Markup | str = "-"
    if spread.interval is not None:
        interval = Markup("{} to {}").format(*map(number, spread.interval))
    deviation = "-" if spread.deviation is None else number(spread.deviation)
    return Strip(group.short_name, number(spread.mean), deviation, interval, Markup(svg + "</svg>"))


def _values(group: SeedGroup, metric: str) -> list[float]:
    return [final_metrics(run)[metric] for run in group.runs]
