"""The axes of charts: which values they show, where these lie, and their round numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinybert.report.curves import LARGEST, Curve

DECADES = 2
"""A quantity above zero that spans as many powers of ten is drawn over their logarithm."""
TICKS = 5
ROOM = 6
"""Characters of a number for which there is room beside an axis."""


@dataclass(frozen=True)
class Axis:
    """Where values lie on a page, from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False
    whole: bool = False
    """Whether it shows whole numbers alone."""

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
        if self.whole:
            stride = max(1.0, stride)
        first, last = math.ceil(self.low / stride), math.floor(self.high / stride)
        return [number * stride for number in range(first, last + 1)]

    def labels(self) -> list[tuple[float, str]]:
        """Return round values on the axis, each with its text; all texts are of one kind."""
        ticks = self.ticks()
        plain = [_plain_text(value) for value in ticks]
        if self.logarithmic or max(map(len, plain), default=0) > ROOM:
            plain = [_power_text(value) for value in ticks]
        return list(zip(ticks, plain, strict=True))


def values_axis(
    curves: Sequence[Curve], place: tuple[float, float], *, from_zero: bool = False
) -> Axis:
    """Return an axis that holds every finite value of some curves, from one place to another.

    Args:
        curves: The curves.
        place: Where the axis begins and ends.
        from_zero: Whether it begins with zero, which no value is below.
    """
    extents = [curve.extent for curve in curves if curve.extent is not None]
    low = min((extent.least[0] for extent in extents), default=0.0)
    high = max((extent.greatest[0] for extent in extents), default=1.0)
    if from_zero:
        return Axis(0.0, high * 1.05 or 1.0, *place)
    if low > 1 / LARGEST and high / low >= 10**DECADES:
        floor, ceiling = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return Axis(10.0**floor, 10.0**ceiling, *place, logarithmic=True)
    margin = (high - low) / 20
    if margin <= 1e-12 * max(abs(low), abs(high)) or margin < 1 / LARGEST:
        margin = abs(high) / 10 if abs(high) > 1 / LARGEST else 1.0
    return Axis(low - margin if low < 0 else max(low - margin, 0.0), high + margin, *place)


def steps_axis(
    reach: tuple[float, float], place: tuple[float, float], *, whole: bool = True
) -> Axis:
    """Return the axis of steps, or of seconds, from one place to another."""
    first, last = reach
    if whole or last <= first:
        last = max(last, first + 1)
    return Axis(first, last, *place, whole=whole)


def place_text(place: float) -> str:
    """Return a place as SVG has it, to a tenth of a pixel."""
    return f"{place:.1f}".removesuffix(".0")


def _round(stride: float) -> float:
    """Return the next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(stride))
    return next((n * power for n in (1, 2, 5) if n * power >= stride), 10 * power)


def _plain_text(value: float) -> str:
    if value == int(value) and abs(value) < 1e5:
        return f"{int(value):,}"
    return f"{value:.6g}"


def _power_text(value: float) -> str:
    """Return a round value with a power of ten, unless it needs none."""
    if value == 0 or 0.01 <= abs(value) < 1e5:
        return f"{value:,.6g}"
    mantissa, _, exponent = f"{value:.5e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"
