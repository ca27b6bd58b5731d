"""Text in, label out: what a trained network predicts for texts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tinybert.data.labels import IGNORED
from tinybert.errors import UsageError
from tinybert.export.network import inference_cell
from tinybert.export.source import Source
from tinybert.metrics.entities import find_entities
from tinybert.prepare.encode import EncodedRow, Encoder, Example
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary

BATCH = 32
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
class ClassPrediction:
    """The most probable class of a text."""

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]
    """By label, in the order of their ids."""


@dataclass(frozen=True)
class ValuePrediction:
    """The number of a text, by a regression."""

    text: str
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
class EntityPrediction:
    """The entities of a text, by the tags of its words."""

    text: str
    entities: list[Entity]


TextPrediction: TypeAlias = ClassPrediction | ValuePrediction | EntityPrediction


def predict_texts(
    source: Source, texts: Iterable[Text], *, lowercase: bool | None = None
) -> Iterator[TextPrediction]:
    """Yield what the network predicts for each text.

    Args:
        source: A network with a head, and its vocabulary.
        texts: The texts.
        lowercase: Whether to lower-case them, where the source does not know.

    Raises:
        InputError: A text has no tokens, or the vocabulary is damaged.
        UsageError: The network has no head, or it is not known how to read texts for it.
    """
    head = source.network.head
    if head is None:
        raise UsageError("the network has learned no task: it has no head", where=str(source.file))
    encoder = _encoder(source, lowercase)
    names = source.network.labels or [str(index) for index in range(head.num_labels)]
    run = _runner(source)
    left = iter(texts)
    while block := list(islice(left, BATCH)):
        if head.task_type == "ner":
            words = [list(t.text) if source.characters else t.text.split() for t in block]
            examples = [
                Example(text.where, [each], list(range(len(each))))  # a word's label is its place
                for text, each in zip(block, words, strict=True)
            ]
        else:
            examples = [Example(text.where, text.text.split(PAIR, 1), 0) for text in block]
        rows = list(encoder.rows(examples))
        for index, (text, row, logits) in enumerate(zip(block, rows, run(rows), strict=True)):
            if head.task_type == "regression":
                yield ValuePrediction(text.text, float(logits[0]))
            elif head.task_type == "ner":
                tags = _word_tags(len(words[index]), row, logits, names)
                joint = "" if source.characters else " "
                yield EntityPrediction(text.text, _entities(words[index], tags, joint))
            else:
                yield _most_probable(text.text, logits, names)


def _encoder(source: Source, lowercase: bool | None) -> Encoder:
    """Return what makes rows of texts, as the network's training had them."""
    if source.vocab is None:
        raise UsageError("the vocabulary is not known", cure="name it: --vocab VOCAB_TXT")
    lower = lowercase if source.lowercase is None else source.lowercase
    if lower is None:
        raise UsageError(
            "it is not known whether texts are lower-cased for this network",
            cure="say so: --lowercase, or --cased",
        )
    vocabulary = load_vocabulary(source.vocab)
    tokenizer = build_tokenizer(vocabulary, lower)
    return Encoder(tokenizer, vocabulary, source.seq_length, Counter(), allow_empty=False)


def _runner(source: Source) -> Callable[[Sequence[EncodedRow]], Logits]:
    """Return a function from rows to their logits (B, C), or (B, S, C) for tags."""
    import mindspore as ms

    cell = inference_cell(source.network)

    def run(rows: Sequence[EncodedRow]) -> Logits:
        batch = np.zeros((3, len(rows), max(len(row.input_ids) for row in rows)), np.int32)
        for index, row in enumerate(rows):
            length = len(row.input_ids)
            batch[:, index, :length] = row.input_ids, row.segment_ids, [1] * length
        logits = cell(*(ms.Tensor(np.ascontiguousarray(array)) for array in batch))
        return np.asarray(logits.asnumpy(), np.float64)

    return run


def _most_probable(text: str, logits: Logits, names: Sequence[str]) -> ClassPrediction:
    """Return the class of the largest of the logits (C,)."""
    exponent = np.exp(logits - logits.max())
    probabilities = exponent / exponent.sum()
    best = int(probabilities.argmax())
    by_label = dict(zip(names, probabilities.tolist(), strict=True))
    return ClassPrediction(text, names[best], float(probabilities[best]), by_label)


def _word_tags(words: int, row: EncodedRow, logits: Logits, names: Sequence[str]) -> list[str]:
    """Return the tag of each word's first piece from logits (S, C); a word without pieces has O."""
    assert isinstance(row.label, list)
    tags = ["O"] * words
    for place, word in enumerate(row.label):
        if word != IGNORED:
            tags[word] = names[int(logits[place].argmax())]
    return tags


def _entities(words: Sequence[str], tags: Sequence[str], joint: str) -> list[Entity]:
    return [
        Entity(kind, joint.join(words[first : last + 1]), first, last)
        for first, last, kind in sorted(find_entities(tags))
    ]
