"""The token store: checked rows in memory-mapped arrays, drawn from at random by index.

    runs/store/<key>-<digest>/store.json      what a row holds, and SHA-256 of the arrays
                              input_ids.bin   (tokens,) uint16, or uint32 for a vocabulary over
                                              65,536
                              offsets.bin     (rows + 1,) int64, where each row starts
                              marks.bin       (tokens,) 2 * segment id + mask; absent where all
                                              are 1
                              label_ids.bin   (rows,), (rows, C), (rows, 2) or (rows, S), where
                                              labels are read

A row is kept up to its last position with a non-zero id, mask or segment; the rest is zeros, so
nothing is lost. `key` is a digest of the record files' bytes and of how they are read, `digest`
that of store.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.data.addressed import Addressed
from tinybert.data.batch import Batch
from tinybert.data.example import Columns
from tinybert.data.labels import IGNORED
from tinybert.data.rows import LabelArray, RowFormat
from tinybert.files import FileDigest, digest_file

FORMAT = 2
TOKEN_STORE = Addressed(
    "token store",
    "store.json",
    "delete this directory; the next run imports the records again",
)


@dataclass(frozen=True)
class TokenStore:
    """Checked rows, by index."""

    rows: int
    format: RowFormat
    digest: str
    """SHA-256 of format and rows in their order: the same for the same rows in other files."""
    files: tuple[FileDigest, ...]
    """The files that were read: records, indexes, schema, records.json."""
    lengths: npt.NDArray[np.int64]
    """(rows,) the width that a batch needs for each row: up to its last position with a non-zero
    token or a label that counts, or S where every position counts as a token."""
    _input_ids: npt.NDArray[np.unsignedinteger[Any]]
    _offsets: npt.NDArray[np.int64]
    _marks: npt.NDArray[np.unsignedinteger[Any]] | None
    _label_ids: LabelArray | None
    hashing_seconds: float = 0.0
    """Time it took to hash `files`."""

    @property
    def seq_length(self) -> int:
        """Tokens a row, as in the record files."""
        return self.format.seq_length

    @classmethod
    def open(cls, path: Path, format: RowFormat, files: Sequence[FileDigest]) -> "TokenStore":
        """Open a store, its arrays verified.

        Raises:
            InputError: It cannot be read, or is not as it was written.
        """
        with TOKEN_STORE.reading(path):
            content, digest = TOKEN_STORE.read_index(path)
            if content["format"] != format.to_json():
                raise ValueError("another format")
            types = _types(format)
            arrays = {
                name: TOKEN_STORE.open_array(path / f"{name}.bin", types[name], sha256)
                for name, sha256 in content["arrays"].items()
            }
            stored = np.diff(arrays["offsets"])
        labels = arrays.get("label_ids")
        if labels is not None and format.label not in ("class", "number"):
            labels = labels.reshape(-1, format.label_length)
        return cls(
            rows=len(stored),
            format=format,
            digest=digest,
            files=tuple(files),
            lengths=_widths(stored, labels, format),
            _input_ids=arrays["input_ids"],
            _offsets=arrays["offsets"],
            _marks=arrays.get("marks"),
            _label_ids=labels,
        )

    def batch(self, indices: npt.NDArray[np.int64], seq_length: int | None = None) -> Batch:
        """Return rows as a batch.

        Args:
            indices: (B,) rows, from 0.
            seq_length: Width S of the batch; None: that of the record files. No row of the batch
                may be longer (`lengths`).

        Raises:
            IndexError: A row is not in the store.
            ValueError: A row is longer than `seq_length`.
        """
        width = self.seq_length if seq_length is None else seq_length
        if indices.size and not 0 <= indices.min() <= indices.max() < self.rows:
            raise IndexError(f"rows go from 0 to {self.rows - 1}")
        if indices.size and self.lengths[indices].max() > width:
            raise ValueError(f"a row is longer than seq_length {width}")
        starts = self._offsets[indices]
        position = np.arange(width)
        kept = position < (self._offsets[indices + 1] - starts)[:, None]  # (B, S)
        token = (starts[:, None] + position)[kept]
        input_ids, segment_ids, input_mask = np.zeros((3, len(indices), width), np.int32)
        input_ids[kept] = self._input_ids[token]
        if self._marks is None:
            input_mask[kept] = 1
        else:
            marks = self._marks[token]
            input_mask[kept] = marks & 1
            segment_ids[kept] = marks >> 1
        if not self.format.input_mask_from_dataset:
            input_mask[:] = 1
        labels = self._labels(indices, width)
        return Batch(input_ids, segment_ids, input_mask, label_ids=labels)

    def batch_lengths(self, indices: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
        """Return `lengths` of a batch's rows and 0 for what fills it up: (size,)."""
        return np.pad(self.lengths[indices], (0, size - len(indices)))

    def _labels(self, indices: npt.NDArray[np.int64], width: int) -> LabelArray | None:
        if self._label_ids is None:
            return None
        labels = self._label_ids[indices]
        return labels[:, :width] if self.format.label == "token" else labels


class StoreWriter:
    """Writes the arrays of a store into an existing directory.

    Args:
        path: The directory.
        format: What a row holds.
    """

    def __init__(self, path: Path, format: RowFormat) -> None:
        self._path = path
        self._format = format
        self._types = _types(format)
        self._files = {name: open(path / f"{name}.bin", "wb") for name in self._types}
        self._offset = 0
        self._plain = True
        self._write("offsets", np.zeros(1))

    def append(self, columns: Columns) -> None:
        """Append legal rows: arrays (rows, length) of the format's columns."""
        input_ids = columns["input_ids"]
        zero = np.zeros(input_ids.shape, np.int64)
        input_mask = columns.get("input_mask", zero)
        segment_ids = columns.get("segment_ids", zero)
        used = (input_ids != 0) | (input_mask != 0) | (segment_ids != 0)  # (rows, S)
        width = used.shape[1]
        lengths = np.where(used.any(axis=1), width - used[:, ::-1].argmax(axis=1), 0)
        kept = np.arange(width) < lengths[:, None]
        if not self._format.input_mask_from_dataset:
            input_mask = zero + 1
        marks = (2 * segment_ids + input_mask)[kept]
        self._plain = self._plain and bool((marks == 1).all())
        self._write("input_ids", input_ids[kept])
        self._write("marks", marks)
        self._write("offsets", self._offset + np.cumsum(lengths))
        self._offset += int(lengths.sum())
        if self._format.label is not None:
            self._write("label_ids", columns["label_ids"])

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Close the arrays and, unless an exception is on its way, write the index."""
        for file in self._files.values():
            file.close()
        if kind is None:
            self._write_index()

    def _write_index(self) -> None:
        if self._plain:
            (self._path / "marks.bin").unlink()
            del self._types["marks"]
        arrays = {name: digest_file(self._path / f"{name}.bin").sha256 for name in self._types}
        content = {"format": self._format.to_json(), "arrays": arrays}
        TOKEN_STORE.write_index(self._path, content)

    def _write(self, name: str, values: npt.NDArray[np.generic]) -> None:
        self._files[name].write(values.astype(self._types[name]).tobytes())


def _widths(
    stored: npt.NDArray[np.int64], labels: LabelArray | None, format: RowFormat
) -> npt.NDArray[np.int64]:
    """Return the width that a batch needs for each row, from that of its tokens (rows,)."""
    if not format.input_mask_from_dataset:
        return np.full_like(stored, format.seq_length)
    if format.label != "token":
        return stored
    assert labels is not None
    counted = labels != IGNORED  # (rows, S)
    last = format.seq_length - counted[:, ::-1].argmax(axis=1)
    return np.maximum(stored, np.where(counted.any(axis=1), last, 0))


def _types(format: RowFormat) -> dict[str, np.dtype[Any]]:
    types = {
        "input_ids": np.dtype("<u2" if format.vocab_size <= 1 << 16 else "<u4"),
        "marks": np.min_scalar_type(2 * format.type_vocab_size - 1),
        "offsets": np.dtype("<i8"),
    }
    if format.label is not None:
        types["label_ids"] = np.dtype("<f4" if format.label == "number" else "<i4")
    return types
