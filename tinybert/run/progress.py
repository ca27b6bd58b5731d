"""The live line of a training: loss, learning rate, samples a second, time left."""

import math
import os
import sys
import time
from collections.abc import Sequence

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

    def __init__(self, phases: Sequence[tuple[str, int]]) -> None:
        """Start with no step; `phases` are the name of each training, and its steps."""
        self.samples = 0
        """Rows trained on since the call that compiled the first step."""
        self.seconds = 0.0
        """Time of those steps."""
        self._phases = phases
        self._total_steps = total_steps = sum(steps for _, steps in phases)
        self._live = sys.stderr.isatty()
        self._began: float | None = None
        self._reported = -math.inf  # the first step is reported at once
        console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
        columns = (
            TextColumn("{task.fields[phase]}step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not self._live)
        self._task = self._bar.add_task("train", total=total_steps, phase="", facts="compiling")

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
        phase = self._phase(done)
        shown = f"{phase} " if phase else ""
        self._bar.update(self._task, completed=done, phase=shown, facts=facts)
        last = done == self._total_steps
        if not self._live and (last or now - self._reported >= QUIET_SECONDS):
            self._reported = now
            named: dict[str, object] = {"phase": phase} if phase else {}
            log.info(
                "step",
                **named,
                step=f"{done}/{self._total_steps}",
                loss=result.loss,
                learning_rate=result.learning_rate,
                **self._speed(result, done),
            )

    def _phase(self, done: int) -> str:
        """Return the name of the training that a step was in, where there are several."""
        before = 0
        for name, steps in self._phases if len(self._phases) > 1 else ():
            before += steps
            if done <= before:
                return name
        return ""

    def _speed(self, result: StepResult, done: int) -> dict[str, float]:
        """Return samples a second and the seconds left; empty while they are not known."""
        if not self.seconds:
            return {}
        speed = {"samples_per_second": round(self.rate, 1)}
        if done < self._total_steps:
            left = (self._total_steps - done) * result.rows / self.rate
            speed["seconds_left"] = math.ceil(left)
        return speed

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds if self.seconds else 0.0
