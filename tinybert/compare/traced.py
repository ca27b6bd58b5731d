"""Whether a trace agrees with its run's recipe, outcome and checkpoints."""

import hashlib
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tinybert.data.phases import TrainingPhase
from tinybert.errors import ManifestError
from tinybert.manifest.document import Run
from tinybert.manifest.model import Outcome
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import MEAN_STEPS, Commitment, Record, final_losses, read_trace


def differs(path: str, recorded: object, computed: object, source: str) -> Iterator[str]:
    """Yield a message if a recorded fact differs from the computed one."""
    if recorded != computed:
        yield f"{path} is {recorded!r}; {source} gives {computed!r}"


class TracedTraining:
    """Computes what the records of one training must be, step by step."""

    def __init__(self, phase: TrainingPhase) -> None:
        self.phase = phase
        self.optimizer_step = 0
        self.loss_scale = np.float32(phase.loss_scale.loss_scale_value)
        self.clean_steps = 0
        self.last: deque[Record] = deque(maxlen=MEAN_STEPS)

    def differences(self, record: Record) -> Iterator[str]:
        """Yield how a record differs from what the recipe asks for."""
        rate = float(np.float32(self.phase.schedule(self.optimizer_step)))
        for name, recorded, computed in (
            ("optimizer_step", record.optimizer_step, self.optimizer_step),
            ("learning_rate", record.learning_rate, rate),
            ("loss_scale", record.loss_scale, float(self.loss_scale)),
        ):
            path = f"{TRACE}, line {record.global_step + 1}: {name}"
            yield from differs(path, recorded, computed, "the recipe")

    def take(self, record: Record) -> None:
        """Go on to the next step."""
        self.last.append(record)
        self.optimizer_step += not record.overflow
        table = self.phase.loss_scale
        factor = np.float32(table.scale_factor)
        self.clean_steps += 1
        if record.overflow:
            self.loss_scale = np.maximum(self.loss_scale / factor, np.float32(1))
        elif self.clean_steps == table.scale_window:
            self.loss_scale = self.loss_scale * factor
        if record.overflow or self.clean_steps == table.scale_window:
            self.clean_steps = 0


class TracedRun:
    """What the trace of a run holds.

    Args:
        run: The run.
        trained: Its trainings, in order, which take their records; none where the recipe is not
            known.
    """

    def __init__(self, run: Run, trained: Sequence[TracedTraining]) -> None:
        self._run = run
        self._trained = trained
        self._ends = np.cumsum([training.phase.total_steps for training in trained])
        self._kept = {checkpoint.step for checkpoint in run.manifest.outcome.checkpoints}
        self._chain = hashlib.sha256().hexdigest()
        self._chains: dict[int, str] = {}  # of the steps before the checkpoints that are kept
        self._steps = self._overflows = self._nonfinite = 0
        self.commitments: dict[int, Commitment] = {}
        """By the steps of the run before them."""

    def problems(self) -> Iterator[str]:
        """Read the trace; yield what contradicts the outcome or, where it is known, the recipe."""
        outcome = self._run.manifest.outcome
        first: str | None = None
        try:
            for record in read_trace(self._run.folder / TRACE):
                wrong = self._take(record)
                first = first or wrong
        except ManifestError as error:
            yield f"{TRACE}: {error.message}"
            return
        if self._chain != outcome.trace_digest:
            yield f"{TRACE}: another trace: digest {self._chain}, not {outcome.trace_digest}"
            return
        if first is not None:
            yield first
        for name, recorded, computed in (
            ("steps", outcome.steps, self._steps),
            ("overflows", outcome.overflows, self._overflows),
            ("nonfinite_losses", outcome.nonfinite_losses, self._nonfinite),
        ):
            yield from differs(f"outcome.{name}", recorded, computed, "the trace")
        files = self._run.manifest.volatile.checkpoint_files
        for checkpoint in outcome.checkpoints:
            file, chain = files.get(checkpoint.file), self._chains.get(checkpoint.step)
            if file is not None and chain is not None:
                path = f"volatile.checkpoint_files.{checkpoint.file}.trace_digest"
                yield from differs(path, file.trace_digest, chain, "the trace")
        yield from _committed(outcome, self.commitments)
        for training in self._trained:
            if len({tuple(record.parts) for record in training.last}) > 1:
                yield f"{TRACE}: records of {training.phase.name} have other parts of the loss"

    def _take(self, record: Record) -> str | None:
        """Count a record; return the first thing that is wrong with it."""
        place = f"{TRACE}, line {self._steps + 1}: global_step"
        wrong = [*differs(place, record.global_step, self._steps, "its place")]
        self._steps += 1
        self._overflows += record.overflow
        self._nonfinite += not math.isfinite(record.loss)
        self._chain = record.chain
        if self._steps in self._kept:
            self._chains[self._steps] = record.chain
        if record.checkpoint is not None:
            self.commitments[self._steps] = record.checkpoint
        begun = self._run.manifest.inputs.begins_with
        if begun is not None and self._steps == begun.step:
            place = f"inputs.begins_with.trace_digest of {TRACE}, line {self._steps}"
            wrong += differs(place, begun.trace_digest, record.chain, "it")
        index = int(np.searchsorted(self._ends, self._steps))
        if index < len(self._trained):
            # The steps of the run that this one begins with had another recipe's learning rate.
            if begun is None or self._steps > begun.step:
                wrong += self._trained[index].differences(record)
            self._trained[index].take(record)
        return wrong[0] if wrong else None


def _committed(outcome: Outcome, commitments: Mapping[int, Commitment]) -> Iterator[str]:
    """Compare checkpoints and evaluations with what the trace says of them.

    Older traces, and checkpoints that a stop left between two others, have no commitment.
    """
    for checkpoint in outcome.checkpoints:
        if made := commitments.get(checkpoint.step):
            path = f"outcome.checkpoints, step {checkpoint.step}: tensor_digest"
            yield from differs(path, checkpoint.tensor_digest, made.state_digest, "the trace")
    best = outcome.best_checkpoint
    if best is not None and (made := commitments.get(best.step)):
        path = "outcome.best_checkpoint.tensor_digest"
        yield from differs(path, best.tensor_digest, made.weights_digest, "the trace")
    for step, path, numbers in (
        (outcome.steps, "metrics", outcome.metrics),
        (outcome.best_step, "best_metrics", outcome.best_metrics),
    ):
        made = None if step is None else commitments.get(step)
        for name, value in made.metrics.items() if made else ():
            recorded = numbers[name].hex if name in numbers else None
            yield from differs(f"outcome.{path}.{name}", recorded, value.hex(), "the trace")


def traced_losses(stage: str, trained: list[TracedTraining]) -> dict[str, float]:
    """Return the metrics that are losses of the last steps of each training."""
    return {
        f"{training.phase.name}_{name}" if stage == "task_distill" else name: value
        for training in trained
        if training.last
        for name, value in final_losses(training.last).items()
    }
