"""What happens after every step: trace, evaluation, checkpoints, a stop that the user asked for."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import structlog

from tinybert.errors import InputError
from tinybert.manifest.digests import tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.train.checkpoint import Array, Best, CheckpointFolder
from tinybert.train.loop import StepResult

log = structlog.get_logger()


@dataclass(frozen=True)
class Selection:
    """How the best checkpoint is chosen."""

    metrics: Callable[[], Mapping[str, float]]
    """Evaluates the weights as they are."""
    metric: str
    """The metric that decides; the first of equal evaluations is the best."""


class Journal:
    """Keeps a training's trace and checkpoints such that each checkpoint has its trace on disk.

    Args:
        record: The run.
        checkpoints: The training's checkpoints.
        save_ckpt_step: Steps between two of them, and between two evaluations.
        total_steps: Steps of the training; the last is always saved.
        stop_requested: Whether the user asked to stop; the step is finished and saved.
        on_step: Told about every step.
        selection: Evaluates; None: the training has no best checkpoint.
        steps_before: Steps of the run before this training: the trace counts on from there.
    """

    def __init__(
        self,
        record: RunRecord,
        checkpoints: CheckpointFolder,
        *,
        save_ckpt_step: int,
        total_steps: int,
        stop_requested: Callable[[], bool],
        on_step: Callable[[StepResult], None],
        selection: Selection | None = None,
        steps_before: int = 0,
    ) -> None:
        self.record = record
        self.checkpoints = checkpoints
        self.save_ckpt_step = save_ckpt_step
        self.total_steps = total_steps
        self.stop_requested = stop_requested
        self.on_step = on_step
        self.selection = selection
        self.steps_before = steps_before
        self.best: Best | None = None
        self.last_metrics: dict[str, float] | None = None
        """Of the evaluation after the last step, if this process made it."""

    def resume(self) -> int:
        """Go back to the newest whole checkpoint; return the steps that it has behind it.

        Raises:
            InputError: The newest checkpoint is not one of this run.
        """
        files = self.checkpoints.files()
        if not files:
            self.record.rewind(self.steps_before)
            return 0
        step = self.checkpoints.step_of(files[-1])
        arrays = self.restore()
        self.record.rewind(self.steps_before + step)
        self.record.checkpoint(self.steps_before + step, files[-1], tensor_table(arrays))
        self._keep_best(step)
        return step

    def restore(self) -> dict[str, Array]:
        """Take weights and state from the newest checkpoint; return its arrays.

        Raises:
            InputError: There is none, or it is not one of this run.
        """
        files = self.checkpoints.files()
        if not files:
            where, cure = str(self.checkpoints.folder), "restore it, or start anew with --fresh"
            raise InputError("the last checkpoint of this phase is gone", where=where, cure=cure)
        self.best, arrays = self.checkpoints.restore(files[-1])
        return arrays

    def after_step(self, result: StepResult) -> bool:
        """Write the step down; return whether the loop goes on."""
        fields = asdict(result)
        del fields["rows"]
        self.record.trace.append(**fields)
        done = result.global_step + 1 - self.steps_before
        stops = self.stop_requested()
        due = done % self.save_ckpt_step == 0 or done == self.total_steps
        if due and math.isfinite(result.loss):
            self._evaluate(done)
        if due or stops:
            self._save(done, between=not due)
        self.on_step(result)
        return not stops

    def _evaluate(self, step: int) -> None:
        """Measure the weights, and see whether they are the best so far."""
        if self.selection is None:
            return
        metrics = dict(self.selection.metrics())
        metric = metrics[self.selection.metric]
        log.info("evaluation", step=self.steps_before + step, **metrics)
        if step == self.total_steps:
            self.last_metrics = metrics
        if math.isfinite(metric) and (self.best is None or metric > self.best.metric):
            self.best = Best(step, metric, metrics)

    def _save(self, step: int, *, between: bool) -> None:
        self.record.trace.flush()
        arrays = self.checkpoints.save(step, self.best, between=between)
        path = self.checkpoints.path(step)
        self.record.checkpoint(self.steps_before + step, path, tensor_table(arrays))
        self._keep_best(step)

    def _keep_best(self, step: int) -> None:
        """Keep the weights apart if they are the best; a kill before this is made up by resume."""
        if self.best is not None and self.best.global_step == step:
            table = tensor_table(self.checkpoints.save_best())
            path = self.checkpoints.best_path
            self.record.checkpoint(self.steps_before + step, path, table, best=True)
