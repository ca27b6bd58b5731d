"""Files: where the program's own are, their digests, and errors that name them."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter, FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from tinybert.errors import InputError, UsageError

if TYPE_CHECKING:
    from safetensors import safe_open

PROGRAM = Path(__file__).resolve().parents[1]
"""The directory of runner.py."""
BLOCK = 1 << 20  # bytes
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
"""The first bytes of compressed files."""


@dataclass(frozen=True)
class FileDigest:
    """A file with what identifies its content."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""


def open_file(path: Path, buffering: int = 1 << 16) -> BufferedReader:
    """Open a regular file for reading; never waits for a pipe or reads a device.

    Args:
        path: The file.
        buffering: Bytes that are read at once.

    Raises:
        OSError: It is missing, no regular file, or cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a null character, or half a surrogate pair
        message = "no file can have this name"
        raise FileNotFoundError(errno.ENOENT, message, ascii(str(path))) from error
    _require_regular(descriptor, path)
    return BufferedReader(FileIO(descriptor), buffering)


def open_to_append(path: Path) -> BufferedWriter:
    """Open a regular file for writing at its end, created if it is missing.

    Raises:
        OSError: It is no regular file, or cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    _require_regular(descriptor, path)
    return BufferedWriter(FileIO(descriptor, "ab"))


def _require_regular(descriptor: int, path: Path) -> None:
    """Close what was opened, and raise an OSError, unless it is a regular file."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.ENXIO, "not a regular file", str(path))


def open_safetensors(path: Path) -> "safe_open":
    """Open a safetensors file, whose arrays are then NumPy's; a context manager.

    Raises:
        OSError: As `open_file`.
        SafetensorError: It is damaged.
    """
    open_file(path).close()  # the library would wait for a pipe
    from safetensors import safe_open

    return safe_open(path, "numpy")


def read_file(path: Path, size: int = -1) -> bytes:
    """Return the bytes of a regular file, or its first `size`.

    Raises:
        OSError: As `open_file`, or it cannot be read.
    """
    with open_file(path) as file:
        return file.read(size)


def digest_file(path: Path) -> FileDigest:
    """Hash a file.

    Raises:
        InputError: It is missing or cannot be read.
    """
    state = hashlib.sha256()
    block = bytearray(BLOCK)
    size = 0
    try:
        with open_file(path) as file:
            while count := file.readinto(block):
                state.update(memoryview(block)[:count])
                size += count
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return FileDigest(path, size, state.hexdigest())


def digest_files(paths: Iterable[Path]) -> tuple[FileDigest, ...]:
    """Hash files in parallel threads (hashlib frees the interpreter); the result is in their order.

    Raises:
        InputError: One of them is missing or cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return tuple(pool.map(digest_file, paths))


def digest_change(now: str | None, recorded: str) -> str:
    """Return how a file's SHA-256 differs from the recorded one; empty if it does not.

    None stands for a file that is not there.
    """
    if now is None:
        return "missing"
    return "" if now == recorded else f"SHA-256 {now}, not {recorded}"


def compression(head: bytes) -> str | None:
    """Return the program that compressed a file which begins with these bytes, if one did."""
    return next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)


def relative_to(path: Path, root: Path) -> str:
    """Return a path relative to `root` if it lies below it, and else the absolute path."""
    path, root = path.absolute(), root.absolute()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def relative_to_cwd(path: Path) -> str:
    """Return a path as a user would type it here."""
    try:
        return relative_to(path, Path.cwd())
    except FileNotFoundError:  # the working directory was deleted
        return str(path)


def require_free_file(target: Path, inputs: Mapping[Path, str], *, what: str, force: bool) -> None:
    """Raise a UsageError unless a file may be written: it is new, or `force` is given.

    Args:
        target: The file.
        inputs: Files that are read, which are never replaced, and what each is.
        what: What is written.
        force: Whether a file that is there may be replaced.
    """
    cure = "name another with --output"
    for path, name in inputs.items():
        if os.path.realpath(target) == os.path.realpath(path):
            raise UsageError(f"{what} would replace {name}", where=str(target), cure=cure)
    if target.is_dir():
        raise UsageError(f"{what}'s file is a directory", where=str(target), cure=cure)
    if target.exists() and not force:
        cure = f"{cure}, or replace it with --force"
        raise UsageError("the file exists", where=str(target), cure=cure)
    if not target.parent.is_dir():
        cure = "create it, or name another with --output"
        raise UsageError(f"{what}'s folder is missing", where=str(target.parent), cure=cure)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Create the folder of `path`, and turn a failure to write there into an error with a place.

    Raises:
        InputError: For any OSError of the body.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        where = str(error.filename or path)
        raise InputError(f"cannot be written: {error.strerror}", where=where) from error
