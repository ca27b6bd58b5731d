"""Several training steps in one call of the device."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from tinybert.model.layers import Part
from tinybert.train.step import TrainingStep

Tensors = tuple[Tensor, ...]


class SunkSteps(Part):
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
