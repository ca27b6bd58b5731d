"""Entities in rows of tags, and precision, recall and F1 of predicted ones.

A tag is `O`, or a position and a type, such as `B-PER`: B begins an entity, I is inside it, E
ends it, S is one alone; M, for I, is read too. A row need not be well formed: as in seqeval's
default mode and CoNLL's script, an entity is a run of tags of one type, and B, S, or what follows
E or S, opens a new one.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from tinybert.data.labels import IGNORED
from tinybert.data.rows import LabelArray
from tinybert.errors import InputError

ENTITY_METRICS = ("entity_precision", "entity_recall", "entity_f1")
Span = tuple[int, int, str]
"""First and last place of an entity, and its type."""
_TAG = re.compile(r"O|[BIEMS]-.+")


def find_entities(tags: Iterable[str]) -> set[Span]:
    """Return (first, last, type) of every entity in a row of tags, places counted from 0."""
    entities = set()
    start = 0
    before = "O"
    for place, tag in enumerate(chain(tags, ["O"])):
        inside = tag[0] in "IEM" and before[0] in "BIM" and tag[2:] == before[2:]
        if not inside:
            if before != "O":
                entities.add((start, place - 1, before[2:]))
            start = place
        before = tag
    return entities


def entity_scores(
    predictions: LabelArray, label_ids: LabelArray, names: Sequence[str]
) -> dict[str, float]:
    """Return micro-averaged precision, recall and F1 of entities: type and both ends must agree.

    Each is 0 where its denominator is, as without any entity.

    Args:
        predictions: (N, S) predicted ids.
        label_ids: (N, S) true ids; where `IGNORED`, a position is left out of both.
        names: Tags in the order of their ids.

    Raises:
        InputError: A name is no tag.
    """
    return scores_of_counts(
        *np.sum([each.counts for each in entity_rows(predictions, label_ids, names)], axis=0)
    )


def scores_of_counts(right: int, predicted: int, true: int) -> dict[str, float]:
    """Return precision, recall and F1 of entities, by how many are right, predicted and true."""
    scores = (
        right / max(1, predicted),
        right / max(1, true),
        2 * right / max(1, predicted + true),
    )
    return dict(zip(ENTITY_METRICS, map(float, scores), strict=True))


class EntityRow(NamedTuple):
    """The entities of a row, each (first, last, type); places count the row's counted tags."""

    predicted: set[Span]
    true: set[Span]

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many are right, predicted and true."""
        return len(self.predicted & self.true), len(self.predicted), len(self.true)


def entity_rows(
    predictions: LabelArray, label_ids: LabelArray, names: Sequence[str]
) -> list[EntityRow]:
    """Return the entities of each row; arguments and errors as `entity_scores`."""
    check_tags(names)
    rows = []
    for predicted, true in zip(predictions, label_ids, strict=True):
        counted = true != IGNORED
        sides = ([names[label] for label in row[counted].tolist()] for row in (predicted, true))
        rows.append(EntityRow(*map(find_entities, sides)))
    return rows


def check_tags(names: Iterable[str], where: str = "") -> None:
    """Raise an InputError if one of some label names is no tag."""
    for name in names:
        if not _TAG.fullmatch(name):
            raise InputError(
                f"`{name}` is no tag: a tag is O, or B-, I-, E-, S- or M- and a type", where=where
            )
