"""The training loop."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mindspore as ms

from tinybert.data.prefetch import ahead
from tinybert.errors import TrainingError
from tinybert.train.feed import StepInputs
from tinybert.train.step import TrainingStep

AHEAD = 2
"""Steps whose inputs are made while the device computes."""


def quiet(activity: str) -> None:
    """Tell nobody what is done."""


@dataclass(frozen=True)
class StepResult:
    """What one step did; the fields of a trace record."""

    global_step: int
    """Steps of the run before this one."""
    optimizer_step: int
    """Updates of the training before this one."""
    loss: float
    parts: dict[str, float]
    """The loss's parts, before their weights."""
    loss_scale: float
    """Loss scale of this step."""
    overflow: bool
    """Whether a gradient was not finite, so that nothing was updated."""
    learning_rate: float
    gradient_norm: float
    """L2 norm of all gradients, unscaled and unclipped."""
    batch_digest: str
    rows: int
    """Rows of the global batch."""
    stops: bool
    """Whether a process was asked to stop."""


def train(
    step: TrainingStep,
    feed: Callable[[int], StepInputs],
    *,
    part_names: tuple[str, ...],
    first_step: int,
    total_steps: int,
    after_step: Callable[[StepResult], None],
    stop_requested: Callable[[], bool],
    doing: Callable[[str], None] = quiet,
    steps_before: int = 0,
) -> None:
    """Run the steps of a training from `first_step` up to `total_steps`, or until a stop.

    Args:
        step: The compiled step.
        feed: A step's inputs; called in a thread, ahead of the device.
        part_names: Names of the network's outputs after the loss.
        first_step: Steps that were done before.
        total_steps: Steps of the whole training.
        after_step: Called after every step: trace, checkpoints, progress.
        stop_requested: Whether this process was asked to stop. All processes stop after the same
            step: with others, that is a step later.
        doing: Told what is done from now on: `rows`, `compiling` or `step`.
        steps_before: Steps of the run before this training.

    Raises:
        TrainingError: The loss is not finite, or the gradients are not at the smallest loss scale.
    """
    inputs = ahead(map(feed, range(first_step, total_steps)), AHEAD)
    results = _results(step, inputs, part_names, stop_requested, doing, steps_before)
    for global_step, result in enumerate(results, steps_before + first_step):
        after_step(result)
        _check_finite(result)
        assert result.global_step == global_step
        if result.stops:
            break


def _results(
    step: TrainingStep,
    inputs: Iterator[StepInputs],
    part_names: tuple[str, ...],
    stop_requested: Callable[[], bool],
    doing: Callable[[str], None],
    steps_before: int,
) -> Iterator[StepResult]:
    """Run a step for each of the inputs."""
    activity = "compiling"
    for given in inputs:
        doing(activity)
        tensors = [None if array is None else ms.Tensor(array) for array in given.arrays]
        if not step.alone:
            tensors.append(ms.Tensor(float(stop_requested()), ms.float32))
        global_step = steps_before + int(step.global_step.asnumpy())
        outputs = [output.asnumpy().item() for output in step(*tensors)]
        loss, *parts = outputs[: 1 + len(part_names)]
        scale, finite, learning_rate, optimizer_step, norm, *asked = outputs[1 + len(parts) :]
        yield StepResult(
            global_step=global_step,
            optimizer_step=optimizer_step,
            loss=loss,
            parts=dict(zip(part_names, parts, strict=True)),
            loss_scale=scale,
            overflow=not finite,
            learning_rate=learning_rate,
            gradient_norm=norm,
            batch_digest=given.batch_digest,
            rows=given.rows,
            stops=any(asked) if asked else stop_requested(),
        )
        activity = "step"
        doing("rows")


def _check_finite(result: StepResult) -> None:
    """Stop where no loss scale can help: it changes gradients, not the loss itself."""
    if not math.isfinite(result.loss):
        what = f"the loss is {result.loss}"
    elif result.overflow and result.loss_scale <= 1:
        what = "the gradients are not finite at loss scale 1"
    else:
        return
    raise TrainingError(
        f"step {result.global_step}: {what}",
        cure="lower learning_rate, lengthen the warmup, or compute in float32",
    )
