"""Input files with their digests, and directories that are whole or absent."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinybert.errors import InputError

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class FileDigest:
    """A file that a run reads."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""


def digest_file(path: Path) -> FileDigest:
    """Hash one file.

    Raises:
        InputError: It cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with open(path, "rb") as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
                size += len(data)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return FileDigest(path, size, digest.hexdigest())


def digest_files(paths: Sequence[Path]) -> tuple[FileDigest, ...]:
    """Hash files, several at a time, in their order.

    Raises:
        InputError: One of them cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return tuple(pool.map(digest_file, paths))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of `path`, and let a failure to write there be an error with a place.

    Raises:
        InputError: For any OSError of the body.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        where = str(error.filename or path)
        raise InputError(f"cannot be written: {error.strerror}", where=where) from error


@contextmanager
def creating_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path`, and rename it to `path` at the end.

    Files and directory are synced before the rename and the parent after it: a killed process
    leaves no `path`, or a whole one. If the body raises, the temporary directory goes.

    Args:
        path: The directory to create; its parent must exist.
        replace: Take an existing directory away, after the new one is complete. A kill between
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
            _sync(file)
        _sync(temporary)
        if replace and path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftover_directories(path: Path) -> None:
    """Remove what killed makers of `path` left; none may be at work now."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
