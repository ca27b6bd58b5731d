"""The update of a training step on a CPU, in the memory that a tensor shares with its array.

It does what `TrainingStep.update` does in a graph, for a fraction of its time, and a graph without
the update compiles in a fraction of the time.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mindspore import Tensor

from tinybert.kernels.adam import adam, sum_of_squares
from tinybert.kernels.loops import Floats
from tinybert.kernels.threads import THREADS
from tinybert.model.awaited import AwaitedGraph
from tinybert.model.tensors import Tensors
from tinybert.train.step import TrainingStep
from tinybert.train.world import AllReduceSum, World

PIECE = 1 << 20
"""Elements of a parameter that a thread updates at a time."""


def add_in_place(first: Tensors, second: Tensors) -> Tensors:
    """Add results of a graph to others of the same graph, one by one; return these.

    Results that are one value of the graph, such as a loss of one part and that part, share their
    memory: it is added to once.
    """
    pairs = [(a.asnumpy(), b.asnumpy()) for a, b in zip(first, second, strict=True)]
    for sums, others in {sums.ctypes.data: (sums, others) for sums, others in pairs}.values():
        np.add(sums, others, out=sums)
    return first


class HostUpdate:
    """Sum over all processes, and update.

    Args:
        step: Holds optimizer, settings and state.
        world: The processes that share a global batch.
        in_pairs: See `AllReduceSum`.
    """

    def __init__(self, step: TrainingStep, world: World, *, in_pairs: bool) -> None:
        self._step = step
        self._total = None if world.size == 1 else _Total(AllReduceSum(world, in_pairs=in_pairs))

    def __call__(self, *sums: Tensor) -> Sequence[float]:
        """Return what `TrainingStep.construct` does.

        Args:
            sums: Gradients, the network's outputs, and how many processes were asked to stop.
        """
        if self._total is not None:
            sums = self._total.results(*sums)
        step, count = self._step, len(self._step.optimizer.parameters)
        gradients = [gradient.asnumpy().reshape(-1) for gradient in sums[:count]]
        outputs = [output.asnumpy().item() for output in sums[count:]]
        scale = step.loss_scale.asnumpy().item()
        update = step.optimizer_step.asnumpy().item()
        rate = step.learning_rates.asnumpy()[update].item()
        squares = THREADS.map(sum_of_squares, gradients)
        total = sum(squares)
        finite = math.isfinite(total)
        if finite:
            clipped_by = [total] * count if step.clip_by == "global_norm" else squares
            sizes = [math.sqrt(square) / scale for square in clipped_by]
            factors = [step.clip_norm / max(size, step.clip_norm) / scale for size in sizes]
            self._update(gradients, factors, rate, update)
        self._count(scale, finite)
        norm = math.sqrt(total) / scale
        return *outputs[:-1], scale, finite, rate, update, norm, outputs[-1]

    def _update(
        self, gradients: Sequence[Floats], factors: Sequence[float], rate: float, update: int
    ) -> None:
        """Update every parameter; see `AdamWeightDecay`."""
        optimizer = self._step.optimizer
        b1, b2 = optimizer.betas
        betas = np.array([b1, 1.0 - b1, b2, 1.0 - b2], np.float32)
        ratio, root = 1.0, 1.0
        if optimizer.corrections is not None:
            ratio, root = optimizer.corrections.asnumpy()[update].tolist()
        updates: list[tuple[Any, ...]] = []
        for i, (gradient, factor) in enumerate(zip(gradients, factors, strict=True)):
            tensors = optimizer.parameters[i], optimizer.first_moment[i], optimizer.second_moment[i]
            scalars = (
                np.float32(factor),
                betas,
                np.float32(rate * ratio),
                np.float32(optimizer.eps * root),
                np.float32(optimizer.decay[i] / ratio),
            )
            for piece in _pieces(*map(_flat, tensors), gradient):
                updates.append((*piece, *scalars))
        THREADS.map(lambda arguments: _update_piece(*arguments), updates)

    def _count(self, scale: float, finite: bool) -> None:
        """Advance the counters and the loss scale, as `TrainingStep` does."""
        step = self._step
        clean_steps = step.clean_steps.asnumpy().item() + 1 if finite else 0
        if clean_steps == step.scale_window:
            scale, clean_steps = scale * step.scale_factor, 0
        elif not finite:
            scale = max(scale / step.scale_factor, 1.0)
        step.loss_scale.asnumpy()[...] = scale
        step.clean_steps.asnumpy()[...] = clean_steps
        step.optimizer_step.asnumpy()[...] += finite
        step.global_step.asnumpy()[...] += 1


class _Total(AwaitedGraph):
    """Sums over all processes, compiled."""

    def __init__(self, total: AllReduceSum) -> None:
        super().__init__()
        self.total = total

    def compute(self, *tensors: Tensor | None) -> Tensors:
        """Return the sum of each tensor."""
        sums: Tensors = self.total(tensors)
        return sums


def _pieces(*arrays: Floats) -> Iterator[tuple[Floats, ...]]:
    """Yield pieces of arrays (N,), in their memory."""
    for start in range(0, arrays[0].size, PIECE):
        yield tuple(array[start : start + PIECE] for array in arrays)


def _update_piece(weight: Floats, *others: Any) -> None:
    """Update a piece of a parameter, of any type; `others` as of `adam`."""
    wide = weight.astype(np.float32, copy=False)
    adam(wide, *others)
    if wide is not weight:
        weight[:] = wide


def _flat(tensor: Tensor) -> Floats:
    """Return (N,), in the tensor's memory."""
    return np.asarray(tensor.asnumpy()).reshape(-1)
