"""The threads of this process that loops are shared out to."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST = 1 << 20
"""Elements of a loop below which a second thread gave nothing, measured on two cores."""


class Threads:
    """Threads that share work; at first only the one that calls."""

    def __init__(self) -> None:
        self._count = 1
        self._pool: ThreadPoolExecutor | None = None

    def use(self, threads: int) -> None:
        """Share work among so many threads from now on, the one that calls among them."""
        before = self._pool
        self._count = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        if before is not None:
            before.shutdown()

    def share(
        self, iterations: int, elements: int, loop: Callable[..., object], *arguments: object
    ) -> None:
        """Call `loop(*arguments, start, end)` for ranges that make up all iterations.

        There is a range for each thread, or a single one if the loop has few elements.
        """
        parts = max(1, min(iterations, self._count if elements >= LEAST else 1))
        ranges = list(pairwise(iterations * part // parts for part in range(parts + 1)))
        self.map(lambda each: loop(*arguments, *each), ranges)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return `function(item)` of every item; each thread takes the next that is left.

        An exception is raised when no thread works any more.
        """
        results: dict[int, Result] = {}
        left = enumerate(items)  # to take the next is one step of the interpreter

        def work() -> None:
            for place, item in left:
                results[place] = function(item)

        pool, others = self._pool, min(self._count, len(items)) - 1
        running = [pool.submit(work) for _ in range(others)] if pool is not None else []
        try:
            work()
        finally:
            wait(running)
        for each in running:
            each.result()
        return [results[place] for place in range(len(items))]


THREADS = Threads()
"""Those of this process."""
