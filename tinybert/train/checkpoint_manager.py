"""What happens after every step: trace, evaluation, checkpoints, a stop that the user asked for."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import structlog

from tinybert.errors import InputError
from tinybert.manifest.digests import TensorTable, tensor_digest, tensor_table
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.train.checkpoint import Best, CheckpointFolder, decode_best, encode_best
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
        """Go back to the newest whole checkpoint; return the steps that it has behind it.

        Raises:
            InputError: The newest checkpoint is not one of this run.
        """
        step = self._restored()
        self._rewind(self.steps_before + step)
        if step:
            table = self.checkpoints.table()
            self.record.checkpoint(self.steps_before + step, self.checkpoints.path(step), table)
            self._keep_best(step)
        return step

    def restore(self) -> None:
        """Take weights and state from the newest checkpoint.

        Raises:
            InputError: There is none, or it is not one of this run.
        """
        if not self._restored():
            where, cure = str(self.checkpoints.folder), "restore it, or start anew with --fresh"
            raise InputError("the last checkpoint of this phase is gone", where=where, cure=cure)

    def _restored(self) -> int:
        """Take weights and state from the newest checkpoint, if any; return its steps."""
        step, files = 0, self.checkpoints.files()
        if files:
            step = self.checkpoints.step_of(files[-1])
            self.best = self.checkpoints.restore(files[-1])
        told = self.world.broadcast_bytes(json.dumps([step, encode_best(self.best)]).encode())
        step, best = json.loads(told)
        if step:
            self.best = decode_best(best)
            self.world.broadcast_parameters(list(self.checkpoints.parameters.values()))
        return int(step)

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
        self._agree(step, table)  # before it is saved, so that what is saved is right
        self.report_activity("saving")
        self.checkpoints.save(step, self.best, interim=interim)
        self.record.checkpoint(self.steps_before + step, self.checkpoints.path(step), table)
        self._keep_best(step)

    def _agree(self, step: int, table: TensorTable) -> None:
        """See that all processes have the same steps behind them and the same weights."""
        facts = f"{self.record.trace.digest} {tensor_digest(table)}"
        self.world.require_equal(f"losses or weights after step {self.steps_before + step}", facts)

    def _keep_best(self, step: int) -> None:
        """Keep the weights apart if they are the best; a kill before this is made up by resume."""
        if self.best is not None and self.best.global_step == step:
            table = tensor_table(self.checkpoints.save_best())
            path = self.checkpoints.best_path
            self.record.checkpoint(self.steps_before + step, path, table, best=True)
