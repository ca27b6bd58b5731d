"""Items that a thread makes ahead of their use."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield `items` in their order, made by a thread that is at most `depth` + 1 ahead.

    An exception of the iterable is raised where its item would have come. Closing the generator
    lets the thread finish the item it is making, and ends it.
    """
    iterator = iter(items)
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        ahead = deque(executor.submit(next, iterator) for _ in range(depth + 1))
        while True:
            try:
                item = ahead.popleft().result()
            except StopIteration:
                return
            ahead.append(executor.submit(next, iterator))
            yield item
    finally:
        executor.shutdown(cancel_futures=True)
