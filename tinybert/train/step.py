"""One training step, or several in one call of the device, as one compiled graph.

Steps of micro-batches, in several graphs: `micro_batches.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from tinybert.data.batch import Batch
from tinybert.model.layers import Cell
from tinybert.model.tensors import Tensors
from tinybert.recipe.schedule import Polynomial
from tinybert.recipe.tables import ClipBy
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.world import ALONE, AllReduceSum, World

Parts = Sequence[Batch]
"""A process's parts of a global batch, in order."""


class LossScaleSettings(NamedTuple):
    """Divided by `factor` on overflow, multiplied by it after `window` clean steps."""

    initial: float
    factor: float
    window: int


class StepOutputs(NamedTuple):
    """What one step gave, over all processes."""

    losses: tuple[float, ...]
    """The network's outputs: the loss, then its parts."""
    loss_scale: float
    """Loss scale of this step."""
    finite: bool
    """Whether all gradients were finite; otherwise nothing but loss scale and counters changed."""
    learning_rate: float
    optimizer_step: int
    """Number of updates before this step."""
    gradient_norm: float
    """L2 norm of all unscaled, unclipped gradients."""
    stop: float
    """How many processes were asked to stop."""

    @classmethod
    def of(cls, scalars: Sequence[Any]) -> "StepOutputs":
        """Return the scalars that the graph returns by name."""
        count = len(cls._fields) - 1
        return cls(tuple(scalars[:-count]), *scalars[-count:])


class CompiledStep(Protocol):
    """What the training loop calls: one training step, or several."""

    enable_data_sink: bool
    """Whether a call does `steps_per_call` steps before their outputs are read."""
    steps_per_call: int
    micro_batches: int | None
    """Parts of a global batch that are computed apart; None: a process computes its own at once."""
    network_cell: str
    """Class of the cell whose graph has the network."""

    @property
    def step(self) -> "TrainingStep":
        """The training step that holds the state."""

    def call(self, steps: Sequence[Parts], stop: bool) -> list[StepOutputs]:
        """Train on this process's parts of global batches, one step each.

        Args:
            steps: At most `steps_per_call`; one part a step unless there are `micro_batches`.
            stop: Whether this process was asked to stop.
        """


class TrainingStep(Cell):
    """Forward, backward, unscale, clip, overflow check, update; all state is in its parameters.

    Args:
        network: construct(*batch) -> float32 scalars: the loss, then its parts.
        optimizer: Holds the parameters to train.
        part_names: Names of the loss's parts.
        schedule: Learning rates, by the number of updates so far.
        loss_scale: Its settings.
        clip_norm: Largest L2 norm of each tensor's gradient, or of all together.
        clip_by: `norm`: each gradient has a factor of its own; `global_norm`: all have one.
        world: The processes that share a global batch.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: AdamWeightDecay,
        *,
        part_names: tuple[str, ...] = (),
        schedule: Polynomial,
        loss_scale: LossScaleSettings,
        clip_norm: float,
        clip_by: ClipBy = "norm",
        world: World = ALONE,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.part_names = part_names
        self.schedule = schedule
        self.learning_rates = Tensor(schedule.table())
        self.enable_data_sink = False
        self.steps_per_call = 1
        self.micro_batches = None
        self.network_cell = type(self).__name__
        self.scale_factor = loss_scale.factor
        self.scale_window = loss_scale.window
        self.clip_norm = clip_norm
        self.clip_by = clip_by
        self.alone = world.size == 1
        self.total = AllReduceSum(world)
        self.loss_scale = _state("loss_scale", loss_scale.initial, ms.float32)
        self.clean_steps = _state("clean_steps", 0, ms.int32)
        self.global_step = _state("global_step", 0, ms.int32)
        self.optimizer_step = _state("optimizer_step", 0, ms.int32)
        self.value_and_grad = ms.value_and_grad(
            self._scaled_loss, None, optimizer.parameters, has_aux=True
        )

    @property
    def step(self) -> "TrainingStep":
        """This step."""
        return self

    def call(self, steps: Sequence[Parts], stop: bool) -> list[StepOutputs]:
        """Train on one batch; see `CompiledStep`."""
        ((batch,),) = steps
        outputs = self(*batch.tensors(), Tensor(float(stop), ms.float32))
        return [StepOutputs.of([output.asnumpy().item() for output in outputs])]

    def _scaled_loss(self, scale: Tensor, *batch: Tensor | None) -> tuple[Tensor, Tensors]:
        outputs = self.network(*batch)
        return outputs[0] * scale, outputs

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, *batch: Tensor | None) -> Tensors:
        """Train on one global batch's share of this process.

        Args:
            batch: The network's inputs, then a float32 scalar that is 1 where this process was
                asked to stop.

        Returns:
            Scalars in the order of `StepOutputs`; float32, but for `finite` bool and
            `optimizer_step` int32.
        """
        scale = self.loss_scale + 0.0
        sums = self.total(self.gradients(scale, *batch[:-1]) + (batch[-1],))
        return self.update(scale, sums)

    def gradients(self, scale: Tensor, *batch: Tensor | None) -> Tensors:
        """Return the gradients of the scaled loss of some rows, then the network's outputs."""
        (_, outputs), gradients = self.value_and_grad(scale, *batch)
        results: Tensors = gradients + outputs
        return results

    def update(self, scale: Tensor, sums: Tensors) -> Tensors:
        """Unscale, clip, check for overflow, update; see `construct`.

        Args:
            scale: The loss scale that the gradients have.
            sums: Of all parts of the global batch: gradients, the network's outputs, and how many
                processes were asked to stop.
        """
        optimizer_step = self.optimizer_step + 0
        learning_rate = self.learning_rates[optimizer_step]
        count = len(self.optimizer.parameters)
        gradients, outputs = sums[:count], sums[count:-1]
        unscale = 1.0 / scale
        squares: Tensors = ()
        for gradient in gradients:
            squares = squares + (_sum_of_squares(gradient),)
        total = ops.addn(squares)
        # A sum of squares is finite only if every element is: no second pass over the gradients.
        finite = ops.isfinite(total)
        if finite:
            clipped: Tensors = ()
            for i in range(len(gradients)):
                square = total if self.clip_by == "global_norm" else squares[i]
                size = ops.sqrt(square) * unscale
                factor = unscale * self.clip_norm / ops.maximum(size, self.clip_norm)
                clipped = clipped + (ops.cast(gradients[i], ms.float32) * factor,)
            self.optimizer(clipped, learning_rate, optimizer_step)
        self._count(scale, finite)
        norm = ops.sqrt(total) * unscale
        scalars: Tensors = (*outputs, scale, finite, learning_rate, optimizer_step, norm, sums[-1])
        return scalars

    def _count(self, scale: Tensor, finite: Tensor) -> None:
        """Advance the counters and the loss scale."""
        clean_steps = self.clean_steps + 1
        grows = ops.equal(clean_steps, self.scale_window)
        grown = ops.select(grows, scale * self.scale_factor, scale)
        shrunk = ops.maximum(scale / self.scale_factor, 1.0)
        carries_on = ops.logical_and(finite, ops.logical_not(grows))
        self.loss_scale = ops.select(finite, grown, shrunk)
        self.clean_steps = ops.select(carries_on, clean_steps, ops.zeros_like(clean_steps))
        self.optimizer_step = self.optimizer_step + ops.cast(finite, ms.int32)
        self.global_step = self.global_step + 1

    def state(self) -> list[Parameter]:
        """Return what a step changes besides the weights: moments, counters, loss scale."""
        return [
            *self.optimizer.first_moment,
            *self.optimizer.second_moment,
            self.loss_scale,
            self.clean_steps,
            self.global_step,
            self.optimizer_step,
        ]


class MultiStep(Cell):
    """Training steps one after the other in one graph, which loops rather than repeats itself.

    Args:
        step: One training step.
        steps: Most steps a call.
    """

    def __init__(self, step: TrainingStep, *, steps: int) -> None:
        super().__init__()
        self.step = step
        self.enable_data_sink = True
        self.steps_per_call = steps
        self.micro_batches = None
        self.network_cell = type(self).__name__
        self.places = Tensor(np.arange(steps, dtype=np.int32))
        floats = len(step.part_names) + 2  # the loss, its parts and the loss scale
        types = [np.float32] * floats + [np.bool_, np.float32, np.int32, *[np.float32] * 2]
        self.empty = tuple(Tensor(np.zeros(steps, dtype)) for dtype in types)

    def call(self, steps: Sequence[Parts], stop: bool) -> list[StepOutputs]:
        """Train on some batches; see `CompiledStep`."""
        batches = [batch for (batch,) in steps]
        count, size = len(batches), self.steps_per_call
        stacked = Batch.stack([*batches, *[batches[-1]] * (size - count)])
        stops = Tensor(np.full(size, stop, np.float32))
        traces = self(Tensor(count, ms.int32), *stacked.tensors(), stops)
        columns = [trace.asnumpy()[:count].tolist() for trace in traces]
        return [StepOutputs.of(scalars) for scalars in zip(*columns, strict=True)]

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, count: Tensor, *batches: Tensor | None) -> Tensors:
        """Train on the first `count` of some batches.

        Args:
            count: How many, int32 scalar: one graph serves calls of any length.
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


def _sum_of_squares(gradient: Tensor) -> Tensor:
    """Return the float32 scalar; a matrix product is many times faster than a reduction on CPU."""
    flat = ops.cast(gradient, ms.float32).reshape((1, -1))
    return ops.matmul(flat, flat.T).reshape(())


def _state(name: str, value: float, dtype: ms.Type) -> Parameter:
    return Parameter(Tensor(value, dtype), name=name, requires_grad=False)
