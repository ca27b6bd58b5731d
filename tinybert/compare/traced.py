"""Whether a trace agrees with its run's recipe, outcome and checkpoints."""

import hashlib
import math
from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np

from tinybert.data.phases import TrainingPhase
from tinybert.errors import ManifestError
from tinybert.manifest.document import Run
from tinybert.manifest.model import Outcome
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import MEAN_STEPS, Commitment, Record, final_losses, read_trace


def differs(path: str, recorded: object, computed: object, source: str) -> Iterator[str]:
    """Yield that a recorded fact is not the one that is computed, unless it is."""
    if recorded != computed:
        yield f"{path} is {recorded!r}; {source} gives {computed!r}"


class TracedTraining:
    """What the records of one training must be, step by step."""

    def __init__(self, phase: TrainingPhase) -> None:
        self.phase = phase
        self.optimizer_step = 0
        self.loss_scale = np.float32(phase.loss_scale.loss_scale_value)
        self.clean_steps = 0
        self.last: deque[Record] = deque(maxlen=MEAN_STEPS)

    def differences(self, record: Record) -> Iterator[str]:
        """Yield what a record has otherwise than the recipe."""
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


def trace_problems(
    run: Run, trained: list[TracedTraining], commitments: dict[int, Commitment]
) -> Iterator[str]:
    """Compare the trace with the outcome and, where it is known, with the recipe.

    `trained` and `commitments`, by the steps of the run before them, take what is read.
    """
    outcome, files = run.manifest.outcome, run.manifest.volatile.checkpoint_files
    begun = run.manifest.inputs.begins_with  # whose steps had another recipe's learning rate
    ends = np.cumsum([training.phase.total_steps for training in trained])
    kept = {checkpoint.step for checkpoint in outcome.checkpoints}
    chains: dict[int, str] = {}
    problem: str | None = None
    steps = overflows = nonfinite = 0
    chain = hashlib.sha256().hexdigest()
    try:
        for record in read_trace(run.folder / TRACE):
            place = f"{TRACE}, line {steps + 1}: global_step"
            problem = problem or next(differs(place, record.global_step, steps, "its place"), None)
            steps += 1
            overflows += record.overflow
            nonfinite += not math.isfinite(record.loss)
            chain = record.chain
            if steps in kept:
                chains[steps] = chain
            if record.checkpoint is not None:
                commitments[steps] = record.checkpoint
            index = int(np.searchsorted(ends, steps))
            if begun is not None and steps == begun.step:
                place = f"inputs.begins_with.trace_digest of {TRACE}, line {steps}"
                problem = problem or next(differs(place, begun.trace_digest, chain, "it"), None)
            if index < len(trained):
                if begun is None or steps > begun.step:
                    problem = problem or next(trained[index].differences(record), None)
                trained[index].take(record)
    except ManifestError as error:
        yield f"{TRACE}: {error.message}"
        return
    if chain != outcome.trace_digest:
        yield f"{TRACE}: another trace: digest {chain}, not {outcome.trace_digest}"
        return
    if problem is not None:
        yield problem
    for name, recorded, computed in (
        ("steps", outcome.steps, steps),
        ("overflows", outcome.overflows, overflows),
        ("nonfinite_losses", outcome.nonfinite_losses, nonfinite),
    ):
        yield from differs(f"outcome.{name}", recorded, computed, "the trace")
    for checkpoint in outcome.checkpoints:
        file = files.get(checkpoint.file)
        if file is not None and checkpoint.step in chains:
            path = f"volatile.checkpoint_files.{checkpoint.file}.trace_digest"
            yield from differs(path, file.trace_digest, chains[checkpoint.step], "the trace")
    yield from _committed(outcome, commitments)
    for training in trained:
        if len({tuple(record.parts) for record in training.last}) > 1:
            yield f"{TRACE}: records of {training.phase.name} have other parts of the loss"


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
