"""Writing files that are whole or absent, whatever kills the process."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and put it in its place at the end.

    The caller creates the temporary file by any means. At the end its bytes are synced before the
    rename and the folder after it, so that a crash leaves the old file or the new one, never a
    mixture. If the body raises, the old file stays and the temporary one goes. Only SIGKILL and a
    power cut leave a temporary file behind: `remove_leftovers` takes it away.

    Args:
        path: The file to create or replace; its folder must exist.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Create or replace the file `path` with `data`, whole or not at all.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    with atomic_replace(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed writers of `path` left; none may be writing now."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
