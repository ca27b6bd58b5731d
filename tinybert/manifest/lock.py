"""The lock of a run, which the kernel releases however the process that holds it ends."""

import fcntl
import os
import time
from pathlib import Path

from tinybert.files import open_file

LOCK = "lock"
"""The file in a run's folder that its process has locked."""
ATTEMPTS = 20
PAUSE = 0.05  # seconds; `is_locked` holds the lock for an instant


def acquire(directory: Path) -> int | None:
    """Return a descriptor that holds a run's lock, or None if another process holds it.

    Args:
        directory: The run's folder.

    Raises:
        OSError: The folder is missing or cannot be written.
    """
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(PAUSE)
    os.close(descriptor)
    return None


def is_locked(directory: Path) -> bool:
    """Return whether a process holds the lock of the run in a folder."""
    try:
        with open_file(directory / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
