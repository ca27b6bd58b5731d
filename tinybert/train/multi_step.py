"""Several training steps in one call of the device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, ops

from tinybert.model.layers import Cell
from tinybert.train.feed import StepInputs
from tinybert.train.step import TrainingStep

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class CallInputs:
    """The inputs of one call of the device on this process."""

    arrays: tuple[npt.NDArray[np.generic] | None, ...]
    """What the compiled step takes, or, of several steps a call, that stacked."""
    steps: tuple[StepInputs, ...]
    """The steps, without their arrays."""


def step_ranges(first_step: int, total_steps: int, size: int) -> Iterator[range]:
    """Yield the steps of each call of the device.

    Calls end at multiples of `size`, whatever step a resume begins with, so that checkpoints are
    between calls, and at the last step.
    """
    while first_step < total_steps:
        end = min(total_steps, first_step // size * size + size)
        yield range(first_step, end)
        first_step = end


def call_inputs(feed: Callable[[int], StepInputs], size: int | None, steps: range) -> CallInputs:
    """Return the inputs of one call of the device.

    Args:
        feed: A step's inputs.
        size: Length of the stacks; places after the last step repeat it, and are not computed.
            None: a single step's inputs as they are.
        steps: The call's steps.
    """
    given = [feed(step) for step in steps]
    plain = tuple(replace(inputs, arrays=()) for inputs in given)
    if size is None:
        return CallInputs(given[0].arrays, plain)
    given += [given[-1]] * (size - len(given))
    columns = zip(*(inputs.arrays for inputs in given), strict=True)
    return CallInputs(tuple(map(_stacked, columns)), plain)


def _stacked(
    arrays: Sequence[npt.NDArray[np.generic] | None],
) -> npt.NDArray[np.generic] | None:
    present = [array for array in arrays if array is not None]
    return np.stack(present) if present else None


class MultiStep(Cell):
    """Training steps one after the other in one graph, which loops rather than repeats itself.

    Args:
        step: One training step.
        steps: Most steps a call.
        outputs: Number of the network's outputs.
    """

    def __init__(self, step: TrainingStep, *, steps: int, outputs: int) -> None:
        super().__init__()
        self.step = step
        self.steps = steps
        self.places = Tensor(np.arange(steps, dtype=np.int32))
        types = [np.float32] * (outputs + 1) + [np.bool_, np.float32, np.int32, np.float32]
        types += [] if step.alone else [np.float32]
        self.empty = tuple(Tensor(np.zeros(steps, dtype)) for dtype in types)

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, count: Tensor, *batches: Tensor | None) -> Tensors:
        """Train on the first `count` of some batches.

        Args:
            count: How many, int32 scalar: one graph serves chunks of any length.
            batches: The step's inputs, stacked: (steps, ...); None stays None.

        Returns:
            The outputs of each step, stacked: (steps,); those after the first `count` are 0.
        """
        traces = self.empty
        i = ops.zeros((), ms.int32)
        while i < count:
            batch: tuple[Tensor | None, ...] = ()
            for stacked in batches:
                batch += (None if stacked is None else ops.gather(stacked, i, 0),)
            outputs = self.step(*batch)
            here = ops.equal(self.places, i)
            filled: Tensors = ()
            for place in range(len(traces)):
                filled += (ops.select(here, outputs[place], traces[place]),)
            traces = filled
            i = i + 1
        return traces
