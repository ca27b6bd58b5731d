"""Making things ahead in a thread."""

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")


class _Done:
    """End of the iterable, or the exception that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield `items` in their order, made by a thread that is at most `depth` + 1 ahead.

    An exception of the iterable is raised where its item would have come. Closing the generator
    lets the thread finish the item it is making, and ends it.
    """
    queue: Queue[T | _Done] = Queue(maxsize=depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, queue, stop), daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _Done):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        # A thread that waits for room finds it in the emptied queue, and then sees `stop`.
        stop.set()
        _empty(queue)
        thread.join()


def _fill(items: Iterable[T], queue: "Queue[T | _Done]", stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            queue.put(item)
            if stop.is_set():
                return
    except BaseException as raised:
        error = raised
    queue.put(_Done(error))


def _empty(queue: "Queue[T | _Done]") -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return
