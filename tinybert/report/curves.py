"""The quantities that a run's trace and log have for each step, cut to what a page can show."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tinybert.compare.steps import StepDifference, relative_difference
from tinybert.errors import ManifestError
from tinybert.files import open_file
from tinybert.manifest.document import Run
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import Record, read_trace
from tinybert.strict_json import parse_json

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
    """Ascending, counted from 1."""
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
    path, outcome = run.folder / TRACE, run.manifest.outcome
    evaluations = _evaluations(run.folder / LOG)
    if not path.exists():
        trained = outcome.trace_digest is not None or outcome.steps > 0
        note = f"no trace at hand ({path})" if trained else "it left no trace of a step"
        return Steps({}, [], evaluations, note)
    try:
        curves, overflows, chain = _read(read_trace(path))
    except ManifestError as error:
        return Steps({}, [], evaluations, f"{error.message} ({error.where})")
    if not curves:
        return Steps({}, [], evaluations, "it left no trace of a step")
    if outcome.trace_digest is None:
        note = f"the run has no final trace: {len(curves['loss'].steps)} steps were written"
        return Steps(curves, overflows, evaluations, note)
    if outcome.trace_digest != chain:
        note = f"the trace at hand is not the one of this manifest ({path})"
        return Steps({}, [], evaluations, note)
    return Steps(curves, overflows, evaluations, "")


def apart(step: StepDifference) -> Curve:
    """Return the relative difference of two runs' losses in every step in which they differ."""
    curve: tuple[array[int], array[float]] = array("q"), array("d")
    for number, (x, y) in enumerate(zip(*step.losses, strict=False), step.number):
        if difference := relative_difference(x, y):
            curve[0].append(number)
            curve[1].append(difference)
    return Curve(*curve)


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


def spans(steps: Sequence[int], buckets: int) -> Iterator[tuple[int, int]]:
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


def _read(records: Iterator[Record]) -> tuple[dict[str, Curve], list[int], str]:
    """Return the curves of a trace, the loss and its parts first, its overflows and its digest."""
    columns: dict[str, tuple[array[int], array[float]]] = {}
    overflows, chain = [], ""
    for record in records:
        chain = record.chain
        if record.overflow:
            overflows.append(record.global_step + 1)
        quantities = {
            "loss": record.loss,
            **{f"parts.{name}": value for name, value in record.parts.items()},
            "learning_rate": record.learning_rate,
            "gradient_norm": record.gradient_norm,
            "loss_scale": record.loss_scale,
        }
        for name, value in quantities.items():
            steps, values = columns.setdefault(name, (array("q"), array("d")))
            steps.append(record.global_step + 1)
            values.append(value)
    names = sorted(columns, key=lambda name: name != "loss" and not name.startswith("parts."))
    return {name: Curve(*columns[name]) for name in names}, overflows, chain


def _evaluations(path: Path) -> dict[str, Curve]:
    """Return the metrics of a log's evaluations; of a step that was done twice, the later.

    Lines that are no evaluation, such as a torn one, are passed over.
    """
    metrics: dict[str, dict[int, float]] = {}
    try:
        with open_file(path) as log:
            lines = [line for line in log if b'"evaluation"' in line]
    except OSError:
        return {}
    for line in lines:
        try:
            event = parse_json(line)
        except ValueError:
            continue
        if not isinstance(event, dict) or event.get("event") != "evaluation":
            continue
        step = event.pop("step", None)
        for name, value in event.items() if isinstance(step, int) else ():
            if isinstance(value, int | float):
                metrics.setdefault(name, {})[step] = float(value)
    return {name: Curve(*zip(*sorted(at.items()), strict=True)) for name, at in metrics.items()}
