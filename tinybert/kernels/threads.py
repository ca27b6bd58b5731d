"""Sharing loops out to the threads of this process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

LEAST = 1 << 15
"""Elements of a loop's first array below which a second thread costs more than it gives."""


class Threads:
    """The threads of this process that loops are shared out to; at first one, which calls."""

    def __init__(self) -> None:
        self._others = 0
        self._pool = ThreadPoolExecutor()

    def use(self, count: int) -> None:
        """Share out to so many threads from now on."""
        self._pool.shutdown()
        self._others, self._pool = count - 1, ThreadPoolExecutor(max(1, count - 1))

    def share(
        self,
        count: int,
        loop: Callable[..., object],
        first: npt.NDArray[np.generic],
        *others: object,
    ) -> None:
        """Call `loop(first, *others, start, end)` for ranges that make up `count`.

        One call is made for each thread, or one in all if `first`, an array, is small.
        """
        parts = min(count, self._others + 1) if first.size >= LEAST else 1
        if parts < 2:
            loop(first, *others, 0, count)
            return
        own, *ranges = pairwise(count * part // parts for part in range(parts + 1))
        running = [self._pool.submit(loop, first, *others, *each) for each in ranges]
        loop(first, *others, *own)
        for each in running:
            each.result()


THREADS = Threads()
"""Those of this process."""
