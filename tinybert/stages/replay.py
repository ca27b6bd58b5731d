"""Replaying what an audit drew of a training, in place of the training."""

import math
from collections.abc import Mapping

from tinybert.audit.replay import Replay
from tinybert.audit.stretches import Stretch
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.manifest.model import Checkpoint
from tinybert.model.parameters import Array
from tinybert.stages.context import RunContext, TrainingSetup
from tinybert.train.checkpoint import Check, CheckpointFolder, assign_arrays
from tinybert.train.loop import StepResult, train
from tinybert.train.step import CompiledStep


class TrainingReplay:
    """Replays stretches of one training, and measures its checkpoints.

    Args:
        replay: The run.
        context: The process and what it reads.
        training: The training.
        checkpoints: Those of the run, which are read alone.
    """

    def __init__(
        self,
        replay: Replay,
        context: RunContext,
        training: TrainingSetup,
        checkpoints: CheckpointFolder,
    ) -> None:
        self._replay = replay
        self._context = context
        self._training = training
        self._checkpoints = checkpoints
        self._selection = training.selection
        self._before = training.steps_before
        self._stopped = False

    def replay(self, compiled_step: CompiledStep) -> bool:
        """Replay the drawn stretches; returns whether the user asked to stop."""
        first = {p.name: p.asnumpy().copy() for p in self._checkpoints.parameters}
        for stretch in self._replay.stretches:
            if stretch.phase != self._training.phase.name or self._stopped:
                continue
            self._go_to(stretch, first)
            train(
                compiled_step,
                self._training.feed,
                first_step=stretch.first_step - self._before,
                total_steps=stretch.end - self._before,
                after_step=self._after_step,
                stop_requested=self._context.stop_requested,
                report_activity=self._context.report_activity,
                steps_before=self._before,
            )
        return self._stopped

    def measure(self) -> dict[str, float]:
        """Take the weights of the best evaluation, then of the last step; measure both.

        Returns:
            The metrics of the last step; empty without evaluations.

        Raises:
            InputError: One of the two is missing or damaged.
        """
        best = self._replay.best_of(self._checkpoints.folder)
        if best is not None and self._selection is not None:
            self._take_best(best)
            outcome = self._replay.run.manifest.outcome
            metrics = self._selection.metrics()
            self._replay.compare_metrics(
                best.step - 1, "best_metrics", outcome.best_metrics, metrics
            )
        self._restore(self._before + self._training.phase.total_steps)
        return {} if self._selection is None else dict(self._selection.metrics())

    def _after_step(self, result: StepResult) -> None:
        """Compare the step with its record."""
        done, commitment = result.global_step + 1 - self._before, None
        if done % self._checkpoints.every == 0 or done == self._training.phase.total_steps:
            metrics: Mapping[str, float] = {}
            if self._selection is not None and math.isfinite(result.loss):
                metrics = self._selection.metrics()
            commitment = self._checkpoints.commitment(self._checkpoints.table(), metrics)
        self._replay.compare(result, commitment)
        self._context.on_step(result)
        self._stopped = result.stops

    def _go_to(self, stretch: Stretch, first: Mapping[str, Array]) -> None:
        """Set weights and state to those that a stretch begins with."""
        if stretch.checkpoint is None:
            assign_arrays(self._checkpoints.parameters, first)
        else:
            self._restore(stretch.first_step)

    def _restore(self, step: int) -> None:
        """Take weights and state from the checkpoint after `step` steps of the run."""
        made = self._replay.commitment(step)
        if self._context.world.first:
            self._checkpoints.restore(
                self._checkpoints.path(step - self._before),
                self._compare(
                    step, "state_digest of its checkpoint", made.state_digest if made else None
                ),
            )
        self._context.world.broadcast_parameters(self._checkpoints.parameters)

    def _take_best(self, best: Checkpoint) -> None:
        """Take the weights of the best evaluation."""
        made = self._replay.commitment(best.step)
        if self._context.world.first:
            self._checkpoints.restore_best(
                self._compare(
                    best.step, "weights_digest of the best", made.weights_digest if made else None
                )
            )
        self._context.world.broadcast_parameters(self._checkpoints.parameters)

    def _compare(self, step: int, fact: str, recorded: str | None) -> Check:
        """Return what compares the arrays of a file, saved after a step, with the trace."""

        def compare(arrays: Mapping[str, Array]) -> None:
            digest = tensor_digest(tensor_table(arrays))
            if digest != recorded:
                self._replay.find(step - 1, fact, recorded, digest)

        return compare
