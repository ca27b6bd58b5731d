"""What is predicted for a text, and how it is read."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

PAIR = "\t"
"""What separates the two texts of a pair."""
Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Text:
    """A text, or the two texts of a pair."""

    where: str
    """Its place, for messages."""
    text: str
    """With a tab between the two of a pair."""


@dataclass(frozen=True)
class Windows:
    """How texts that are longer than a row are read."""

    joined_by: Literal["mean", "max", "central"]
    """Of labels: the mean or the largest of each logit over the windows; of tags: each word has the
    tag of the window in whose middle it is nearest."""
    stride: int | None = None
    """Tokens between the beginnings of two windows; None: half a window."""


@dataclass(frozen=True)
class ReadAs:
    """How texts are read, as the user states it; None: not stated."""

    pairs: bool | None = None
    """Whether a tab separates the two texts of a pair."""
    characters: bool | None = None
    """Whether every character is a word to be tagged."""
    max_answer_length: int | None = None
    no_answer_threshold: float | None = None
    allow_empty: bool = False
    """Whether texts without tokens are read."""
    windows: Windows | None = None
    """None: the end of a text that is longer than a row is not read."""


@dataclass(frozen=True)
class PredictedText:
    """What is predicted for a text."""

    text: str
    truncated: bool
    """Whether the text was longer than the network reads, and its end was left out."""


@dataclass(frozen=True)
class ClassPrediction(PredictedText):
    """The most probable class."""

    label: str
    probability: float
    probabilities: dict[str, float]
    """By label, in the order of their ids."""


@dataclass(frozen=True)
class LabelSetPrediction(PredictedText):
    """Every label that is likelier than not."""

    labels: list[str]
    """In the order of their ids."""
    probabilities: dict[str, float]
    """Of every label on its own, in the order of their ids."""


@dataclass(frozen=True)
class ValuePrediction(PredictedText):
    """The number of a regression."""

    value: float


@dataclass(frozen=True)
class Entity:
    """A named entity."""

    type: str
    text: str
    first: int
    """Place of its first word in the text, from 0."""
    last: int
    """Place of its last word."""


@dataclass(frozen=True)
class EntityPrediction(PredictedText):
    """The entities, by the tags of the text's words."""

    entities: list[Entity]
