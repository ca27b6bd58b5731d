"""What happens after every step of a training: trace, evaluation, saving; and how it is resumed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from tinybert.errors import InputError
from tinybert.manifest.checkpoints import (
    TensorTable,
    changed_file,
    changed_table,
    changed_tensors,
    require_equal,
    tensor_digest,
    tensor_table,
)
from tinybert.manifest.model import Checkpoint
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.train.checkpoint import GO_BACK, Best, CheckpointFolder
from tinybert.train.loop import StepResult, ignore_activity
from tinybert.train.world import ALONE, World

log = structlog.get_logger()

_STEP_AND_BEST: TypeAdapter[tuple[int, Best | None]] = TypeAdapter(tuple[int, Best | None])


@dataclass(frozen=True)
class BestMetric:
    """How the best checkpoint is chosen."""

    metrics: Callable[[], Mapping[str, float]]
    """Evaluates the weights as they are."""
    metric: str
    """The metric that decides; the first of equal evaluations is the best."""


@dataclass
class CheckpointManager:
    """Keeps a training's trace and checkpoints such that each checkpoint has its trace on disk."""

    record: RunRecord
    checkpoints: CheckpointFolder
    """The training's checkpoints; evaluations come with them."""
    total_steps: int
    """Steps of the training; the last is always saved."""
    selection: BestMetric | None = None
    """Evaluates; None: the training has no best checkpoint."""
    steps_before: int = 0
    """Steps of the run before this training: the trace counts on from there."""
    world: World = ALONE
    """The processes of the run. The first has the files that a resume needs, and sends their
    content to the others; each keeps a record of its own."""
    report_activity: Callable[[str], None] = ignore_activity
    """Called with what is done from now on: `evaluating` or `saving`."""
    best: Best | None = field(default=None, init=False)
    last_metrics: dict[str, float] | None = field(default=None, init=False)
    """Of the evaluation after the last step, if this process made it."""

    def resume(self) -> int:
        """Go back to the newest checkpoint that is recorded; return the steps before it.

        Files that no manifest records, left by a kill, are removed.

        Raises:
            InputError: The checkpoint, the best one or the trace is not as it was recorded.
        """
        step = self._restored()
        if step and (self.best is None or self.best.global_step != step):
            self._check_best()
        self._rewind(self.steps_before + step)
        if step:
            table = self.checkpoints.table()
            self.record.checkpoint(self.steps_before + step, self.checkpoints.path(step), table)
            self._keep_best(step)
        return step

    def restore(self) -> None:
        """Take weights and state from the newest checkpoint.

        Raises:
            InputError: There is none, or it is not as it was recorded.
        """
        if not self._restored():
            where, cure = str(self.checkpoints.folder), "restore it, or start anew with --fresh"
            raise InputError("the last checkpoint of this phase is gone", where=where, cure=cure)

    def _recorded(self) -> dict[Path, Checkpoint]:
        """Return the recorded checkpoints of this training by their files, oldest first."""
        recorded = {}
        for kept in self.record.manifest.outcome.checkpoints:
            file, step = self.record.directory / kept.file, kept.step - self.steps_before
            if file.parent != self.checkpoints.folder:
                continue
            if step < 1 or file != self.checkpoints.path(step):
                message = f"`{kept.file}` is no checkpoint after {kept.step} steps"
                cure = "restore the manifest, or start anew with --fresh"
                raise InputError(message, where=str(self.record.path), cure=cure)
            recorded[step] = file, kept
        return dict(recorded[step] for step in sorted(recorded))

    def _restored(self) -> int:
        """Take weights and state from the newest checkpoint, if any; return its steps."""
        step, recorded = 0, self._recorded()
        for left in set(self.checkpoints.folder.glob("step-*.safetensors")) - recorded.keys():
            if self.checkpoints.step_of(left) is not None:  # other files are no checkpoints
                log.warning("removing a checkpoint that is not recorded", file=str(left))
                left.unlink()
        if files := [file for file in recorded if file.exists()]:
            step = recorded[files[-1]].step - self.steps_before
            self.best = self._restore(files[-1], recorded[files[-1]])
        step, self.best = _STEP_AND_BEST.validate_json(
            self.world.broadcast_bytes(_STEP_AND_BEST.dump_json((step, self.best)))
        )
        if step:
            self.world.broadcast_parameters(self.checkpoints.parameters)
        return step

    def _restore(self, path: Path, recorded: Checkpoint) -> Best | None:
        change = changed_file(path, self.record.recorded_file(path))
        require_equal(path, change, cure=GO_BACK)
        table = self.record.directory / recorded.tensor_table
        if change := changed_table(table, recorded.tensor_digest):
            cure = "restore it, or remove its checkpoint to go on from the one before it"
            raise InputError(change, where=str(table), cure=cure)
        return self.checkpoints.restore(
            path,
            lambda arrays: require_equal(path, changed_tensors(arrays, recorded), cure=GO_BACK),
        )

    def _check_best(self) -> None:
        """Compare the checkpoint of the best evaluation, which is kept, with what is recorded."""
        best, path = self.record.manifest.outcome.best_checkpoint, self.checkpoints.best_path
        if best is not None and self.record.directory / best.file == path and self.world.first:
            change = changed_file(path, self.record.recorded_file(path))
            require_equal(path, change, cure="restore it, or start anew with --fresh")

    def _rewind(self, step: int) -> None:
        """Go back to the record's first `step` steps."""
        trace = self.record.directory / TRACE
        if self.world.first:
            self.record.rewind(step)
            if self.world.size > 1:
                self.world.broadcast_bytes(trace.read_bytes())
        else:
            trace.write_bytes(self.world.broadcast_bytes(b""))
            self.record.rewind(step)

    def after_step(self, result: StepResult) -> None:
        """Append the step to the trace; evaluate and save where that is due."""
        done = result.global_step + 1 - self.steps_before
        due = done % self.checkpoints.every == 0 or done == self.total_steps
        if not (due or result.stops):
            self.record.trace.append(result)
            return
        commitment, metrics = None, dict[str, float]()
        if due and math.isfinite(result.loss):
            self.report_activity("evaluating")
            metrics = self._evaluate(done)
        table = self.checkpoints.table()
        if due:
            commitment = self.checkpoints.commitment(table, metrics)
        self.record.trace.append(result, commitment)
        self._save(done, table, interim=not due)

    def _evaluate(self, step: int) -> dict[str, float]:
        """Measure the weights, see whether they are the best so far, and return the metrics."""
        if self.selection is None:
            return {}
        metrics = dict(self.selection.metrics())
        metric = metrics[self.selection.metric]
        log.info("evaluation", step=self.steps_before + step, **metrics)
        if step == self.total_steps:
            self.last_metrics = metrics
        if math.isfinite(metric) and (self.best is None or metric > self.best.metric):
            self.best = Best(step, metric, metrics)
        return metrics

    def _save(self, step: int, table: TensorTable, *, interim: bool) -> None:
        self.record.trace.flush()
        # before it is saved, so that what is saved is right
        what = f"losses or weights after step {self.steps_before + step}"
        self.world.require_equal(what, f"{self.record.trace.digest} {tensor_digest(table)}")
        self.report_activity("saving")
        self.checkpoints.save(step, self.best)
        path = self.checkpoints.path(step)
        expired = self.checkpoints.expired(self._recorded(), path, interim=interim)
        self.record.checkpoint(self.steps_before + step, path, table, expired=expired)
        self._keep_best(step)

    def _keep_best(self, step: int) -> None:
        """Save the weights as the best if they are; after a kill before this, `resume` does it."""
        if self.best is None or self.best.global_step != step:
            return
        table = tensor_table(self.checkpoints.save_best())
        path = self.checkpoints.best_path
        self.record.checkpoint(self.steps_before + step, path, table, best=True)
