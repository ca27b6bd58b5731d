"""The outputs of a frozen teacher for the rows of a token store: computed once, read by index.

    runs/teacher/<key>-<digest>/teacher.json  its graph's matrix products, and SHA-256 of the arrays
                                logits.bin    (rows, C) float32; for tags (tokens, C)
        or, of the layers that are compared and row by row,
                                hidden_states.bin     (N, tokens, H) float32: of the embeddings and
                                                      the mapped layers, then queries, keys and
                                                      values whose relations are compared
                                attention_scores.bin  (M, A, tokens, tokens) float32: of the mapped
                                                      layers, then of the one whose distributions
                                                      are compared

Tokens are each row's first `TokenStore.lengths`: nothing is padded. `key` is a digest of the
teacher, of the rows and of what decides how its outputs are rounded.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.data.addressed import Addressed
from tinybert.data.batch import Batch, FloatArray
from tinybert.data.store import TokenStore
from tinybert.errors import InputError
from tinybert.files import digest_file
from tinybert.recipe.distill_tables import Distill
from tinybert.recipe.network import NetworkConfig

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
_LAYER_FILES = ("hidden_states", "attention_scores")


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

    def add_to(self, batch: Batch, indices: npt.NDArray[np.int64]) -> Batch:
        """Return a batch of the rows `indices`, (B,), with their logits."""
        return batch._replace(teacher_logits=self.batch(indices, batch.input_ids.shape[1]))

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
    _require_space(directory, size)
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


@dataclass(frozen=True)
class LayersShape:
    """Which outputs of a teacher's layers are kept."""

    states: int
    """N, hidden states, queries, keys and values."""
    hidden_size: int
    """H."""
    scores: int
    """M, layers whose scores are kept."""
    heads: int
    """A; 0 where no scores are kept."""

    @classmethod
    def of(cls, table: Distill, teacher: NetworkConfig, student: NetworkConfig) -> "LayersShape":
        """Return the shape of what a distillation of layers compares."""
        states, scores = student.num_hidden_layers + 1, student.num_hidden_layers
        if table.relations is not None:
            states += len(table.relations.weights.vectors())
            scores += table.relations.weights.attention_distribution is not None
        same = teacher.num_attention_heads == student.num_attention_heads
        heads = teacher.num_attention_heads if same else 0
        return cls(states, teacher.hidden_size, scores, heads)

    def values(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many values of hidden states and of scores rows (B,) have, (B, 2)."""
        states = self.states * self.hidden_size * lengths
        return np.stack([states, self.scores * self.heads * lengths**2], -1)

    def size(self, lengths: npt.NDArray[np.int64]) -> int:
        """Return the size of the outputs for rows of these tokens (B,), in bytes."""
        return _FLOAT.itemsize * int(self.values(lengths).sum())


@dataclass(frozen=True)
class TeacherLayers:
    """Hidden states, queries, keys, values, and scores of the layers that are compared."""

    digest: str
    """SHA-256 of the index, and so of the outputs."""
    matrix_products: dict[str, int]
    """How many matrix products of the graph that computed them have inputs of each type."""
    shape: LayersShape
    _lengths: npt.NDArray[np.int64]
    """(rows,) tokens of each row."""
    _starts: npt.NDArray[np.int64]
    """(rows + 1, 2) where the values of each row start in both arrays."""
    _hidden_states: FloatArray
    _attention_scores: FloatArray

    @classmethod
    def open(cls, path: Path, store: TokenStore, shape: LayersShape) -> "TeacherLayers":
        """Open the outputs for a store's rows, verified.

        Raises:
            InputError: They cannot be read, or are not as they were written.
        """
        values = shape.values(store.lengths)
        with TEACHER.reading(path):
            content, digest = TEACHER.read_index(path)
            arrays = [
                TEACHER.open_array(path / f"{name}.bin", _FLOAT, content["arrays"][name])
                for name in _LAYER_FILES
            ]
            if [array.size for array in arrays] != values.sum(axis=0).tolist():
                raise ValueError("of other rows")
            products = dict(content["matrix_products"])
        TEACHER.require_name(path, digest)
        starts = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(values, axis=0)])
        return cls(digest, products, shape, store.lengths, starts, *arrays)

    def add_to(self, batch: Batch, indices: npt.NDArray[np.int64]) -> Batch:
        """Return a batch of the rows `indices`, (B,), with their outputs, 0 after a row's last."""
        (rows, width), shape = batch.input_ids.shape, self.shape
        states = np.zeros((rows, shape.states, width, shape.hidden_size), np.float32)
        scores = np.zeros((rows, shape.scores, shape.heads, width, width), np.float32)
        for row, index in enumerate(indices):
            n = int(self._lengths[index])
            (first, first_score), (end, end_score) = self._starts[index : index + 2]
            own = self._hidden_states[first:end]
            states[row, :, :n] = own.reshape(shape.states, n, shape.hidden_size)
            own = self._attention_scores[first_score:end_score]
            scores[row, :, :, :n, :n] = own.reshape(shape.scores, shape.heads, n, n)
        return batch._replace(
            teacher_hidden_states=states,
            teacher_attention_scores=scores if shape.heads else None,
        )


def write_layers(
    directory: Path,
    rows: Iterable[tuple[FloatArray, FloatArray]],
    *,
    size: int,
    matrix_products: Callable[[], Mapping[str, int]],
) -> None:
    """Write outputs of layers and their index into an empty directory.

    Args:
        directory: The directory.
        rows: Hidden states and scores of each row, in their order; the latter may be empty.
        size: Bytes of all of them.
        matrix_products: As of `write_logits`.

    Raises:
        InputError: There is not enough space.
    """
    _require_space(directory, size)
    paths = {name: directory / f"{name}.bin" for name in _LAYER_FILES}
    with (
        open(paths["hidden_states"], "wb") as states,
        open(paths["attention_scores"], "wb") as all_,
    ):
        for hidden_states, attention_scores in rows:
            states.write(np.ascontiguousarray(hidden_states, _FLOAT).data)
            all_.write(np.ascontiguousarray(attention_scores, _FLOAT).data)
    content = {
        "arrays": {name: digest_file(path).sha256 for name, path in paths.items()},
        "matrix_products": dict(matrix_products()),
    }
    TEACHER.write_index(directory, content)


def _require_space(directory: Path, size: int) -> None:
    """Raise an InputError unless a directory that is being written may grow by `size` bytes."""
    free = shutil.disk_usage(directory).free
    if free < size:
        raise InputError(
            f"the teacher's outputs need {size} bytes of disk space, {free} are free",
            where=str(directory.parent),
            cure="make room, or leave `teacher_cache_gib` out",
        )


def _positions(store: TokenStore, by_token: bool) -> int:
    return int(store.lengths.sum()) if by_token else store.rows


TeacherOutputs = TeacherLogits | TeacherLayers
