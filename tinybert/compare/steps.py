"""The first step in which two traces differ, found without parsing most of their records."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tinybert.errors import ManifestError
from tinybert.files import read_file
from tinybert.manifest.trace import (
    Commitment,
    Record,
    TracedStep,
    parse_record,
    trace_digest,
)

BLOCK = 1 << 16  # bytes
LOSS = re.compile(rb'"loss":"([^"]*)"')
BATCH = re.compile(rb'"batch_digest":"([^"]*)"')
Quantity = float | str | None
"""A value of a trace record; None for a part of the loss that one record lacks."""


@dataclass(frozen=True)
class StepDifference:
    """The first step in which two traces differ.

    Args:
        global_step: Steps before it.
        values: What differs in it, with both values; empty where one trace has ended.
        ended: `A` or `B` where that trace has no such step.
        batches_from: First step whose batches differ; None if all batches are equal.
        same_batches: Whether the traces have equal batches in another order.
        losses: The loss of this and every later step in both traces.
    """

    global_step: int
    values: dict[str, tuple[Quantity, Quantity]]
    ended: str | None
    batches_from: int | None
    same_batches: bool
    losses: tuple[list[float], list[float]] = field(repr=False)

    @property
    def number(self) -> int:
        """The step as people count, from 1."""
        return self.global_step + 1

    @property
    def other_data(self) -> bool:
        """Whether the batches of this step differ, not only what was computed from them."""
        return self.batches_from == self.global_step

    @property
    def evidence(self) -> str:
        """What this step shows about the cause."""
        if self.ended:
            return f"{self.ended} ends before step {self.number}"
        if not self.other_data:
            return f"other arithmetic on equal batches from step {self.number}"
        if self.same_batches:
            return f"the same batches in another order from step {self.number}"
        return f"other batches from step {self.number}"

    @property
    def loss_difference(self) -> float:
        """Largest difference of a step's loss, relative to the larger of the two."""
        return max(map(relative_difference, *self.losses), default=0.0)


@dataclass(frozen=True)
class Trace:
    """A trace in memory, unparsed."""

    data: bytes
    path: Path

    @classmethod
    def load(cls, path: Path, digest: str | None) -> "Trace | None":
        """Return the trace at a path; None if it is missing or not the one with this digest."""
        try:
            data = read_file(path)
            recorded = digest is not None and trace_digest(path) == digest
        except (OSError, ManifestError):
            return None
        return cls(data, path) if recorded else None

    def record(self, offset: int) -> Record | None:
        """Return the record whose line begins at an offset; None at the end."""
        line = self.data[offset : self.data.find(b"\n", offset) + 1]
        return parse_record(self.path, line) if line else None

    def batches(self, offset: int) -> list[bytes]:
        """Return the batch digest of every step whose line begins at an offset or later."""
        return BATCH.findall(self.data, offset)

    def losses(self, offset: int) -> list[float]:
        """Return the loss of every step whose line begins at an offset or later.

        Raises:
            ManifestError: One is not a number.
        """
        try:
            return [float.fromhex(text.decode()) for text in LOSS.findall(self.data, offset)]
        except ValueError as error:
            raise ManifestError(
                "trace has a loss that is no number", where=str(self.path)
            ) from error


def first_difference(a: Trace, b: Trace) -> StepDifference | None:
    """Return the first step in which two traces differ; None if they are equal."""
    position = _common_prefix(a.data, b.data)
    if position is None:
        return None
    start = a.data.rfind(b"\n", 0, position) + 1
    first, second = a.record(start), b.record(start)
    record = first or second
    assert record is not None
    values: dict[str, tuple[Quantity, Quantity]] = {}
    if first is not None and second is not None:
        sides = (step_quantities(each, each.checkpoint) for each in (first, second))
        values = differing_quantities(*sides)
    batches = a.batches(start), b.batches(start)
    pairs = enumerate(zip(*batches, strict=False), record.global_step)
    return StepDifference(
        global_step=record.global_step,
        values=values,
        ended=None if first and second else ("A" if second else "B"),
        batches_from=next((step for step, (x, y) in pairs if x != y), None),
        same_batches=sorted(batches[0]) == sorted(batches[1]),
        losses=(a.losses(start), b.losses(start)),
    )


def relative_difference(a: float, b: float) -> float:
    """Return |a - b| / max(|a|, |b|); 0 for equal values, infinite against no number."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b))


def _common_prefix(a: bytes, b: bytes) -> int | None:
    """Return the position of the first difference; None if there is none."""
    for start in range(0, min(len(a), len(b)), BLOCK):
        x, y = a[start : start + BLOCK], b[start : start + BLOCK]
        if x != y:
            pairs = enumerate(zip(x, y, strict=False))
            return start + next((i for i, (p, q) in pairs if p != q), min(len(x), len(y)))
    return None if len(a) == len(b) else min(len(a), len(b))


def differing_quantities(
    a: Mapping[str, Quantity], b: Mapping[str, Quantity]
) -> dict[str, tuple[Quantity, Quantity]]:
    """Return the quantities of two steps that differ, with both values."""
    pairs = {name: (a.get(name), b.get(name)) for name in {**a, **b}}
    return {name: (x, y) for name, (x, y) in pairs.items() if not _same_bits(x, y)}


def step_quantities(step: TracedStep, checkpoint: Commitment | None) -> dict[str, Quantity]:
    """Return what a trace has of a step and of the checkpoint after it, by name."""
    return {
        "batch_digest": step.batch_digest,
        "loss": step.loss,
        **{f"parts.{name}": value for name, value in step.parts.items()},
        "loss_scale": step.loss_scale,
        "overflow": step.overflow,
        "learning_rate": step.learning_rate,
        "gradient_norm": step.gradient_norm,
        "optimizer_step": step.optimizer_step,
        **_committed(checkpoint),
    }


def _committed(checkpoint: Commitment | None) -> dict[str, Quantity]:
    if checkpoint is None:
        return {}
    return {
        **{f"metrics.{name}": value for name, value in checkpoint.metrics.items()},
        "weights_digest": checkpoint.weights_digest,
        "state_digest": checkpoint.state_digest,
    }


def _same_bits(x: Quantity, y: Quantity) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return x.hex() == y.hex()
    return x == y
