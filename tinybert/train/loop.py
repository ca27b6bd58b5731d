"""The training loop."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinybert.errors import TrainingError
from tinybert.manifest.trace import TracedStep
from tinybert.prefetch import prefetch
from tinybert.train.feed import StepInputs
from tinybert.train.step import CompiledStep, StepOutputs

AHEAD = 2
"""Steps whose inputs are made while the device computes; of longer calls, one call."""


def ignore_activity(activity: str) -> None:
    """Ignore reports of what is done."""


@dataclass(frozen=True)
class StepResult(TracedStep):
    """What one step did."""

    rows: int
    """Rows of the global batch."""
    stops: bool
    """Whether the training ends here because a process was asked to stop."""
    ends_call: bool = True
    """Whether weights and state are those after this step: the last of a call of the device."""


def train(
    compiled_step: CompiledStep,
    feed: Callable[[int], StepInputs],
    *,
    first_step: int,
    total_steps: int,
    after_step: Callable[[StepResult], None],
    stop_requested: Callable[[], bool],
    report_activity: Callable[[str], None] = ignore_activity,
    steps_before: int = 0,
) -> None:
    """Run the steps of a training from `first_step` up to `total_steps`, or until a stop.

    Args:
        compiled_step: The compiled step, or steps.
        feed: A step's inputs; called in a thread, ahead of the device.
        first_step: Steps that were done before.
        total_steps: Steps of the whole training.
        after_step: Called after every step, with several a call after the call: trace,
            checkpoints, progress.
        stop_requested: Whether this process was asked to stop. All processes stop after the same
            call: with others, that is a call later.
        report_activity: Called with what is done from now on: `rows`, `compiling` or `step`.
        steps_before: Steps of the run before this training.

    Raises:
        TrainingError: The loss is not finite, or the gradients are not at the smallest loss scale.
    """
    step, size = compiled_step.step, compiled_step.steps_per_call
    ranges = step_ranges(first_step, total_steps, size)
    calls = ([(number, feed(number)) for number in numbers] for numbers in ranges)
    compiled: set[tuple[int, ...]] = set()
    for call in prefetch(calls, max(1, AHEAD // size)):
        batches = [inputs.parts for _, inputs in call]
        shape = batches[0][0].input_ids.shape  # packed batches have a few shapes
        report_activity("step" if shape in compiled else "compiling")
        compiled.add(shape)
        assert step.global_step.asnumpy() == call[0][0]
        outputs = compiled_step.call(batches, stop_requested())
        stop_requested()  # takes the signals back from the framework, which compiles in a call
        for (number, inputs), output in zip(call, outputs, strict=True):
            ends = number == call[-1][0]
            stops = ends and (stop_requested() if step.alone else output.stop > 0)
            result = _result(steps_before + number, inputs, output, step.part_names, stops, ends)
            after_step(result)
            _check_finite(result)
            if stops:
                return
        report_activity("rows")


def step_ranges(first_step: int, total_steps: int, size: int) -> Iterator[range]:
    """Yield the steps of each call of the device.

    Calls end at multiples of `size`, whatever step a resume begins with, so that checkpoints are
    between calls, and at the last step.
    """
    while first_step < total_steps:
        end = min(total_steps, first_step // size * size + size)
        yield range(first_step, end)
        first_step = end


def _result(
    global_step: int,
    inputs: StepInputs,
    outputs: StepOutputs,
    part_names: tuple[str, ...],
    stops: bool,
    ends_call: bool,
) -> StepResult:
    loss, *parts = outputs.losses
    return StepResult(
        global_step=global_step,
        optimizer_step=outputs.optimizer_step,
        loss=loss,
        parts=dict(zip(part_names, parts, strict=True)),
        loss_scale=outputs.loss_scale,
        overflow=not outputs.finite,
        learning_rate=outputs.learning_rate,
        gradient_norm=outputs.gradient_norm,
        batch_digest=inputs.batch_digest,
        rows=inputs.rows,
        stops=stops,
        ends_call=ends_call,
    )


def _check_finite(result: StepResult) -> None:
    """Stop where no loss scale can help: it changes gradients, not the loss itself."""
    if not math.isfinite(result.loss):
        what = f"the loss is {result.loss}"
    elif result.overflow and result.loss_scale <= 1:
        what = "the gradients are not finite at loss scale 1"
    else:
        return
    raise TrainingError(
        f"step {result.global_step + 1}: {what}",
        cure="lower learning_rate, lengthen the warmup, or compute in float32",
    )
