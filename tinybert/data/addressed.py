"""Content-addressed directories of arrays, each of which is made once.

    <root>/<key>-<digest>/<index>     JSON with the SHA-256 of each array
                          <name>.bin  the arrays

`key` is a digest of all that the content depends on, `digest` that of the index. A directory is
whole or absent, whatever kills the process that writes it, and verified when it is opened.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.atomic import atomic_directory, remove_leftovers, sync
from tinybert.errors import InputError
from tinybert.files import digest_file, writing
from tinybert.strict_json import read_json


@dataclass(frozen=True)
class Addressed:
    """A kind of content-addressed directories."""

    name: str
    """What messages call it."""
    index: str
    """File name of the index."""
    damaged_cure: str
    """What to do about a damaged one."""

    def find_or_create(self, root: Path, key: str, write: Callable[[Path], None]) -> Path:
        """Return the directory of a key; it is written where it is not there.

        Any number of processes may ask at once: one writes, the others wait.

        Args:
            root: Folder of all directories of this kind; created if missing.
            key: What the content depends on, 64 hexadecimal digits.
            write: Writes index and arrays into an empty directory.

        Raises:
            InputError: The folder cannot be written.
        """
        path = _find(root, key)
        if path is None:
            with writing(root / key), _alone(root / key):
                path = _find(root, key)
                if path is None:
                    path = self._create(root / key, write)
        return path

    def _create(self, path: Path, write: Callable[[Path], None]) -> Path:
        remove_leftovers(path)
        shutil.rmtree(path, ignore_errors=True)  # of one that was killed before it got its name
        with atomic_directory(path) as temporary:
            write(temporary)
        sealed = path.with_name(f"{path.name}-{digest_file(path / self.index).sha256}")
        path.rename(sealed)
        sync(path.parent)
        return sealed

    def write_index(self, path: Path, content: Mapping[str, object]) -> None:
        """Write the index of a directory, whose arrays are all there."""
        (path / self.index).write_bytes(_index_bytes(content))

    def read_index(self, path: Path) -> tuple[Any, str]:
        """Return the content of the index and its digest; raises as `read_json`."""
        content = read_json(path / self.index)
        return content, hashlib.sha256(_index_bytes(content)).hexdigest()

    def open_array(self, path: Path, dtype: np.dtype[Any], sha256: str) -> npt.NDArray[Any]:
        """Return a memory-mapped array.

        Raises:
            InputError: The file is missing, or is not as it was written.
        """
        file = digest_file(path)
        if file.sha256 != sha256:
            raise self._damaged(path, f": its SHA-256 is {file.sha256}, not {sha256}")
        if file.size == 0:  # nothing to map
            return np.zeros(0, dtype)
        return np.memmap(path, dtype, "r")

    def require_name(self, path: Path, digest: str) -> None:
        """Raise an InputError unless the name of a directory ends in the digest of its index."""
        if digest != path.name[-len(digest) :]:
            raise self._damaged(path, f": its digest is {digest}, which its name is not")

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Turn a failure to read a directory into an InputError that names it, and the cure."""
        try:
            yield
        except OSError as error:
            message = f"the {self.name} cannot be read: {error.strerror}"
            raise InputError(message, where=str(path)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(path / self.index) from error

    def _damaged(self, where: Path, why: str = "") -> InputError:
        message = f"the {self.name} is damaged{why}"
        return InputError(message, where=str(where), cure=self.damaged_cure)


def _find(root: Path, key: str) -> Path | None:
    """Return the directory of a key, whose name ends in the digest of its index, if it is there."""
    return next(root.glob(f"{key}-{'[0-9a-f]' * 64}"), None)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Take the lock of a directory; the system releases it when the process ends, however."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _index_bytes(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
