"""The learning rate as a plain function of the optimizer step."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Polynomial:
    """Linear warmup from 0, then a polynomial from `learning_rate` to `end_learning_rate`.

    A polynomial that counts from step 0 is already below its peak just after the warmup, as in
    BERT's code and MindSpore's; one that counts from the end of the warmup is that of transformers.
    """

    learning_rate: float
    end_learning_rate: float
    power: float
    warmup_steps: int
    total_steps: int
    decay_start: int = 0
    """Step from which the polynomial counts: 0, or `warmup_steps`."""

    def __call__(self, step: int) -> float:
        """Return the rate of the update number `step`, counted from 0; step 0 of a warmup is 0."""
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if step >= self.total_steps:
            return self.end_learning_rate
        left = 1 - (step - self.decay_start) / (self.total_steps - self.decay_start)
        span = self.learning_rate - self.end_learning_rate
        return span * math.pow(left, self.power) + self.end_learning_rate

    def table(self) -> npt.NDArray[np.float32]:
        """Return the rates of all updates, (total_steps,) float32."""
        return np.array([self(step) for step in range(self.total_steps)], dtype=np.float32)


def warmup_steps(
    *,
    total_steps: int,
    steps_per_epoch: int,
    steps: int | None,
    ratio: float | None,
    epoch_ratio: float | None,
) -> int:
    """Return the steps of warmup, from the one way a recipe states it.

    Args:
        total_steps: Steps of the run.
        steps_per_epoch: Steps of one epoch.
        steps: `warmup_steps`.
        ratio: `warmup_ratio`, a share of the run, rounded down.
        epoch_ratio: `warmup_epoch_ratio`, a share of one epoch, rounded down.
    """
    if steps is not None:
        return steps
    if ratio is not None:
        return _share(total_steps, ratio)
    assert epoch_ratio is not None
    return _share(steps_per_epoch, epoch_ratio)


def _share(steps: int, ratio: float) -> int:
    """Return a share of steps, rounded down, of the ratio as it is written: 0.29 of 100 is 29."""
    return math.floor(Fraction(repr(ratio)) * steps)
