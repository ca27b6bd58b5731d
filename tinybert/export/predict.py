"""Text in, label out: what a trained network predicts for texts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.labels import IGNORED
from tinybert.data.tokenizer import TokenizerOptions
from tinybert.errors import InputError, UsageError
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
class ReadAs:
    """How the user says that texts are read; None: unsaid."""

    lowercase: bool | None = None
    pairs: bool | None = None
    """Whether a tab separates the two texts of a pair."""
    characters: bool | None = None
    """Whether every character is a word to be tagged."""


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


TextPrediction: TypeAlias = ClassPrediction | ValuePrediction | EntityPrediction


def predict_texts(
    source: Source, texts: Iterable[Text], read_as: ReadAs
) -> Iterator[TextPrediction]:
    """Yield what the network predicts for each text.

    What the source does not know of how to read them, `read_as` must say.

    Raises:
        InputError: A text has no tokens, the vocabulary or a tokenizer file is damaged, or the
            network's outputs are not finite.
        UsageError: The network has no head, or it is not known how to read texts for it.
    """
    head = source.network.head
    if head is None:
        raise UsageError("the network has learned no task: it has no head", where=str(source.file))
    encoder = _encoder(source, read_as)
    pairs = bool(read_as.pairs or source.texts.pairs)
    characters = bool(_known("--characters", source.texts.characters, read_as.characters))
    names = source.network.labels or [str(index) for index in range(head.num_labels)]
    cell = inference_cell(source.network)
    left = iter(texts)
    while block := list(islice(left, BATCH)):
        if head.task_type == "ner":
            words = [list(t.text) if characters else t.text.split() for t in block]
            examples = [
                Example(text.where, [each], list(range(len(each))))  # a word's label is its place
                for text, each in zip(block, words, strict=True)
            ]
        else:
            examples = [
                Example(text.where, text.text.split(PAIR, 1) if pairs else [text.text], 0)
                for text in block
            ]
        rows = list(encoder.rows(examples))
        for index, (text, row, logits) in enumerate(
            zip(block, rows, _logits(cell, rows), strict=True)
        ):
            if not np.isfinite(logits).all():
                message = f"the network's outputs for {text.where} are not finite"
                raise InputError(message, where=str(source.file))
            cut = row.cut_tokens > 0
            if head.task_type == "regression":
                yield ValuePrediction(text.text, cut, float(logits[0]))
            elif head.task_type == "ner":
                tags = _word_tags(len(words[index]), row, logits, names)
                entities = _entities(words[index], tags, "" if characters else " ")
                yield EntityPrediction(text.text, cut, entities)
            else:
                yield _most_probable(text.text, cut, logits, names)


def _known(option: str, by_source: bool | None, by_user: bool | None) -> bool | None:
    """Return a setting of the training, which the user must not contradict."""
    if by_source is None or by_user is None or by_source == by_user:
        return by_user if by_source is None else by_source
    raise UsageError(f"{option} is not how the network's training read texts")


def _encoder(source: Source, read_as: ReadAs) -> Encoder:
    """Return what makes rows of texts, as the network's training had them."""
    if source.vocab is None:
        raise UsageError("the vocabulary is not known", cure="name it: --vocab VOCAB_TXT")
    tokenizer = source.tokenizer()
    option = "--lowercase" if read_as.lowercase else "--cased"
    lowercase = _known(option, tokenizer.lowercase, read_as.lowercase)
    if lowercase is None:
        raise UsageError(
            "it is not known whether texts are lower-cased for this network",
            cure="say so: --lowercase, or --cased",
        )
    options = TokenizerOptions.resolve(
        lowercase, tokenizer.strip_accents, tokenizer.tokenize_chinese_chars
    )
    vocabulary = load_vocabulary(source.vocab)
    seq_length = min(source.texts.seq_length, tokenizer.model_max_length or source.texts.seq_length)
    return Encoder(
        build_tokenizer(vocabulary, options), vocabulary, seq_length, Counter(), allow_empty=False
    )


def _logits(cell: Any, rows: Sequence[EncodedRow]) -> Logits:
    """Return the logits of rows: (B, C), or (B, S, C) for tags."""
    shape = len(rows), max(len(row.input_ids) for row in rows)
    input_ids, segment_ids, input_mask = (np.zeros(shape, np.int32) for _ in range(3))
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[index, :length] = row.input_ids
        segment_ids[index, :length] = row.segment_ids
        input_mask[index, :length] = 1
    batch = Batch(input_ids, segment_ids, input_mask)
    return np.asarray(cell(*batch.tensors()).asnumpy(), np.float64)


def _most_probable(
    text: str, truncated: bool, logits: Logits, names: Sequence[str]
) -> ClassPrediction:
    """Return the class of the largest of the logits (C,)."""
    exponent = np.exp(logits - logits.max())
    probabilities = exponent / exponent.sum()
    best = int(probabilities.argmax())
    by_label = dict(zip(names, probabilities.tolist(), strict=True))
    return ClassPrediction(text, truncated, names[best], float(probabilities[best]), by_label)


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
