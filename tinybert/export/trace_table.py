"""The trace of a run as columns of numbers, for programs that draw and store them."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinybert.atomic import atomic_replace
from tinybert.errors import InputError
from tinybert.files import writing
from tinybert.manifest.document import Run, parse_utc
from tinybert.manifest.pace import PACE, read_pace
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import Record, read_trace

COUNTERS = ("global_step", "optimizer_step")
"""Columns before the quantities."""
DIGESTS = ("batch_digest", "state_digest", "weights_digest")
"""Columns after them."""


@dataclass(frozen=True)
class TraceTable:
    """A trace that is the one of its manifest, with the names of its quantities."""

    run: Run
    quantities: tuple[str, ...]
    """`loss`, its parts `parts/...`, rates and norms, and `metrics/...` of evaluations."""

    @classmethod
    def read(cls, run: Run) -> "TraceTable":
        """Read a trace once, and compare it with the manifest.

        Raises:
            InputError: The run trained nothing, or the trace is not the one of the manifest.
            ManifestError: The trace is missing or damaged.
        """
        expected = run.manifest.outcome.trace_digest
        if not run.manifest.outcome.steps and not (run.folder / TRACE).exists():
            raise InputError("the run left no trace: it trained nothing", where=str(run.path))
        names: dict[str, None] = {}
        chain = None
        for record in read_trace(run.folder / TRACE):
            names |= dict.fromkeys(quantities_of(record))
            chain = record.chain
        if expected is not None and chain != expected:
            message = "the trace is not the one of this manifest"
            raise InputError(message, where=str(run.folder / TRACE))
        return cls(run, tuple(sorted(names, key=_rank)))

    def records(self) -> Iterator[Record]:
        """Yield the records, in order."""
        return read_trace(self.run.folder / TRACE)

    def write_csv(self, path: Path) -> int:
        """Write a line a step, with every digit; returns how many.

        Raises:
            InputError: The file cannot be written.
        """
        rows = 0
        with (
            writing(path),
            atomic_replace(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*COUNTERS, *self.quantities, *DIGESTS])
            for record in self.records():
                table.writerow(_cells(record, self.quantities))
                rows += 1
        return rows


def quantities_of(record: Record) -> dict[str, float]:
    """Return the quantities of a step by name; metrics are those of an evaluation after it."""
    metrics = record.checkpoint.metrics if record.checkpoint is not None else {}
    return {
        "loss": record.loss,
        **{f"parts/{name}": value for name, value in record.parts.items()},
        "learning_rate": record.learning_rate,
        "gradient_norm": record.gradient_norm,
        "loss_scale": record.loss_scale,
        "overflow": float(record.overflow),
        **{f"metrics/{name}": value for name, value in metrics.items()},
    }


def clock(run: Run) -> Callable[[int], float]:
    """Return a function from steps done to the time when they were, in seconds since 1970.

    It follows the run's pace where that is kept; else all steps have the time of the start.
    """
    start = seconds_since_1970(run.manifest.volatile.created) or 0.0
    pace = [(0, 0.0), *((each.step, each.seconds) for each in read_pace(run.folder / PACE))]
    steps, seconds = zip(*pace, strict=True)
    return lambda step: start + float(np.interp(step, steps, seconds))


def seconds_since_1970(time: str | None) -> float | None:
    """Return a time of a manifest in seconds; None where it has none."""
    parsed = parse_utc(time)
    return None if parsed is None else parsed.timestamp()


def _rank(name: str) -> int:
    """Return where a quantity stands: the loss, its parts, the rest, the metrics."""
    return {"loss": 0, "parts": 1, "metrics": 3}.get(name.partition("/")[0], 2)


def _cells(record: Record, quantities: Sequence[str]) -> list[object]:
    values, kept = quantities_of(record), record.checkpoint
    return [
        record.global_step,
        record.optimizer_step,
        *(values.get(name, "") for name in quantities),
        record.batch_digest,
        *(("", "") if kept is None else (kept.state_digest, kept.weights_digest)),
    ]
