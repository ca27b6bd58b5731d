"""Predictions of an evaluation: the arrays that a run keeps, and a line of JSON a row."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tinybert.atomic import atomic_replace
from tinybert.data.labels import IGNORED, decode_labels, encode_labels
from tinybert.data.rows import LabelArray
from tinybert.errors import InputError
from tinybert.files import open_safetensors

ARRAYS_FILE = "predictions.safetensors"
LINES_FILE = "predictions.jsonl"
_TASK_TYPE = "task_type"
"""Of what is predicted, in the metadata of the arrays; absent in those of older versions."""
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Predictions:
    """What a network predicts for N labelled rows."""

    logits: npt.NDArray[np.float32]
    """(N, C) or, for ner, (N, S, C)."""
    predictions: LabelArray
    """(N,) or (N, S): classes int32, or numbers float32; for any number of labels (N, C) int32, 1
    where a row has one."""
    label_ids: LabelArray
    """The same shape; `IGNORED` where nothing is measured."""
    label_names: tuple[str, ...] | None
    """In the order of their ids, if they are known."""
    task_type: str | None
    """None: an older version wrote the arrays, and no label names."""
    questions: npt.NDArray[np.int32] | None = None
    """(N,) of answers: which question a row is about, from 0."""
    scores: npt.NDArray[np.float64] | None = None
    """(Q, 2) of answers: exact match and F1 of each question."""

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read the arrays.

        Raises:
            InputError: The file is missing or damaged, or does not hold predictions.
        """
        try:
            with open_safetensors(path) as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}
                metadata = file.metadata() or {}
            loaded = cls(**arrays, label_names=None, task_type=metadata.get(_TASK_TYPE))
            names = decode_labels(metadata)
            loaded._check(names)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
        except (SafetensorError, TypeError, ValueError) as error:
            raise InputError("the file holds no predictions", where=str(path)) from error
        return cls(**arrays, label_names=names, task_type=loaded.task_type)

    def _check(self, names: tuple[str, ...] | None) -> None:
        """Raise a ValueError unless arrays and names fit each other."""
        shape, types = self.label_ids.shape, {self.predictions.dtype, self.label_ids.dtype}
        fits = self.logits.dtype == np.float32 and self.logits.size > 0
        expected = self.logits.shape if self._label_sets else self.logits.shape[:-1]
        if self.task_type == "question_answering":
            expected = (len(self.logits), 2)
            fits &= self._fits_questions()
        fits &= expected == self.predictions.shape == shape and len(shape) in (1, 2)
        if not fits or types not in ({np.dtype(np.int32)}, {np.dtype(np.float32)}):
            raise ValueError("other shapes or types")
        if names is None or np.float32 in types:
            return
        ids = np.concatenate([self.predictions.ravel(), self.label_ids[self.label_ids != IGNORED]])
        if ids.min() < 0 or ids.max() >= len(names):
            raise ValueError("a label without a name")

    def _fits_questions(self) -> bool:
        """Return whether there are scores of the questions that rows are about."""
        asked, scores = self.questions, self.scores
        if asked is None or scores is None:
            return False
        if (asked.dtype, scores.dtype) != (np.dtype(np.int32), np.dtype(np.float64)):
            return False
        known = np.array_equal(np.unique(asked), np.arange(len(scores)))
        return known and len(asked) == len(self.logits) and scores.shape[1:] == (2,)

    def arrays(self) -> Arrays:
        """Return the arrays by their names, C-contiguous."""
        named = {
            "logits": self.logits,
            "predictions": self.predictions,
            "label_ids": self.label_ids,
            "questions": self.questions,
            "scores": self.scores,
        }
        return {n: np.ascontiguousarray(array) for n, array in named.items() if array is not None}

    def save(self, path: Path) -> None:
        """Write the arrays, and the label names as metadata."""
        metadata = encode_labels(self.label_names)
        if self.task_type is not None:
            metadata[_TASK_TYPE] = self.task_type
        with atomic_replace(path) as temporary:
            save_file(self.arrays(), temporary, metadata=metadata)

    def lines(self) -> bytes:
        """Return a line of JSON a row: labels and predictions by name, logits in hexadecimal."""
        return "".join(self._line(row) for row in range(len(self.label_ids))).encode()

    @property
    def _label_sets(self) -> bool:
        """Whether a row has any number of labels."""
        return self.task_type == "multi_label_classification"

    def _line(self, row: int) -> str:
        label, prediction = self.label_ids[row], self.predictions[row]
        line: dict[str, object] = {"row": row}
        if self._label_sets:
            sides = [np.flatnonzero(side).astype(np.int32) for side in (label, prediction)]
        else:
            counted = label != IGNORED if label.ndim else ...
            sides = [label[counted], prediction[counted]]
        line |= zip(("label", "prediction"), map(self._named, sides), strict=True)
        if not label.ndim or self._label_sets:
            line["logits"] = [float(value).hex() for value in self.logits[row]]
        return json.dumps(line, ensure_ascii=False) + "\n"

    def _named(self, values: LabelArray) -> object:
        plain: Any = values.tolist()
        names = self.label_names
        if names is None or values.dtype.kind == "f":
            return plain
        return names[plain] if isinstance(plain, int) else [names[index] for index in plain]
