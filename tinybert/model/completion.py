"""Waiting for what a compiled graph computes, without a core.

The framework waits for a graph in a loop that keeps a core busy until the results are there. Where
the graph itself runs on the CPU, that core is missing.
"""

import threading

from mindspore import Tensor, ops

from tinybert.kernels.loops import Floats
from tinybert.model import cpu_operators
from tinybert.model.layers import Cell

Tensors = tuple[Tensor, ...]

PATIENCE = 60
"""Seconds of waiting, after which the framework is asked: it knows of a graph that failed."""


class Completion(Cell):
    """Tells when a compiled graph has its results; off the CPU, the framework does.

    The graph passes its results through this cell, and `wait` takes what it returns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tells = cpu_operators.used()
        self._reached = threading.Event()
        if self.tells:
            self.notice = cpu_operators.operator(self._reach, lambda x: x)

    def construct(self, results: Tensors) -> Tensors:
        """Return float32 results, the first and the last of which are computed last."""
        if not self.tells:
            return results
        ends = ops.reshape(results[0], (-1,))[:1] + ops.reshape(results[-1], (-1,))[:1]
        with_notice: Tensors = (*results, self.notice(ends))
        return with_notice

    def wait(self, returned: Tensors) -> Tensors:
        """Return the results, computed."""
        if not self.tells:
            return returned
        self._reached.wait(PATIENCE)
        returned[-1].asnumpy()
        self._reached.clear()
        return returned[:-1]

    def _reach(self, ends: Floats) -> Floats:
        self._reached.set()
        return ends
