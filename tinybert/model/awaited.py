"""Compiled graphs whose results are waited for without a core.

The framework waits for a graph in a loop that keeps a core busy until the results are there. Where
the graph itself runs on the CPU, that core is missing.
"""

import threading
import time
from collections.abc import Callable

import mindspore as ms
from mindspore import Tensor, ops

from tinybert.kernels.loops import Floats
from tinybert.model import cpu_operators
from tinybert.model.layers import Cell
from tinybert.model.tensors import Tensors

LEAST, MARGIN, MOST = 1, 10, 60
"""A signal is waited for LEAST seconds and MARGIN times as long as the one before took, MOST at
most. Then the framework is asked, which knows of a graph that failed. Once in some thousand graphs
no signal came, and no core was busy."""


class AwaitedGraph(Cell):
    """A graph of what `compute` returns; on a CPU its last operator signals that it is done."""

    compute: Callable[..., Tensors]
    """A method of every subclass: returns float32 tensors, of which the first and the last are
    computed last."""

    def __init__(self) -> None:
        super().__init__()
        self.has_signal = cpu_operators.used()
        self._done = threading.Event()
        self._patience: float = MOST
        if self.has_signal:  # one number, and a graph may have many: it needs no place in a library
            self.signal = ops.Custom(self._set_done, lambda x: x, lambda x: x, func_type="pyfunc")

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
            self._patience = min(MOST, LEAST + MARGIN * (time.monotonic() - began))
        returned[-1].asnumpy()
        self._done.clear()
        return returned[:-1]

    def _set_done(self, ends: Floats) -> Floats:
        self._done.set()
        return ends
