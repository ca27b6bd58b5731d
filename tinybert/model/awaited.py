"""Compiled graphs whose results are waited for without a core.

The framework waits for a graph in a loop that keeps a core busy until the results are there. Where
the graph itself runs on the CPU, that core is missing.
"""

import threading
import time

import mindspore as ms
from mindspore import Tensor, ops

from tinybert.kernels.loops import Floats
from tinybert.model import cpu_operators
from tinybert.model.layers import Cell
from tinybert.model.tensors import Tensors

TIMEOUT = 60
"""Most seconds without a signal, after which the framework is asked: it knows of a graph that
failed. Seen once in some thousand graphs: no signal, and no core was busy."""
LEAST, MARGIN = 1, 10
"""Seconds that a signal is waited for, and that many times those of the one before."""


class AwaitedGraph(Cell):
    """A graph of what `compute` returns; on a CPU its last operator signals that it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.has_signal = cpu_operators.used()
        self._done = threading.Event()
        self._patience: float = TIMEOUT
        if self.has_signal:  # one number, and a graph may have many: it needs no place in a library
            self.signal = ops.Custom(self._set_done, lambda x: x, lambda x: x, func_type="pyfunc")

    def compute(self, *inputs: Tensor | None) -> Tensors:
        """Return float32 tensors, the first and the last of which are computed last.

        Every subclass defines it.
        """
        raise NotImplementedError

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, *inputs: Tensor | None) -> Tensors:
        """Return what `compute` does, and then the signal's output, if there is one."""
        results: Tensors = self.compute(*inputs)
        if self.has_signal:
            ends = ops.reshape(results[0], (-1,))[:1] + ops.reshape(results[-1], (-1,))[:1]
            results = (*results, self.signal(ends))
        return results

    def results(self, *inputs: Tensor | None) -> Tensors:
        """Return what `compute` does, computed."""
        returned: Tensors = self(*inputs)
        if not self.has_signal:
            return returned
        began = time.monotonic()
        if self._done.wait(self._patience):
            self._patience = min(TIMEOUT, LEAST + MARGIN * (time.monotonic() - began))
        returned[-1].asnumpy()
        self._done.clear()
        return returned[:-1]

    def _set_done(self, ends: Floats) -> Floats:
        self._done.set()
        return ends
