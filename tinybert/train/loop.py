"""The training loop."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import mindspore as ms

from tinybert.errors import TrainingError
from tinybert.train.feed import StepInputs
from tinybert.train.multi_step import CallInputs, MultiStep, call_inputs, step_ranges
from tinybert.train.prefetch import prefetch
from tinybert.train.step import TrainingStep

AHEAD = 2
"""Steps whose inputs are made while the device computes; of longer calls, one call."""


def ignore_activity(activity: str) -> None:
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
    """Whether the training ends here because a process was asked to stop."""
    ends_call: bool = True
    """Whether weights and state are those after this step: the last of a call of the device."""


def train(
    called: TrainingStep | MultiStep,
    feed: Callable[[int], StepInputs],
    *,
    part_names: tuple[str, ...],
    first_step: int,
    total_steps: int,
    after_step: Callable[[StepResult], None],
    stop_requested: Callable[[], bool],
    report_activity: Callable[[str], None] = ignore_activity,
    steps_before: int = 0,
) -> None:
    """Run the steps of a training from `first_step` up to `total_steps`, or until a stop.

    Args:
        called: The compiled step, or steps.
        feed: A step's inputs; called in a thread, ahead of the device.
        part_names: Names of the network's outputs after the loss.
        first_step: Steps that were done before.
        total_steps: Steps of the whole training.
        after_step: Called after every step, with several a call after the call: trace,
            checkpoints, progress.
        stop_requested: Whether this process was asked to stop. All processes stop after the same
            call: with others, that is a call later.
        report_activity: Told what is done from now on: `rows`, `compiling` or `step`.
        steps_before: Steps of the run before this training.

    Raises:
        TrainingError: The loss is not finite, or the gradients are not at the smallest loss scale.
    """
    size = called.steps if isinstance(called, MultiStep) else None
    steps = step_ranges(first_step, total_steps, size or 1)
    inputs = prefetch(map(partial(call_inputs, feed, size), steps), max(1, AHEAD // (size or 1)))
    results = _results(called, inputs, part_names, stop_requested, report_activity, steps_before)
    for global_step, result in enumerate(results, steps_before + first_step):
        after_step(result)
        _check_finite(result)
        assert result.global_step == global_step
        if result.stops:
            break


def _results(
    called: TrainingStep | MultiStep,
    inputs: Iterator[CallInputs],
    part_names: tuple[str, ...],
    stop_requested: Callable[[], bool],
    report_activity: Callable[[str], None],
    steps_before: int,
) -> Iterator[StepResult]:
    """Call the device for each of the inputs."""
    step = called.step if isinstance(called, MultiStep) else called
    activity = "compiling"
    for given in inputs:
        report_activity(activity)
        first = steps_before + int(step.global_step.asnumpy())
        traces = _outputs(called, given, stop_requested)
        stop_requested()  # takes the signals back from the framework, which compiles in a call
        for place, outputs in enumerate(traces):
            loss, *parts = outputs[: 1 + len(part_names)]
            scale, finite, learning_rate, optimizer_step, norm, *asked = outputs[1 + len(parts) :]
            ends = place == len(given.steps) - 1
            yield StepResult(
                global_step=first + place,
                optimizer_step=optimizer_step,
                loss=loss,
                parts=dict(zip(part_names, parts, strict=True)),
                loss_scale=scale,
                overflow=not finite,
                learning_rate=learning_rate,
                gradient_norm=norm,
                batch_digest=given.steps[place].batch_digest,
                rows=given.steps[place].rows,
                stops=ends and (any(asked) if asked else stop_requested()),
                ends_call=ends,
            )
        activity = "step"
        report_activity("rows")


def _outputs(
    called: TrainingStep | MultiStep, given: CallInputs, stop_requested: Callable[[], bool]
) -> list[tuple[Any, ...]]:
    """Return the outputs of each step of one call of the device."""
    tensors = [None if array is None else ms.Tensor(array) for array in given.arrays]
    if isinstance(called, TrainingStep):
        if not called.alone:
            tensors.append(ms.Tensor(float(stop_requested()), ms.float32))
        return [tuple(output.asnumpy().item() for output in called(*tensors))]
    if not called.step.alone:
        tensors.append(ms.Tensor([float(stop_requested())] * called.steps, ms.float32))
    count = len(given.steps)
    traces = called(ms.Tensor(count, ms.int32), *tensors)
    return list(zip(*(trace.asnumpy()[:count].tolist() for trace in traces), strict=True))


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
