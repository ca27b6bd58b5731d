"""What happens after every step: trace, checkpoints, a stop that the user asked for."""

from collections.abc import Callable
from dataclasses import asdict

from tinybert.manifest.digests import tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.train.checkpoint import Best, CheckpointFolder
from tinybert.train.loop import StepResult


class Journal:
    """Keeps a run's trace and checkpoints such that each checkpoint has its trace on disk.

    Args:
        record: The run.
        checkpoints: Its checkpoints.
        save_ckpt_step: Steps between two of them.
        total_steps: Steps of the run; the last is always saved.
        stop_requested: Whether the user asked to stop; the step is finished and saved.
        on_step: Told about every step.
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
    ) -> None:
        self.record = record
        self.checkpoints = checkpoints
        self.save_ckpt_step = save_ckpt_step
        self.total_steps = total_steps
        self.stop_requested = stop_requested
        self.on_step = on_step
        self.best: Best | None = None

    def resume(self) -> int:
        """Go back to the newest whole checkpoint; return the steps that it has behind it.

        Raises:
            InputError: The newest checkpoint is not one of this run.
        """
        files = self.checkpoints.files()
        if not files:
            self.record.rewind(0)
            return 0
        step = self.checkpoints.step_of(files[-1])
        self.best, arrays = self.checkpoints.restore(files[-1])
        self.record.rewind(step)
        self.record.checkpoint(step, files[-1], tensor_table(arrays))
        return step

    def after_step(self, result: StepResult) -> bool:
        """Write the step down; return whether the loop goes on."""
        fields = asdict(result)
        del fields["rows"]
        self.record.trace.append(**fields)
        done = result.global_step + 1
        stops = self.stop_requested()
        if done % self.save_ckpt_step == 0 or done == self.total_steps or stops:
            self._save(done)
        self.on_step(result)
        return not stops

    def _save(self, step: int) -> None:
        self.record.trace.flush()
        arrays = self.checkpoints.save(step, self.best)
        self.record.checkpoint(step, self.checkpoints.path(step), tensor_table(arrays))
