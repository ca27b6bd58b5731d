"""Texts as rows of a network, and the logits of their rows as predictions.

A text that is longer than a row is cut, or read in windows whose predictions are joined.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from tinybert.data.labels import IGNORED
from tinybert.errors import UsageError
from tinybert.export.answers import AnswerPrediction, ContextQuestions
from tinybert.export.predictions import (
    PAIR,
    ClassPrediction,
    Entity,
    EntityPrediction,
    LabelSetPrediction,
    Logits,
    ReadAs,
    Text,
    ValuePrediction,
    Windows,
)
from tinybert.export.source import Source, agreed
from tinybert.metrics.entities import find_entities
from tinybert.model.description import AnswerKeys
from tinybert.prepare.encode import EncodedRow, Encoder, Example
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary
from tinybert.recipe.network import HeadConfig

TextPrediction: TypeAlias = (
    ClassPrediction | LabelSetPrediction | ValuePrediction | EntityPrediction | AnswerPrediction
)


class Readings(Protocol):
    """Some texts as rows."""

    rows: list[EncodedRow]
    texts: list[int]
    """Which of the texts each row is of, ascending."""

    def predictions(self, logits: Sequence[Logits]) -> Iterator[TextPrediction]:
        """Yield what the logits of all rows, (C,) or (tokens, C) each, predict for each text."""


@dataclass(frozen=True)
class TextReader:
    """How texts become rows of a network, and what its logits mean."""

    encoder: Encoder
    head: HeadConfig
    names: Sequence[str]
    """Of the labels, in the order of their ids."""
    pairs: bool
    characters: bool
    windows: Windows | None
    """None: the end of a text that is too long is not read."""
    answers: AnswerKeys
    """Of question answering."""

    @classmethod
    def of(cls, source: Source, read_as: ReadAs) -> "TextReader":
        """Return the reader for a network.

        Raises:
            InputError: The vocabulary or a tokenizer file is damaged.
            UsageError: The network has no head, or it is not known how to read texts for it, or
                its texts cannot be read in the windows that the user asks for.
        """
        head, encoder = require_head(source), _encoder(source, read_as.allow_empty)
        pairs = bool(read_as.pairs or source.texts.pairs)
        if read_as.windows is not None:
            _check_windows(read_as.windows, head, pairs, encoder.seq_length)
        return cls(
            encoder,
            head,
            label_names(source, head),
            pairs,
            bool(agreed("--characters", source.texts.characters, read_as.characters)),
            read_as.windows,
            answer_keys(source, read_as),
        )

    def read(self, texts: Sequence[Text]) -> Readings:
        """Return some texts as rows.

        Raises:
            InputError: A text has no tokens.
        """
        if self.head.task_type == "question_answering":
            return ContextQuestions(texts, self.encoder, self.answers)
        if self.head.task_type == "ner":
            return _TaggedTexts(self, texts)
        return _LabelledTexts(self, texts)

    def windows_of(self, examples: Sequence[Example]) -> list[list[tuple[int, EncodedRow]]]:
        """Return the rows of each text, each with the first of the tokens that it reads."""
        if self.windows is None:
            return [[(0, row)] for row in self.encoder.rows(examples)]
        stride = self.windows.stride or max(1, (self.encoder.seq_length - 2) // 2)
        return [self.encoder.window_rows(example, stride) for example in examples]


def answer_keys(source: Source, read_as: ReadAs) -> AnswerKeys:
    """Return how answers are chosen: as the user states it, else as in the network's training.

    Raises:
        UsageError: The user states it, and the network answers no questions; or a length is below
            1.
    """
    if read_as.max_answer_length is not None and read_as.max_answer_length < 1:
        raise UsageError("--max-answer-length is at least 1")
    every: dict[str, float | None] = {
        "max_answer_length": read_as.max_answer_length,
        "no_answer_threshold": read_as.no_answer_threshold,
    }
    said = {key: value for key, value in every.items() if value is not None}
    if said and require_head(source).task_type != "question_answering":
        option = next(iter(said)).replace("_", "-")
        raise UsageError(f"--{option} is for networks that answer questions")
    return (source.texts.answers or AnswerKeys()).model_copy(update=said)


def require_head(source: Source) -> HeadConfig:
    """Return a network's head. Raises a UsageError if it has none."""
    head = source.network.head
    if head is None:
        raise UsageError("the network has learned no task: it has no head", where=str(source.file))
    return head


def label_names(source: Source, head: HeadConfig) -> Sequence[str]:
    """Return the names of a network's labels; without known names, their ids."""
    return source.network.labels or [str(index) for index in range(head.num_labels)]


def label_prediction(
    head: HeadConfig, names: Sequence[str], text: str, truncated: bool, logits: Logits
) -> ClassPrediction | LabelSetPrediction | ValuePrediction:
    """Return what logits (C,) predict for a text."""
    if head.task_type == "regression":
        return ValuePrediction(text, truncated, float(logits[0]))
    if head.task_type == "multi_label_classification":
        return _likely_labels(text, truncated, logits, names)
    return _most_probable(text, truncated, logits, names)


class _LabelledTexts:
    """Texts, or pairs of texts, with labels or numbers."""

    def __init__(self, reader: TextReader, texts: Sequence[Text]) -> None:
        self._reader, self._texts = reader, texts
        parts = [t.text.split(PAIR, 1) if reader.pairs else [t.text] for t in texts]
        examples = [Example(t.where, each, None) for t, each in zip(texts, parts, strict=True)]
        windows = reader.windows_of(examples)
        self.rows = [row for each in windows for _, row in each]
        self.texts = [at for at, each in enumerate(windows) for _ in each]

    def predictions(self, logits: Sequence[Logits]) -> Iterator[TextPrediction]:
        reader = self._reader
        first = 0
        for text, count in zip(self._texts, np.bincount(self.texts).tolist(), strict=True):
            every = np.stack(logits[first : first + count])
            largest = reader.windows is not None and reader.windows.joined_by == "max"
            joined = every.max(axis=0) if largest else every.mean(axis=0)
            cut = self.rows[first].cut_tokens > 0
            yield label_prediction(reader.head, reader.names, text.text, cut, joined)
            first += count


class _TaggedTexts:
    """Texts whose words are tagged; a word's tag is that of its first piece."""

    def __init__(self, reader: TextReader, texts: Sequence[Text]) -> None:
        self._reader, self._texts = reader, texts
        self._words = [list(t.text) if reader.characters else t.text.split() for t in texts]
        examples = [
            Example(t.where, [words], list(range(len(words))))  # the label of a word is its place
            for t, words in zip(texts, self._words, strict=True)
        ]
        self._windows = reader.windows_of(examples)
        self.rows = [row for each in self._windows for _, row in each]
        self.texts = [at for at, each in enumerate(self._windows) for _ in each]

    def predictions(self, logits: Sequence[Logits]) -> Iterator[TextPrediction]:
        left = iter(logits)
        joint = "" if self._reader.characters else " "
        for text, words, windows in zip(self._texts, self._words, self._windows, strict=True):
            tags = ["O"] * len(words)  # of a word without pieces
            best: dict[int, tuple[int, int]] = {}
            for (_, row), values in zip(windows, left, strict=False):
                assert isinstance(row.label, list)
                for place, word in enumerate(row.label):
                    if word == IGNORED:
                        continue
                    nearest = min(place, len(row.label) - 1 - place)
                    if word not in best or nearest > best[word][0]:
                        best[word] = nearest, int(values[place].argmax())
            for word, (_, tag) in best.items():
                tags[word] = self._reader.names[tag]
            cut = windows[0][1].cut_tokens > 0
            yield EntityPrediction(text.text, cut, _entities(words, tags, joint))


def _check_windows(windows: Windows, head: HeadConfig, pairs: bool, seq_length: int) -> None:
    """Raise a UsageError unless windows are what a network's long texts can be read in."""
    if head.task_type == "question_answering":
        raise UsageError("--windows is for labels and tags: contexts are always read in windows")
    tags = head.task_type == "ner"
    if tags != (windows.joined_by == "central"):
        allowed = "--windows central" if tags else "--windows mean, or --windows max"
        raise UsageError(
            f"--windows {windows.joined_by} does not join the predictions of {head.task_type}",
            cure=f"use {allowed}",
        )
    if pairs:
        raise UsageError("--windows is for texts, not for pairs of them")
    if windows.stride is not None and not 1 <= windows.stride <= seq_length - 2:
        raise UsageError(
            f"a stride of {windows.stride} tokens leaves some out",
            cure=f"use 1 to {seq_length - 2}",
        )


def _encoder(source: Source, allow_empty: bool) -> Encoder:
    """Return what makes rows of texts, as the network's training had them."""
    vocab, stated = source.require_tokenizer()
    assert stated.options is not None
    vocabulary = load_vocabulary(vocab)
    tokenizer = build_tokenizer(vocabulary, stated.options)
    seq_length = min(source.texts.seq_length, stated.model_max_length or source.texts.seq_length)
    return Encoder(tokenizer, vocabulary, seq_length, Counter(), allow_empty=allow_empty)


def _most_probable(
    text: str, truncated: bool, logits: Logits, names: Sequence[str]
) -> ClassPrediction:
    """Return the class of the largest of the logits (C,)."""
    exponent = np.exp(logits - logits.max())
    probabilities = exponent / exponent.sum()
    best = int(probabilities.argmax())
    by_label = dict(zip(names, probabilities.tolist(), strict=True))
    return ClassPrediction(text, truncated, names[best], float(probabilities[best]), by_label)


def _likely_labels(
    text: str, truncated: bool, logits: Logits, names: Sequence[str]
) -> LabelSetPrediction:
    """Return the labels whose logits (C,) are above 0, and so their probabilities above 0.5."""
    probabilities = np.exp(-np.logaddexp(0, -logits))
    by_label = dict(zip(names, probabilities.tolist(), strict=True))
    likely = [name for name, logit in zip(names, logits.tolist(), strict=True) if logit > 0]
    return LabelSetPrediction(text, truncated, likely, by_label)


def _entities(words: Sequence[str], tags: Sequence[str], joint: str) -> list[Entity]:
    return [
        Entity(kind, joint.join(words[first : last + 1]), first, last)
        for first, last, kind in sorted(find_entities(tags))
    ]
