"""The trace of a run: one line of JSON a step, with exact numbers and a running SHA-256.

A line reads (broken here for the page)

    {"global_step":7,"optimizer_step":7,"loss":"0x1.8p+1","loss_value":3.0,
     "parts":{"hidden":"0x1p+1"},"loss_scale":"0x1p+8","overflow":false,
     "learning_rate":"0x1.5p-15","gradient_norm":"0x1p+0","batch_digest":"...","chain":"..."}

A step after which the recipe has a checkpoint reads besides, before its `chain`,

     "checkpoint":{"state_digest":"...","weights_digest":"...","metrics":{"accuracy":"0x1.8p-1"}}

whether or not the checkpoint is kept. `chain` is the SHA-256 of all lines so far, each without its
`chain`; the last is the trace's digest. A line depends on the run alone, never on time or place.
"""

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from tinybert.errors import ManifestError
from tinybert.files import open_file, open_to_append
from tinybert.manifest.canonical import to_json
from tinybert.strict_json import parse_json

Value = TypeVar("Value", int, bool, str)
MEAN_STEPS = 100
"""Steps at the end of a training whose mean losses are final metrics."""
CHAIN = b',"chain":"'
TAIL = len(CHAIN) + 64 + len(b'"}\n')  # bytes of a line after its body


@dataclass(frozen=True)
class Commitment:
    """What a trace says of the checkpoint after a step, which no later step can change."""

    state_digest: str
    """SHA-256 over all tensors: weights, moments, counters, loss scale."""
    weights_digest: str
    """SHA-256 over the weights, as the checkpoint of the best evaluation has them."""
    metrics: Mapping[str, float]
    """Of the evaluation of these weights; empty where there was none."""


@dataclass(frozen=True)
class TracedStep:
    """What a trace has of each step of a run."""

    global_step: int
    """Steps of the run before this one."""
    optimizer_step: int
    """Updates of the training before this one."""
    loss: float
    parts: Mapping[str, float]
    """The loss's parts, before their weights."""
    loss_scale: float
    """Loss scale of this step."""
    overflow: bool
    """Whether a gradient was not finite, so that nothing was updated."""
    learning_rate: float
    gradient_norm: float
    """L2 norm of all gradients, unscaled and unclipped."""
    batch_digest: str


@dataclass(frozen=True)
class Record(TracedStep):
    """A line of a trace."""

    chain: str
    """SHA-256 of all lines so far."""
    checkpoint: Commitment | None = None
    """Of the checkpoint after this step, if the recipe has one there."""


class TraceWriter:
    """Appends records to a trace, buffered; `flush` before a checkpoint that relies on them.

    Args:
        path: The trace. Lines after the first `records` are cut off.
        records: Records to keep, one a step: 0 for a new trace, the step of the checkpoint for
            a resumed one.
        digest: The digest of these records, if it is known.

    Raises:
        ManifestError: The trace holds fewer whole records than that, or they were changed.
    """

    def __init__(self, path: Path, *, records: int = 0, digest: str | None = None) -> None:
        self.records = 0
        """Records in the trace."""
        self.overflows = 0
        """Records whose gradients overflowed."""
        self.nonfinite = 0
        """Records whose loss is infinite or not a number."""
        self._running = hashlib.sha256()
        kept = 0
        if records:
            for line, record in _checked_lines(path, records, self._running):
                self.records += 1
                self.overflows += record.overflow
                self.nonfinite += not math.isfinite(record.loss)
                kept += len(line)
        if digest not in (None, self.digest):
            message = f"trace was changed: its digest is {self.digest}, not {digest}"
            raise ManifestError(message, where=str(path))
        self._file = open_to_append(path)
        self._file.truncate(kept)

    @property
    def digest(self) -> str:
        """The SHA-256 of the records so far, without their `chain`."""
        return self._running.hexdigest()

    def append(self, step: TracedStep, checkpoint: Commitment | None = None) -> None:
        """Add the record of one step, and of the checkpoint after it, if the recipe has one there.

        Numbers are Python's, or NumPy scalars of any width.
        """
        loss = float(step.loss)
        record: dict[str, object] = {
            "global_step": int(step.global_step),
            "optimizer_step": int(step.optimizer_step),
            "loss": loss.hex(),
            "loss_value": to_json(loss),
            "parts": _hex(step.parts),
            "loss_scale": float(step.loss_scale).hex(),
            "overflow": bool(step.overflow),
            "learning_rate": float(step.learning_rate).hex(),
            "gradient_norm": float(step.gradient_norm).hex(),
            "batch_digest": step.batch_digest,
        }
        if checkpoint is not None:
            record["checkpoint"] = {
                "state_digest": checkpoint.state_digest,
                "weights_digest": checkpoint.weights_digest,
                "metrics": _hex(checkpoint.metrics),
            }
        body = json.dumps(record, separators=(",", ":")).encode()
        self._running.update(body + b"\n")
        self._file.write(body[:-1] + CHAIN + self.digest.encode() + b'"}\n')
        self.records += 1
        self.overflows += bool(step.overflow)
        self.nonfinite += not math.isfinite(loss)

    def flush(self) -> None:
        """Put every record on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Put every record on the disk and close the file."""
        if not self._file.closed:
            self.flush()
            self._file.close()


def read_trace(path: Path) -> Iterator[Record]:
    """Yield the records of a trace; a torn last line, left by a kill, is not one.

    Raises:
        ManifestError: The trace is missing, a line is not a record, or one was changed.
    """
    for _, record in _checked_lines(path, None, hashlib.sha256()):
        yield record


def trace_digest(path: Path) -> str:
    """Return the digest of a trace after checking every line.

    Raises:
        ManifestError: The trace is missing, a line is not a record, or one was changed.
    """
    running = hashlib.sha256()
    for _ in _checked_lines(path, None, running):
        pass
    return running.hexdigest()


def final_losses(records: Iterable[Record]) -> dict[str, float]:
    """Return the loss and its parts in the last step, and their means over the last steps.

    The means, over `MEAN_STEPS` steps, are named `mean_loss` and so on.
    """
    last = deque(records, maxlen=MEAN_STEPS)
    series = {"loss": [record.loss for record in last]}
    for part in last[-1].parts:
        series[part] = [record.parts[part] for record in last]
    return {name: values[-1] for name, values in series.items()} | {
        f"mean_{name}": fmean(values) for name, values in series.items()
    }


def _checked_lines(
    path: Path, count: int | None, running: "hashlib._Hash"
) -> Iterator[tuple[bytes, Record]]:
    """Yield the first `count` lines, or all, with their records; `running` takes their bodies."""
    for number, line in enumerate(_whole_lines(path, count), 1):
        record = parse_record(path, line)
        running.update(line[:-TAIL] + b"}\n")
        if line[-TAIL:] != CHAIN + running.hexdigest().encode() + b'"}\n':
            raise ManifestError("trace was changed", where=f"{path}:{number}")
        yield line, record


def _whole_lines(path: Path, count: int | None) -> Iterator[bytes]:
    """Yield the first `count` lines that end, or all of them."""
    try:
        file = open_file(path)
    except OSError as error:
        raise ManifestError("trace is missing", where=str(path)) from error
    whole = 0
    with file:
        for line in file:
            if whole == count or not line.endswith(b"\n"):
                break
            whole += 1
            yield line
    if count is not None and whole < count:
        message = f"trace has {whole} whole records, not the {count} of the checkpoint"
        raise ManifestError(message, where=str(path))


def parse_record(path: Path, line: bytes) -> Record:
    """Return the record of a line.

    Raises:
        ManifestError: The line is not a record.
    """
    try:
        fields = parse_json(line, exact_integers=True)
        return Record(
            global_step=_typed(int, fields["global_step"]),
            optimizer_step=_typed(int, fields["optimizer_step"]),
            loss=float.fromhex(fields["loss"]),
            parts=_numbers(fields["parts"]),
            loss_scale=float.fromhex(fields["loss_scale"]),
            overflow=_typed(bool, fields["overflow"]),
            learning_rate=float.fromhex(fields["learning_rate"]),
            gradient_norm=float.fromhex(fields["gradient_norm"]),
            batch_digest=_typed(str, fields["batch_digest"]),
            chain=_typed(str, fields["chain"]),
            checkpoint=_commitment(fields["checkpoint"]) if "checkpoint" in fields else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ManifestError(f"not a trace record: {line[:60]!r}", where=str(path)) from error


def _commitment(fields: Mapping[str, Any]) -> Commitment:
    return Commitment(
        state_digest=_typed(str, fields["state_digest"]),
        weights_digest=_typed(str, fields["weights_digest"]),
        metrics=_numbers(fields["metrics"]),
    )


def _hex(numbers: Mapping[str, float]) -> dict[str, str]:
    return {name: float(number).hex() for name, number in numbers.items()}


def _numbers(fields: Mapping[str, str]) -> dict[str, float]:
    return {name: float.fromhex(number) for name, number in fields.items()}


def _typed(kind: type[Value], value: object) -> Value:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value
