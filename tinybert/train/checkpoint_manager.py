"""What happens after every step: trace, evaluation, checkpoints, a stop that the user asked for."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from tinybert.errors import InputError
from tinybert.manifest.checkpoints import (
    TensorTable,
    changed_file,
    changed_tensors,
    require_equal,
    tensor_digest,
    tensor_table,
)
from tinybert.manifest.model import Checkpoint
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.train.checkpoint import (
    GO_BACK,
    Best,
    CheckpointFolder,
    decode_best,
    encode_best,
)
from tinybert.train.loop import StepResult, ignore_activity
from tinybert.train.world import ALONE, World

log = structlog.get_logger()


@dataclass(frozen=True)
class BestMetric:
    """How the best checkpoint is chosen."""

    metrics: Callable[[], Mapping[str, float]]
    """Evaluates the weights as they are."""
    metric: str
    """The metric that decides; the first of equal evaluations is the best."""


class CheckpointManager:
    """Keeps a training's trace and checkpoints such that each checkpoint has its trace on disk.

    Args:
        record: The run.
        checkpoints: The training's checkpoints.
        save_ckpt_step: Steps between two of them, and between two evaluations.
        total_steps: Steps of the training; the last is always saved.
        on_step: Told about every step.
        selection: Evaluates; None: the training has no best checkpoint.
        steps_before: Steps of the run before this training: the trace counts on from there.
        world: The processes of the run. The first has the files that a resume needs and tells the
            others what is in them; each keeps a record of its own.
        report_activity: Told what is done from now on: `evaluating` or `saving`.
    """

    def __init__(
        self,
        record: RunRecord,
        checkpoints: CheckpointFolder,
        *,
        save_ckpt_step: int,
        total_steps: int,
        on_step: Callable[[StepResult], None],
        selection: BestMetric | None = None,
        steps_before: int = 0,
        world: World = ALONE,
        report_activity: Callable[[str], None] = ignore_activity,
    ) -> None:
        self.record = record
        self.checkpoints = checkpoints
        self.save_ckpt_step = save_ckpt_step
        self.total_steps = total_steps
        self.on_step = on_step
        self.selection = selection
        self.steps_before = steps_before
        self.world = world
        self.report_activity = report_activity
        self.best: Best | None = None
        self.last_metrics: dict[str, float] | None = None
        """Of the evaluation after the last step, if this process made it."""

    def resume(self) -> int:
        """Go back to the newest checkpoint that is recorded; return the steps before it.

        Files that no manifest records, left by a kill, are removed.

        Raises:
            InputError: The checkpoint, the best one or the trace is not as it was recorded.
        """
        step = self._restored()
        self._rewind(self.steps_before + step)
        if step:
            table = self.checkpoints.table()
            self.record.checkpoint(self.steps_before + step, self.checkpoints.path(step), table)
            if not self._keep_best(step):
                self._check_best()
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
        outcome, directory = self.record.manifest.outcome, self.record.directory
        files = {directory / checkpoint.file: checkpoint for checkpoint in outcome.checkpoints}
        return {f: kept for f, kept in files.items() if f.parent == self.checkpoints.folder}

    def _restored(self) -> int:
        """Take weights and state from the newest checkpoint, if any; return its steps."""
        step, recorded = 0, self._recorded()
        for left in set(self.checkpoints.folder.glob("step-*.safetensors")) - recorded.keys():
            log.warning("removing a checkpoint that is not recorded", file=str(left))
            left.unlink()
        if files := [file for file in recorded if file.exists()]:
            step = self.checkpoints.step_of(files[-1])
            self.best = self._restore(files[-1], recorded[files[-1]])
        content = json.dumps([step, encode_best(self.best)]).encode()
        step, best = json.loads(self.world.broadcast_bytes(content))
        if step:
            self.best = decode_best(best)
            self.world.broadcast_parameters(list(self.checkpoints.parameters.values()))
        return int(step)

    def _restore(self, path: Path, recorded: Checkpoint) -> Best | None:
        change = changed_file(path, self.record.recorded_file(path))
        require_equal(path, change, cure=GO_BACK)
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
        """Write the step down, and evaluate and save where it is time."""
        fields = asdict(result)
        del fields["rows"], fields["stops"], fields["ends_call"]
        self.record.trace.append(**fields)
        done = result.global_step + 1 - self.steps_before
        due = done % self.save_ckpt_step == 0 or done == self.total_steps
        if due and math.isfinite(result.loss):
            self.report_activity("evaluating")
            self._evaluate(done)
        if due or result.stops:
            self._save(done, interim=not due)
        self.on_step(result)

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

    def _save(self, step: int, *, interim: bool) -> None:
        self.record.trace.flush()
        table = self.checkpoints.table()
        self._require_equal(step, table)  # before it is saved, so that what is saved is right
        self.report_activity("saving")
        self.checkpoints.save(step, self.best)
        path = self.checkpoints.path(step)
        expired = self.checkpoints.expired(self._recorded(), path, interim=interim)
        self.record.checkpoint(self.steps_before + step, path, table, expired=expired)
        self._keep_best(step)

    def _require_equal(self, step: int, table: TensorTable) -> None:
        """Compare the steps and the weights of all processes."""
        facts = f"{self.record.trace.digest} {tensor_digest(table)}"
        self.world.require_equal(f"losses or weights after step {self.steps_before + step}", facts)

    def _keep_best(self, step: int) -> bool:
        """Keep the weights apart if they are the best; a kill before this is made up by resume.

        Returns:
            Whether they are.
        """
        if self.best is None or self.best.global_step != step:
            return False
        table = tensor_table(self.checkpoints.save_best())
        path = self.checkpoints.best_path
        self.record.checkpoint(self.steps_before + step, path, table, best=True)
        return True
