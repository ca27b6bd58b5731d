"""Text in, label out: what a trained network predicts for texts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.labels import IGNORED
from tinybert.data.packing import Layout, choose_packing, pack_batch
from tinybert.errors import InputError, UsageError
from tinybert.export.network import inference_cell
from tinybert.export.source import Source, agreed
from tinybert.metrics.entities import find_entities
from tinybert.prepare.encode import EncodedRow, Encoder, Example
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary

if TYPE_CHECKING:
    from tinybert.train.evaluation import Prediction

GROUP = 1024
"""Texts that are packed together."""
BLOCK_LENGTH = 128
"""Least positions of a block; longer texts need the next power of two."""
CALL_BLOCKS = 8
"""Most blocks of a call of the network."""
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
    encoder = _encoder(source)
    pairs = bool(read_as.pairs or source.texts.pairs)
    characters = bool(agreed("--characters", source.texts.characters, read_as.characters))
    names = source.network.labels or [str(index) for index in range(head.num_labels)]
    from tinybert.train.evaluation import Prediction  # with the framework
    from tinybert.train.world import ALONE

    network = Prediction(inference_cell(source.network), ALONE)
    left = iter(texts)
    while group := list(islice(left, GROUP)):
        if head.task_type == "ner":
            words = [list(t.text) if characters else t.text.split() for t in group]
            examples = [_tagged(text, each) for text, each in zip(group, words, strict=True)]
        else:
            parts = [t.text.split(PAIR, 1) if pairs else [t.text] for t in group]
            examples = [Example(t.where, each, 0) for t, each in zip(group, parts, strict=True)]
        rows = list(encoder.rows(examples))
        for index, (text, row, logits) in enumerate(
            zip(group, rows, _packed_logits(network, rows), strict=True)
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


def _tagged(text: Text, words: list[str]) -> Example:
    """Return a text to be tagged; the label of a word is its place."""
    return Example(text.where, [words], list(range(len(words))))


def _encoder(source: Source) -> Encoder:
    """Return what makes rows of texts, as the network's training had them."""
    vocab, tokenizer = source.require_tokenizer()
    options = tokenizer.options
    assert options is not None
    vocabulary = load_vocabulary(vocab)
    seq_length = min(source.texts.seq_length, tokenizer.model_max_length or source.texts.seq_length)
    return Encoder(
        build_tokenizer(vocabulary, options), vocabulary, seq_length, Counter(), allow_empty=False
    )


def _packed_logits(network: "Prediction", rows: Sequence[EncodedRow]) -> list[Logits]:
    """Return the logits of each row, (C,), or (tokens, C) for tags.

    The rows are packed, and the network is called for a few blocks at a time, so that it is
    compiled once for each length of a block, whatever the texts are. For few texts compiling would
    take longer than to compute operator by operator.
    """
    lengths = np.array([len(row.input_ids) for row in rows])
    block_length = max(BLOCK_LENGTH, 1 << (int(lengths.max()) - 1).bit_length())
    whole = choose_packing([lengths], block_length).layouts(lengths)[0]
    blocks = min(whole.blocks, CALL_BLOCKS)
    positions = blocks * block_length
    logits_of = network.logits if whole.blocks > blocks else network.uncompiled_logits
    logits_of_rows: list[Logits] = [np.empty(0)] * len(rows)
    for start in range(0, whole.blocks * block_length, positions):
        members = np.flatnonzero((whole.firsts >= start) & (whole.firsts < start + positions))
        missing = (0, positions // 2 - len(members))  # a row has two tokens at least
        layout = Layout(
            blocks,
            block_length,
            np.pad(lengths[members], missing),
            np.pad(whole.firsts[members] - start, missing),
        )
        batch = pack_batch(_batch([rows[member] for member in members], positions // 2), layout)
        logits = logits_of(batch).astype(np.float64)
        if logits.ndim == 3:
            logits = layout.unpack(logits, int(lengths.max()))
        for member, values in zip(members, logits, strict=False):
            logits_of_rows[member] = values[: lengths[member]] if values.ndim == 2 else values
    return logits_of_rows


def _batch(rows: Sequence[EncodedRow], size: int) -> Batch:
    """Return rows as a batch, filled up with empty rows to a size."""
    shape = size, max(len(row.input_ids) for row in rows)
    input_ids, segment_ids, input_mask = (np.zeros(shape, np.int32) for _ in range(3))
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[index, :length] = row.input_ids
        segment_ids[index, :length] = row.segment_ids
        input_mask[index, :length] = 1
    return Batch(input_ids, segment_ids, input_mask)


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
