"""A training step of parts: one part of the global batch after the other, then the update.

The gradients of a part come from one compiled graph of one shape, whichever process computes it,
and are added in a binary tree over the parts of the global batch. A process holds 2^n parts that
follow on each other, so that what it adds is a subtree: the bits do not depend on the number of
processes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import mindspore as ms
from mindspore import Tensor, ops

from tinybert.data.batch import Batch
from tinybert.model import cpu_operators
from tinybert.model.awaited import AwaitedGraph
from tinybert.model.layers import Cell
from tinybert.model.tensors import Tensors
from tinybert.train.host_update import HostUpdate, add_in_place
from tinybert.train.step import Parts, StepOutputs, TrainingStep
from tinybert.train.world import AllReduceSum, World

T = TypeVar("T")


def tree_sum(items: Iterable[T], add: Callable[[T, T], T]) -> T:
    """Return the sum of 2^n items, ((a + b) + (c + d)) + ..., which are taken one by one.

    It holds at most n + 1 items and sums at once.
    """
    sums: list[T] = []  # of 2^i items each, the largest i first
    for count, total in enumerate(items, 1):
        while count % 2 == 0:
            total, count = add(sums.pop(), total), count // 2
        sums.append(total)
    (total,) = sums
    return total


class PartGradients(AwaitedGraph):
    """Forward and backward pass of one part of a global batch, compiled."""

    def __init__(self, step: TrainingStep) -> None:
        super().__init__()
        self.step = step

    def compute(self, *part: Tensor | None) -> Tensors:
        """Return gradients of the scaled loss, then the network's outputs, float32."""
        results: Tensors = ()
        for result in self.step.gradients(self.step.loss_scale + 0.0, *part):
            results += (ops.cast(result, ms.float32),)
        return results


class Sum(Cell):
    """Sums of two parts' results, compiled."""

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, *results: Tensor) -> Tensors:
        """Return the sums of the first half of the tensors and the second, one by one."""
        count = len(results) // 2
        sums: Tensors = ()
        for i in range(count):
            sums += (results[i] + results[count + i],)
        return sums


class Update(Cell):
    """Sum over all processes, and update, compiled."""

    def __init__(self, step: TrainingStep, world: World, *, in_pairs: bool) -> None:
        super().__init__()
        self.step = step
        self.total = AllReduceSum(world, in_pairs=in_pairs)

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, *sums: Tensor) -> Tensors:
        """Return what `TrainingStep.construct` does.

        Args:
            sums: Of this process's parts, then a float32 scalar that is 1 where it was asked to
                stop.
        """
        scalars: Tensors = self.step.update(self.step.loss_scale + 0.0, self.total(sums))
        return scalars


class MicroBatchStep:
    """Steps of micro-batches, or of one part a process; see `CompiledStep`.

    Args:
        step: Holds network, optimizer and state.
        micro_batches: Parts of a global batch; None: one a process.
        world: The processes that share them.
        data_sink_steps: Steps of a call, whose outputs are read after the last; None: one.
    """

    def __init__(
        self,
        step: TrainingStep,
        *,
        micro_batches: int | None,
        world: World,
        data_sink_steps: int | None = None,
    ) -> None:
        self.step = step
        self.micro_batches = micro_batches
        self.enable_data_sink = data_sink_steps is not None
        self.steps_per_call = data_sink_steps or 1
        self.network_cell = PartGradients.__name__
        self._gradients = PartGradients(step)
        in_pairs = micro_batches is not None
        self._add: Callable[[Tensors, Tensors], Tensors]
        self._update: Callable[..., Sequence[Tensor | float]]
        if cpu_operators.used():
            self._add = add_in_place
            self._update = HostUpdate(step, world, in_pairs=in_pairs)
        else:
            compiled_sum = Sum()
            self._add = lambda a, b: compiled_sum(*a, *b)
            self._update = Update(step, world, in_pairs=in_pairs)

    def call(self, steps: Sequence[Parts], stop: bool) -> list[StepOutputs]:
        """Train on some batches; see `CompiledStep`."""
        outputs = [self._train(parts, Tensor(float(stop), ms.float32)) for parts in steps]
        return [StepOutputs.of([_number(scalar) for scalar in each]) for each in outputs]

    def _train(self, parts: Parts, stop: Tensor) -> Sequence[Tensor | float]:
        """Train on one batch; return the scalars of `StepOutputs`."""
        return self._update(*tree_sum(map(self._results, parts), self._add), stop)

    def _results(self, part: Batch) -> Tensors:
        """Return what `PartGradients` does of one part, computed before the next is begun."""
        return self._gradients.results(*part.tensors())


def _number(scalar: Tensor | float) -> float:
    number: float = scalar.asnumpy().item() if isinstance(scalar, Tensor) else scalar
    return number
