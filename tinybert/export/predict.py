"""Text in, label out: what a trained network says about texts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.data.labels import IGNORED
from tinybert.errors import UsageError
from tinybert.export.source import Source
from tinybert.metrics.entities import find_entities
from tinybert.prepare.encode import Encoder, Example, TaskRow
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary

BATCH = 32
PAIR = "\t"
"""What separates the two texts of a pair."""


@dataclass(frozen=True)
class Text:
    """A text, or the two texts of a pair."""

    where: str
    """Its place, for messages."""
    text: str
    """With a tab between the two of a pair."""


def predict_texts(
    source: Source, texts: Iterable[Text], *, lowercase: bool | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what the network says about each text.

    Args:
        source: A network with a head, and its vocabulary.
        texts: The texts.
        lowercase: Whether to lower-case them, where the source does not know.

    Yields:
        `text`, and for classes `label`, `probability` and `probabilities` by label; for a number
        `value`; for tags `entities` with `type`, `text` and the places of their first and last
        word, counted from 0.

    Raises:
        InputError: A text has no tokens, or the vocabulary is damaged.
        UsageError: The network has no head, or it is not known how to read texts for it.
    """
    head = source.network.head
    if head is None:
        raise UsageError("the network has learned no task: it has no head", where=str(source.file))
    if source.vocab is None:
        raise UsageError("the vocabulary is not known", cure="name it: --vocab VOCAB_TXT")
    lower = lowercase if source.lowercase is None else source.lowercase
    if lower is None:
        raise UsageError(
            "it is not known whether texts are lower-cased for this network",
            cure="say so: --lowercase, or --cased",
        )
    vocabulary = load_vocabulary(source.vocab)
    encoder = Encoder(
        build_tokenizer(vocabulary, lower), vocabulary, source.seq_length, allow_empty=False
    )
    names = source.network.labels or [str(index) for index in range(head.num_labels)]
    run = _runner(source)
    by_token = head.task_type == "ner"
    left = iter(texts)
    while block := list(islice(left, BATCH)):
        words = [_words(text.text, source.characters) for text in block] if by_token else []
        rows = list(encoder.rows(_examples(block, words)))
        for index, (text, row, logits) in enumerate(zip(block, rows, run(rows), strict=True)):
            if head.task_type == "regression":
                yield {"text": text.text, "value": float(logits[0])}
            elif by_token:
                entities = _entities(words[index], row, logits, names, source.characters)
                yield {"text": text.text, "entities": entities}
            else:
                yield {"text": text.text, **_classes(logits, names)}


def _examples(block: Sequence[Text], words: Sequence[list[str]]) -> Iterator[Example]:
    """Yield the texts for the encoder; the label of a word is its place."""
    if words:
        for text, each in zip(block, words, strict=True):
            yield Example(text.where, [each], list(range(len(each))))
        return
    for text in block:
        yield Example(text.where, text.text.split(PAIR, 1), 0)


def _words(text: str, characters: bool) -> list[str]:
    return list(text) if characters else text.split()


def _runner(source: Source) -> Any:
    """Return a function from rows to their logits (B, C), or (B, S, C) for tags."""
    import mindspore as ms

    from tinybert.export.inference import inference_cell

    cell = inference_cell(source.network)

    def run(rows: Sequence[TaskRow]) -> npt.NDArray[np.float64]:
        batch = np.zeros((3, len(rows), max(len(row.input_ids) for row in rows)), np.int32)
        for index, row in enumerate(rows):
            length = len(row.input_ids)
            batch[:, index, :length] = row.input_ids, row.segment_ids, [1] * length
        logits = cell(*(ms.Tensor(np.ascontiguousarray(array)) for array in batch))
        return np.asarray(logits.asnumpy(), np.float64)

    return run


def _classes(logits: npt.NDArray[np.float64], names: Sequence[str]) -> dict[str, Any]:
    exponent = np.exp(logits - logits.max())
    probabilities = exponent / exponent.sum()
    best = int(probabilities.argmax())
    return {
        "label": names[best],
        "probability": float(probabilities[best]),
        "probabilities": dict(zip(names, probabilities.tolist(), strict=True)),
    }


def _entities(
    words: Sequence[str],
    row: TaskRow,
    logits: npt.NDArray[np.float64],
    names: Sequence[str],
    characters: bool,
) -> list[dict[str, Any]]:
    """Return the entities by the tags of each word's first piece; a word without pieces has O."""
    assert isinstance(row.label, list)
    tags = ["O"] * len(words)
    for place, word in enumerate(row.label):
        if word != IGNORED:
            tags[word] = names[int(logits[place].argmax())]
    joint = "" if characters else " "
    return [
        {"type": kind, "text": joint.join(words[first : last + 1]), "first": first, "last": last}
        for first, last, kind in sorted(find_entities(tags))
    ]
