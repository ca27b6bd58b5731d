"""What a run's trace and log say step by step, and how much of it a page can show."""

import json
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tinybert.compare.steps import StepDifference, relative_difference
from tinybert.compare.verdict import Run
from tinybert.errors import ManifestError
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import CHAIN, TAIL, Record, read_trace

LOG = "log.jsonl"
"""The log, in a run's folder; evaluations are nowhere else."""
BUCKETS = 480
"""Points of a curve on a page: about one for each pixel and a half."""
LARGEST = 1e300
"""A larger value counts as infinite: no float32 is, and axes need room."""


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of a run."""

    steps: Sequence[int] = field(default_factory=lambda: array("q"))
    """Ascending."""
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
    def lost(self) -> list[int]:
        """Steps whose value is not finite."""
        pairs = zip(self.steps, self.values, strict=True)
        return [step for step, value in pairs if not finite(value)]


@dataclass(frozen=True)
class Extent:
    """Values of a curve, each with its step; those that are not finite left out."""

    first: tuple[float, int]
    least: tuple[float, int]
    greatest: tuple[float, int]
    last: tuple[float, int]


@dataclass(frozen=True)
class Point:
    """Neighbouring steps of a curve: a single one, or a bucket of them."""

    step: float
    """The step, or the middle of the bucket."""
    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Steps:
    """What a page shows of a run's steps."""

    curves: Mapping[str, Curve]
    """By the trace's names: `loss`, `parts.hidden_loss`, `learning_rate`..."""
    overflows: Sequence[int]
    """Steps whose gradients were not finite."""
    evaluations: Mapping[str, Curve]
    """Metrics over the steps done before them."""
    note: str
    """Why there are no curves, or what to know about them; mostly empty."""


def steps_of(run: Run) -> Steps:
    """Read a run's trace and the evaluations of its log.

    A trace that is missing, damaged or another run's leaves no curves, but a note.
    """
    path = run.folder / TRACE
    evaluations = _evaluations(run.folder / LOG)
    recorded = run.manifest.outcome.trace_digest
    if not path.exists():
        trained = recorded is not None or run.manifest.outcome.steps > 0
        note = f"no trace at hand ({path})" if trained else "it left no trace of a step"
        return Steps({}, [], evaluations, note)
    if recorded is not None and _last_chain(path) not in (recorded, None):
        note = f"the trace at hand is not the one of this manifest ({path})"
        return Steps({}, [], evaluations, note)
    try:
        curves, overflows = _read(read_trace(path))
    except ManifestError as error:
        return Steps({}, [], evaluations, f"{error.message} ({error.where})")
    note = "" if curves else "it left no trace of a step"
    if curves and recorded is None:
        note = f"the run has no final trace: {len(curves['loss'].steps)} steps were written"
    return Steps(curves, overflows, evaluations, note)


def apart(step: StepDifference) -> Curve:
    """Return the relative difference of two runs' losses in every step in which they differ."""
    curve: tuple[array[int], array[float]] = array("q"), array("d")
    for number, (x, y) in enumerate(zip(*step.losses, strict=False), step.global_step):
        if difference := relative_difference(x, y):
            curve[0].append(number)
            curve[1].append(difference)
    return Curve(*curve)


def finite(value: float) -> bool:
    """Return whether a value has a place on an axis."""
    return abs(value) < LARGEST


def points(curve: Curve, buckets: int = BUCKETS) -> list[Point | None]:
    """Return what a page shows of a curve: no more than `buckets` points, every extreme in one.

    None, where no value of a bucket is finite, breaks the curve. A short curve keeps every step.
    """
    if len(curve.steps) <= buckets:
        pairs = zip(curve.steps, curve.values, strict=True)
        return [Point(s, v, v, v) if finite(v) else None for s, v in pairs]
    found: list[Point | None] = []
    for start, end in spans(curve.steps, buckets):
        values = [value for value in curve.values[start:end] if finite(value)]
        middle = (curve.steps[start] + curve.steps[end - 1]) / 2
        if not values:
            found.append(None)
            continue
        low, high = min(values), max(values)
        mean = math.fsum(value / len(values) for value in values)
        # A mean of equal values may be rounded out of their range.
        found.append(Point(middle, low, min(max(mean, low), high), high))
    return found


def spans(steps: Sequence[int], buckets: int = BUCKETS) -> Iterator[tuple[int, int]]:
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


def _read(records: Iterator[Record]) -> tuple[dict[str, Curve], list[int]]:
    """Return the curves of a trace, the loss and its parts first, and its overflows."""
    loss: dict[str, tuple[array[int], array[float]]] = {}
    rest: dict[str, tuple[array[int], array[float]]] = {}
    overflows = []
    for record in records:
        step = record.global_step
        _add(loss, "loss", step, record.loss)
        for name, value in record.parts.items():
            _add(loss, f"parts.{name}", step, value)
        _add(rest, "learning_rate", step, record.learning_rate)
        _add(rest, "gradient_norm", step, record.gradient_norm)
        _add(rest, "loss_scale", step, record.loss_scale)
        if record.overflow:
            overflows.append(step)
    return {name: Curve(*columns) for name, columns in {**loss, **rest}.items()}, overflows


def _add(
    columns: dict[str, tuple["array[int]", "array[float]"]], name: str, step: int, value: float
) -> None:
    if name not in columns:
        columns[name] = array("q"), array("d")
    steps, values = columns[name]
    steps.append(step)
    values.append(value)


def _last_chain(path: Path) -> str | None:
    """Return the digest that a trace ends in, empty without one; None if nothing is in it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            tail = file.read()
    except OSError:
        return None
    if not tail:
        return None
    return tail[len(CHAIN) : -3].decode("ascii", "replace") if tail.startswith(CHAIN) else ""


def _evaluations(path: Path) -> dict[str, Curve]:
    """Return the metrics of a log's evaluations; of a step that was done twice, the later."""
    found: dict[str, dict[int, float]] = {}
    for event in _events(path):
        step = event.get("step")
        if event.get("event") != "evaluation" or not isinstance(step, int):
            continue
        for name, value in event.items():
            if name != "step" and isinstance(value, int | float):
                found.setdefault(name, {})[step] = float(value)
    return {name: Curve(*zip(*sorted(at.items()), strict=True)) for name, at in found.items()}


def _events(path: Path) -> Iterator[dict[str, object]]:
    """Yield the events of a log; what is no event, such as a torn line, is passed over."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        for line in file:
            if b'"evaluation"' not in line:
                continue
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
