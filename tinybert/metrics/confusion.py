"""Which classes, or types of entities, are taken for which others, and the scores of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinybert.data.labels import IGNORED
from tinybert.data.rows import LabelArray
from tinybert.metrics.entities import EntityRow
from tinybert.metrics.metrics import IntArray

NO_ENTITY = "no entity"
"""The row of what was found without being there, and the column of what was not found."""


@dataclass(frozen=True)
class ClassScore:
    """How well one class, or one type of entities, is recognized; 0 where nothing is divided."""

    name: str
    precision: float
    """The share of `predicted` that is right."""
    recall: float
    """The share of `true` that is found."""
    f1: float
    predicted: int
    true: int


@dataclass(frozen=True)
class Confusion:
    """How often what is true (row) was predicted as what (column)."""

    names: tuple[str, ...]
    """Of rows and columns; of entities, `NO_ENTITY` comes last."""
    counts: IntArray
    """(K, K) for K names."""
    entities: bool = False
    """Whether entities are counted, rather than rows or tokens."""

    def scores(self) -> list[ClassScore]:
        """Return the scores of each class or type, in the order of their names."""
        right = np.diagonal(self.counts).tolist()
        predicted, true = (self.counts.sum(axis=axis).tolist() for axis in (0, 1))
        return [
            ClassScore(
                name,
                right[at] / max(1, predicted[at]),
                right[at] / max(1, true[at]),
                2 * right[at] / max(1, predicted[at] + true[at]),
                predicted[at],
                true[at],
            )
            for at, name in enumerate(self.names[: -1 if self.entities else None])
        ]


def confuse_classes(
    predictions: LabelArray, label_ids: LabelArray, names: Sequence[str]
) -> Confusion:
    """Count the classes of rows or tokens.

    Args:
        predictions: Ids of any shape.
        label_ids: Ids of the same shape; where `IGNORED`, nothing is counted.
        names: Of the classes, in the order of their ids.
    """
    counted, classes = label_ids != IGNORED, len(names)
    cells = label_ids[counted].astype(np.int64) * classes + predictions[counted]
    counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    return Confusion(tuple(names), counts)


def confuse_entities(rows: Sequence[EntityRow]) -> Confusion:
    """Count the types of entities whose first and last tags agree, and those without partner."""
    types = sorted({span[2] for row in rows for side in row for span in side})
    at = {name: place for place, name in enumerate(types)}
    counts = np.zeros((len(types) + 1, len(types) + 1), np.int64)
    for row in rows:
        predicted, true = ({(first, last): kind for first, last, kind in side} for side in row)
        for place in predicted.keys() | true.keys():
            of_true, of_predicted = (
                at[side[place]] if place in side else -1 for side in (true, predicted)
            )
            counts[of_true, of_predicted] += 1
    return Confusion((*types, NO_ENTITY), counts, entities=True)
