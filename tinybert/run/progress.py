"""The live line of a training: loss, learning rate, samples a second, time left."""

import math
import os
import sys
import time

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tinybert.train.loop import StepResult

log = structlog.get_logger()

QUIET_SECONDS = 10
"""Between two lines where standard error is no terminal."""


class StepProgress:
    """Shows the steps of a training; a context manager.

    On a terminal it is one line that is drawn anew; elsewhere an event every few seconds.
    """

    def __init__(self, total_steps: int) -> None:
        self.samples = 0
        """Rows trained on since the call that compiled the first step."""
        self.seconds = 0.0
        """Time of those steps."""
        self._total_steps = total_steps
        self._live = sys.stderr.isatty()
        self._began: float | None = None
        self._reported = -math.inf  # the first step is reported at once
        console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not self._live)
        self._task = self._bar.add_task("train", total=total_steps, facts="compiling the graph")

    def __enter__(self) -> "StepProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_step(self, result: StepResult) -> None:
        """Show one step."""
        now = time.monotonic()
        if self._began is None:
            self._began = now if result.ends_call else None  # the first call is mostly compilation
        else:
            self.samples += result.rows
            self.seconds = now - self._began
        done = result.global_step + 1
        facts = (
            f"loss {result.loss:.4f}  lr {result.learning_rate:.2e}  {self.rate:.1f} samples/s"
            + ("  overflow" if result.overflow else "")
        )
        self._bar.update(self._task, completed=done, facts=facts)
        last = done == self._total_steps
        if not self._live and (last or now - self._reported >= QUIET_SECONDS):
            self._reported = now
            steps = self.samples / result.rows
            left = (self._total_steps - done) * self.seconds / max(1, steps)
            log.info(
                "step",
                step=f"{done}/{self._total_steps}",
                loss=round(result.loss, 6),
                learning_rate=result.learning_rate,
                samples_per_second=round(self.rate, 1),
                seconds_left=round(left),
            )

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds if self.seconds else 0.0
