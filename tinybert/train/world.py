"""The processes of a run: sums, gathers and broadcasts among them, and checks of equality.

Every process has all weights and a share of every global batch. The losses are sums whose factors
come from the global batch, so the sum of all processes' gradients is the gradient: nothing is
averaged. A process alone sends nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, ops
from mindspore.communication import create_group, get_group_size, get_rank, init

from tinybert.data.rows import Int32Array
from tinybert.data.sampler import IndexArray, shard
from tinybert.errors import TrainingError
from tinybert.model.layers import Cell
from tinybert.model.tensors import Tensors


@dataclass(frozen=True)
class World:
    """This process among those of the run."""

    rank: int = 0
    """From 0; the first process writes manifest and checkpoints."""
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def parts(self, micro_batches: int | None) -> int:
        """Return how many parts a global batch is cut into: None means one a process."""
        return self.size if micro_batches is None else micro_batches

    def own_parts(self, parts: int, rows: int) -> dict[int, IndexArray]:
        """Return the parts of a global batch that this process holds, and the places of their rows.

        Args:
            parts: Equal parts that the batch is cut into, a multiple of the number of processes.
            rows: Rows of the batch.
        """
        own = shard(np.arange(parts), self.rank, self.size)
        return {int(part): shard(np.arange(rows), int(part), parts) for part in own}

    def broadcast_bytes(self, data: bytes) -> bytes:
        """Return the first process's bytes on every process."""
        if self.size == 1:
            return data
        length = int(self._from_first(np.array([len(data)], np.int32))[0])
        size = 4 * (length // 4 + 1)
        padded = data.ljust(size, b"\0") if self.first else bytes(size)
        return self._from_first(np.frombuffer(padded, np.int32)).tobytes()[:length]

    def broadcast_parameters(self, parameters: Sequence[Parameter]) -> None:
        """Set parameters on every process to those of the first."""
        if self.size == 1:
            return
        send = ops.Broadcast(0)
        for parameter in parameters:
            ops.assign(parameter, send((parameter.value(),))[0])

    def require_equal(self, what: str, text: str) -> None:
        """Raise a TrainingError unless all processes have the same text.

        Args:
            what: What the text is about, for the message.
            text: Anything, of which digests are compared.
        """
        if self.size == 1:
            return
        own = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.int32)
        digests = ops.AllGather()(Tensor(own)).asnumpy().reshape(self.size, -1)
        others = [rank for rank in range(self.size) if (digests[rank] != digests[0]).any()]
        if others:
            raise TrainingError(
                f"{what} differ between process 0 and " + ", ".join(map(str, others)),
                cure="see that all hosts have the same program, framework and processors",
            )

    def _from_first(self, values: Int32Array) -> Int32Array:
        return np.asarray(ops.Broadcast(0)((Tensor(values),))[0].asnumpy())


ALONE = World()
"""A process without others."""


def connect() -> World:
    """Join the processes that the launcher started with this one."""
    init()
    return World(get_rank(), get_group_size())


class AllReduceSum(Cell):
    """Sums of tensors over all processes; alone, the tensors.

    Args:
        world: The processes.
        in_pairs: Add in a binary tree over the ranks, a message a level, between two processes:
            a sum of two numbers does not depend on who adds them. Otherwise one message does it
            all, in an order that depends on the number of processes.
    """

    def __init__(self, world: World, *, in_pairs: bool = False) -> None:
        super().__init__()
        self.alone = world.size == 1
        self.concat = ops.Concat()
        self.reduces: tuple[ops.AllReduce, ...] = ()
        if in_pairs:
            self.reduces = tuple(ops.AllReduce(group=pair) for pair in _pairs(world))
        elif not self.alone:
            self.reduces = (ops.AllReduce(),)

    def construct(self, tensors: Tensors) -> Tensors:
        """Return each tensor's sum, of several processes float32, of its shape."""
        if self.alone:
            return tensors
        flat: Tensors = ()
        sizes: tuple[int, ...] = ()
        for tensor in tensors:
            flat = flat + (ops.cast(tensor, ms.float32).reshape(-1),)
            sizes = sizes + (tensor.size,)
        whole = self.concat(flat)
        for reduce in self.reduces:
            whole = reduce(whole)
        parts = ops.split(whole, sizes)
        sums: Tensors = ()
        for i in range(len(tensors)):
            sums = sums + (parts[i].reshape(tensors[i].shape),)
        return sums


@cache
def _pairs(world: World) -> tuple[str, ...]:
    """Make the groups of two in which a process adds, from the leaves of the tree to its root."""
    names = []
    for level in range(world.size.bit_length() - 1):
        pair = sorted((world.rank, world.rank ^ 1 << level))
        names.append("tinybert-{}-{}".format(*pair))
        create_group(names[-1], pair)
    return tuple(names)


class AllGatherRows(Cell):
    """The rows of all processes, in the order of the processes; alone, its own."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.alone = world.size == 1
        if not self.alone:
            self.gather = ops.AllGather()

    def construct(self, rows: Tensor) -> Tensor:
        """Return (N * B, ...) from (B, ...)."""
        return rows if self.alone else self.gather(rows)
