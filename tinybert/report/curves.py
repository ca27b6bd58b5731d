"""Curves: a quantity over the steps or the time of a run, cut to what a page can show."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

BUCKETS = 240
"""Points of a curve on a page: about one for each pixel and a half."""
LARGEST = 1e300
"""A larger value counts as infinite: no float32 is, and axes need room."""


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of a run."""

    steps: Sequence[float] = field(default_factory=lambda: array("q"))
    """Ascending, counted from 1; or seconds."""
    values: Sequence[float] = field(default_factory=lambda: array("d"))
    """One a step; infinite or not a number where the run's was."""

    @cached_property
    def extent(self) -> "Extent | None":
        """Where the curve begins, ends and turns; None if no value is finite."""
        at = [place for place, value in enumerate(self.values) if finite(value)]
        if not at:
            return None
        least, greatest = min(at, key=self.values.__getitem__), max(at, key=self.values.__getitem__)
        return Extent(*((self.values[i], self.steps[i]) for i in (at[0], least, greatest, at[-1])))

    @cached_property
    def constant(self) -> float | None:
        """The value that every step has; None if they differ, or one is not finite."""
        extent = self.extent
        if extent is None or self.lost or extent.least[0] != extent.greatest[0]:
            return None
        return extent.first[0]

    def equals(self, other: "Curve") -> bool:
        """Return whether another curve has the same values in the same steps."""
        return list(self.steps) == list(other.steps) and list(self.values) == list(other.values)

    def within(self, first: float, last: float) -> "Curve":
        """Return the part of the curve from one step to another."""
        start, end = bisect_left(self.steps, first), bisect_right(self.steps, last)
        return Curve(self.steps[start:end], self.values[start:end])

    @cached_property
    def lost(self) -> list[float]:
        """Steps whose value is not finite."""
        pairs = zip(self.steps, self.values, strict=True)
        return [step for step, value in pairs if not finite(value)]


@dataclass(frozen=True)
class Extent:
    """Values of a curve, each with its step; those that are not finite left out."""

    first: tuple[float, float]
    least: tuple[float, float]
    greatest: tuple[float, float]
    last: tuple[float, float]


@dataclass(frozen=True)
class Point:
    """Neighbouring steps of a curve: a single one, or a bucket of them."""

    step: float
    """The step, or the middle of the bucket."""
    low: float
    mean: float
    high: float


def finite(value: float) -> bool:
    """Return whether a value has a place on an axis."""
    return abs(value) < LARGEST


def points(curve: Curve) -> list[Point | None]:
    """Return what a page shows of a curve: no more than `BUCKETS` points, every extreme in one.

    None, where no value of a bucket is finite, breaks the curve. A short curve keeps every step.
    """
    if len(curve.steps) <= BUCKETS:
        pairs = zip(curve.steps, curve.values, strict=True)
        return [Point(s, v, v, v) if finite(v) else None for s, v in pairs]
    bucketed: list[Point | None] = []
    for start, end in spans(curve.steps, BUCKETS):
        values = [value for value in curve.values[start:end] if finite(value)]
        middle = (curve.steps[start] + curve.steps[end - 1]) / 2
        if not values:
            bucketed.append(None)
            continue
        low, high = min(values), max(values)
        mean = math.fsum(value / len(values) for value in values)
        # A mean of equal values may be rounded out of their range.
        bucketed.append(Point(middle, low, min(max(mean, low), high), high))
    return bucketed


def spans(steps: Sequence[float], buckets: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the buckets that ascending steps fall into, by position."""
    if not steps:
        return
    start = 0
    for bucket in range(1, buckets + 1):
        limit = steps[0] + (steps[-1] - steps[0] + 1) * bucket // buckets
        end = bisect_left(steps, limit, start)
        if end > start:
            yield start, end
        start = end
