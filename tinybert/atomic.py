"""Writing files and directories that are whole or absent, whatever kills the process."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and put it in its place at the end.

    The caller creates the temporary file by any means. At the end its bytes are synced before the
    rename and the folder after it, so that a crash leaves the old file or the new one, never a
    mixture. If the body raises, the old file stays and the temporary one is removed. Only SIGKILL
    and a power cut leave a temporary file: `remove_leftovers` removes it.

    Args:
        path: The file to create or replace; its folder must exist.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def atomic_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path`, and rename it to `path` at the end.

    Files and directory are synced before the rename and the parent after it: a killed process
    leaves no `path`, or a whole one. If the body raises, the temporary directory is removed.

    Args:
        path: The directory to create; its parent must exist.
        replace: Remove an existing directory, after the new one is complete. A kill between
            the two renames leaves the old one as `.<name>.<random>.old`.

    Raises:
        OSError: The parent cannot be written, or another process created `path` meanwhile.
    """
    unique = secrets.token_hex(4)
    temporary = path.with_name(f".{path.name}.{unique}.tmp")
    old = path.with_name(f".{path.name}.{unique}.old")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        if replace and path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Create or replace the file `path` with `data`, whole or not at all.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    with atomic_replace(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of the file or directory `path` left; none may be writing now."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put a file, or a directory's list of files, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
