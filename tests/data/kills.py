"""A process that kills itself, for tests of what it leaves."""

import os
import signal
import sys


def die_at(event: int) -> None:
    """Kill this process at an audit event of Python, such as opening a file, counted from 1.

    0: never.
    """
    left = event

    def count(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if event:
        sys.addaudithook(count)
