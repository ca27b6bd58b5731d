"""The logits of a frozen teacher for the rows of a token store: computed once, then read by index.

    runs/teacher/<key>-<digest>/teacher.json  its graph's matrix products, and SHA-256 of the array
                                logits.bin    (rows, C) float32; for tags (tokens, C), those of
                                              each row's first `TokenStore.lengths` tokens

`key` is a digest of the teacher, of the rows and of what decides how logits are rounded.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.data.addressed import Addressed
from tinybert.data.batch import FloatArray
from tinybert.data.store import TokenStore
from tinybert.errors import InputError
from tinybert.files import digest_file

TEACHER = Addressed(
    "teacher cache",
    "teacher.json",
    "delete this directory; the next run computes the teacher's outputs again",
)
TEACHERS = Path("runs", "teacher")
"""Folder of all teacher caches, below the root."""
FORMAT = 1
_FLOAT = np.dtype("<f4")
_FILE = "logits.bin"


@dataclass(frozen=True)
class TeacherLogits:
    """Logits of all rows, or of the tokens of all rows."""

    digest: str
    """SHA-256 of the index, and so of the logits."""
    matrix_products: dict[str, int]
    """How many matrix products of the graph that computed them have inputs of each type."""
    _logits: FloatArray
    """(rows, C) or (tokens, C)."""
    _offsets: npt.NDArray[np.int64] | None
    """(rows + 1,) where the tokens of each row start; None: there are no logits of tokens."""

    @classmethod
    def open(cls, path: Path, store: TokenStore, *, by_token: bool) -> "TeacherLogits":
        """Open the logits of a store's rows, verified.

        Raises:
            InputError: They cannot be read, or are not as they were written.
        """
        with TEACHER.reading(path):
            content, digest = TEACHER.read_index(path)
            logits = TEACHER.open_array(path / _FILE, _FLOAT, content["arrays"]["logits"])
            logits = logits.reshape(_positions(store, by_token), content["num_labels"])
            products = dict(content["matrix_products"])
        TEACHER.require_name(path, digest)
        offsets = np.concatenate([[0], np.cumsum(store.lengths)]) if by_token else None
        return cls(digest, products, logits, offsets)

    def batch(self, indices: npt.NDArray[np.int64], seq_length: int) -> FloatArray:
        """Return the logits of rows: (B, C), or (B, S, C) of tokens, 0 after a row's last."""
        if self._offsets is None:
            return np.array(self._logits[indices])
        starts, position = self._offsets[indices], np.arange(seq_length)
        kept = position < (self._offsets[indices + 1] - starts)[:, None]  # (B, S)
        logits = np.zeros((*kept.shape, self._logits.shape[1]), np.float32)
        logits[kept] = self._logits[(starts[:, None] + position)[kept]]
        return logits


def logits_bytes(store: TokenStore, num_labels: int, *, by_token: bool) -> int:
    """Return the size of the logits of a store's rows, in bytes."""
    return _FLOAT.itemsize * num_labels * _positions(store, by_token)


def write_logits(
    directory: Path,
    rows: Iterable[FloatArray],
    *,
    num_labels: int,
    size: int,
    matrix_products: Callable[[], Mapping[str, int]],
) -> None:
    """Write logits and their index into an empty directory.

    Args:
        directory: The directory.
        rows: Logits (..., C), in the order of the store's rows.
        num_labels: C.
        size: Bytes of all of them.
        matrix_products: Returns those of the graph that made them; called after the last.

    Raises:
        InputError: There is not enough space.
    """
    free = shutil.disk_usage(directory).free
    if free < size:
        raise InputError(
            f"the teacher's logits need {size} bytes of disk space, {free} are free",
            where=str(directory.parent),
            cure="make room, or leave `teacher_cache_gib` out",
        )
    path = directory / _FILE
    with open(path, "wb") as file:
        for logits in rows:
            file.write(np.ascontiguousarray(logits.reshape(-1, num_labels), _FLOAT).data)
    content = {
        "arrays": {"logits": digest_file(path).sha256},
        "matrix_products": dict(matrix_products()),
        "num_labels": num_labels,
    }
    TEACHER.write_index(directory, content)


def _positions(store: TokenStore, by_token: bool) -> int:
    return int(store.lengths.sum()) if by_token else store.rows
