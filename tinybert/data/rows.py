"""Rows as arrays, and what the values of a legal row are."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tinybert.data.example import Column, Columns
from tinybert.recipe.task_types import LabelKind

Int32Array = npt.NDArray[np.int32]
LabelArray = npt.NDArray[np.int32] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class RowFormat:
    """What a record holds, and which values are legal in it."""

    seq_length: int
    """Tokens a row (S)."""
    vocab_size: int
    """Number of token ids (V)."""
    type_vocab_size: int
    """Number of segment ids."""
    input_mask_from_dataset: bool
    """false: every position counts as a token; no column is read."""
    token_type_ids_from_dataset: bool
    """false: every segment id is 0; no column is read."""
    label: LabelKind | None = None
    """None; one class or one number a row; a 0 or 1 for each class; one class a token;
    first and last token of an answer."""
    num_labels: int | None = None
    """Number of classes (C) that a row has a 0 or 1 for; None without such labels."""

    @property
    def label_length(self) -> int:
        """Values of a row's label."""
        if self.label == "classes":
            assert self.num_labels is not None
            return self.num_labels
        return {"token": self.seq_length, "span": 2}.get(self.label or "", 1)

    def to_json(self) -> dict[str, Any]:
        """Return the format as token stores have it: without what does not apply."""
        content = asdict(self)
        if self.num_labels is None:
            del content["num_labels"]
        return content

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that every record must hold; others are left unread."""
        columns = [Column("input_ids", "int", self.seq_length)]
        if self.input_mask_from_dataset:
            columns.append(Column("input_mask", "int", self.seq_length))
        if self.token_type_ids_from_dataset:
            columns.append(Column("segment_ids", "int", self.seq_length))
        if self.label is not None:
            kind: Literal["int", "float"] = "float" if self.label == "number" else "int"
            columns.append(Column("label_ids", kind, self.label_length))
        return tuple(columns)

    def problem(self, columns: Columns) -> tuple[int, str] | None:
        """Return (row, message) of the first row of (rows, length) arrays with an illegal value.

        Rows count from 0; positions in a message count from 0 too.
        """
        problems = []
        for column in self.columns:
            values = columns[column.name]
            if column.kind == "float":
                illegal, rule = ~np.isfinite(values), "labels are finite"
            else:
                low, high, rule = self._range(column.name)
                illegal = (values < low) | (values > high)
            if illegal.any():
                row, position = map(int, np.argwhere(illegal)[0])
                value = values[row, position]
                problems.append((row, f"{column.name}[{position}] is {value}; {rule}"))
        if self.input_mask_from_dataset:
            hidden = np.flatnonzero(~columns["input_mask"].any(axis=1))
            problems += [(int(row), "input_mask has no 1; a row has a token") for row in hidden[:1]]
        return min(problems, default=None, key=lambda item: item[0])

    def _range(self, name: str) -> tuple[int, int, str]:
        if name == "input_ids":
            high = self.vocab_size - 1
            return 0, high, f"token ids go from 0 to {high} (vocab_size {self.vocab_size})"
        if name == "input_mask":
            return 0, 1, "a mask is 0 or 1"
        if name == "segment_ids":
            high = self.type_vocab_size - 1
            rule = f"segment ids go from 0 to {high} (type_vocab_size {self.type_vocab_size})"
            return 0, high, rule
        if self.label == "classes":
            return 0, 1, "a class is there (1) or not (0)"
        if self.label == "span":
            high = self.seq_length - 1
            return 0, high, f"an answer's first and last token are from 0 to {high}"
        bounds = np.iinfo(np.int32)
        return int(bounds.min), int(bounds.max), "labels have 32 bits"
