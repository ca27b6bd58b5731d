"""One training step as one compiled graph."""

from typing import NamedTuple

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from tinybert.model.layers import Cell
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.schedule import Polynomial
from tinybert.train.world import ALONE, AllReduceSum, World

Tensors = tuple[Tensor, ...]


class LossScaleSettings(NamedTuple):
    """Divided by `factor` on overflow, multiplied by it after `window` clean steps."""

    initial: float
    factor: float
    window: int


class TrainingStep(Cell):
    """Forward, backward, unscale, clip, overflow check, update; all state is in its parameters.

    Args:
        network: construct(*batch) -> float32 scalars, the first of which is the loss.
        optimizer: Holds the parameters to train.
        schedule: Learning rates, by the number of updates so far.
        loss_scale: Its settings.
        clip_norm: Largest L2 norm of each tensor's gradient.
        world: The processes that share a global batch.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: AdamWeightDecay,
        *,
        schedule: Polynomial,
        loss_scale: LossScaleSettings,
        clip_norm: float,
        world: World = ALONE,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.learning_rates = Tensor(schedule.table())
        self.scale_factor = loss_scale.factor
        self.scale_window = loss_scale.window
        self.clip_norm = clip_norm
        self.alone = world.size == 1
        if not self.alone:
            self.total = AllReduceSum()
        self.loss_scale = _state("loss_scale", loss_scale.initial, ms.float32)
        self.clean_steps = _state("clean_steps", 0, ms.int32)
        self.global_step = _state("global_step", 0, ms.int32)
        self.optimizer_step = _state("optimizer_step", 0, ms.int32)
        self.value_and_grad = ms.value_and_grad(
            self._scaled_loss, None, optimizer.parameters, has_aux=True
        )

    def _scaled_loss(self, scale: Tensor, *batch: Tensor | None) -> tuple[Tensor, Tensors]:
        outputs = self.network(*batch)
        return outputs[0] * scale, outputs

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, *batch: Tensor | None) -> Tensors:
        """Train on one global batch's share of this process.

        Args:
            batch: The network's inputs; with other processes, then a float32 scalar that is 1
                where this one was asked to stop.

        Returns:
            The network's outputs, summed over the processes, then scalars: loss scale of this
            step (float32), whether its gradients were finite (bool), its learning rate (float32),
            the number of updates before it (int32), and the L2 norm of all unscaled, unclipped
            gradients (float32). With other processes, then how many were asked to stop (float32).
            A step that overflowed changes nothing but loss scale and counters.
        """
        scale = self.loss_scale + 0.0
        optimizer_step = self.optimizer_step + 0
        learning_rate = self.learning_rates[optimizer_step]
        asked: Tensors = ()
        if self.alone:
            (_, outputs), gradients = self.value_and_grad(scale, *batch)
        else:
            (_, outputs), gradients = self.value_and_grad(scale, *batch[:-1])
            sums = self.total(gradients + outputs + (batch[-1],))
            count = len(gradients)
            gradients, outputs, asked = sums[:count], sums[count:-1], sums[-1:]
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
                size = ops.sqrt(squares[i]) * unscale
                factor = unscale * self.clip_norm / ops.maximum(size, self.clip_norm)
                clipped = clipped + (ops.cast(gradients[i], ms.float32) * factor,)
            self.optimizer(clipped, learning_rate)
        self._count(scale, finite)
        norm = ops.sqrt(total) * unscale
        found: Tensors = outputs + (scale, finite, learning_rate, optimizer_step, norm) + asked
        return found

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


def _sum_of_squares(gradient: Tensor) -> Tensor:
    """Return the float32 scalar; a matrix product is many times faster than a reduction on CPU."""
    flat = ops.cast(gradient, ms.float32).reshape((1, -1))
    return ops.matmul(flat, flat.T).reshape(())


def _state(name: str, value: float, dtype: ms.Type) -> Parameter:
    return Parameter(Tensor(value, dtype), name=name, requires_grad=False)
