"""Examples -> rows of token ids, segment ids and labels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from tokenizers import Encoding, Tokenizer

from tinybert.data.labels import IGNORED
from tinybert.errors import InputError
from tinybert.prefetch import prefetch
from tinybert.prepare.vocabulary import CLS, SEP, UNK, Vocabulary

_EXAMPLES_AT_A_TIME = 1024

ExampleLabel: TypeAlias = int | float | frozenset[int] | Sequence[int] | None


@dataclass(frozen=True)
class Example:
    """A labelled text or pair of texts, or the labelled words of a sentence."""

    where: str
    """Its place, `path:line`."""
    texts: Sequence[str] | Sequence[Sequence[str]]
    """One or two texts, or one list of words."""
    label: ExampleLabel
    """A class, a number, a set of classes, or one class a word; None: it is not known."""


@dataclass(frozen=True)
class EncodedRow:
    """A row without padding; all lists are equally long."""

    input_ids: list[int]
    segment_ids: list[int]
    label: int | float | frozenset[int] | tuple[int, int] | list[int] | None = None
    """A class, a number, a set of classes, first and last token of an answer, or one class or
    `IGNORED` a token; None without labels."""
    cut_tokens: int = 0
    """Tokens of the texts that did not fit."""


class Encoder:
    """Encodes examples as `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, b with segment 1.

    A row that is too long is truncated as BERT does: tokens go one by one from the end of the
    longer text, of the second when both are equally long. A word's label stays on its first
    piece, all else is `IGNORED`.

    Args:
        tokenizer: As of `build_tokenizer`.
        vocabulary: The same tokens.
        seq_length: Most tokens a row (S).
        counts: Counts what is encoded: tokens with special ones; the longest row before truncation.
        allow_empty: Accept texts without tokens.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocabulary: Vocabulary,
        seq_length: int,
        counts: Counter[str],
        *,
        allow_empty: bool,
    ) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self._cls, self._sep, self._unk = (vocabulary.ids[token] for token in (CLS, SEP, UNK))
        self.seq_length = seq_length
        self._allow_empty = allow_empty
        self.counts = counts
        counts.update(tokens=0, unknown=0, truncated_rows=0, cut_tokens=0, longest_row=0)

    def rows(self, examples: Iterable[Example]) -> Iterator[EncodedRow]:
        """Yield a row for each example.

        Raises:
            InputError: A text has no tokens.
        """
        for block, encodings in prefetch(self._blocks(examples), 1):
            left = iter(encodings)
            for example in block:
                yield self._row(example, [next(left) for _ in example.texts])

    def _blocks(
        self, examples: Iterable[Example]
    ) -> Iterator[tuple[list[Example], list[Encoding]]]:
        """Yield some examples at a time, and their texts' encodings."""
        left = iter(examples)
        while block := list(islice(left, _EXAMPLES_AT_A_TIME)):
            yield (
                block,
                self.tokenizer.encode_batch(
                    [text for example in block for text in example.texts],
                    is_pretokenized=not isinstance(block[0].texts[0], str),
                    add_special_tokens=False,
                ),
            )

    def window_rows(self, example: Example, stride: int) -> list[tuple[int, EncodedRow]]:
        """Return the rows of one long text, each with the first of the text's tokens that it reads.

        Args:
            example: The text, whole or in words.
            stride: Tokens between the beginnings of two windows.

        Raises:
            InputError: The text has no tokens.
        """
        (text,) = example.texts
        encoding = self.tokenizer.encode(
            text, is_pretokenized=not isinstance(text, str), add_special_tokens=False
        )
        input_ids = encoding.ids  # a list is made at each access
        if not input_ids:
            raise InputError("a text is empty, or has no tokens", where=example.where)
        words: list[int] = []
        if not isinstance(text, str) and isinstance(example.label, Sequence):
            words = _first_pieces(encoding, example.label)
        rows = []
        for first, tokens in split_windows(len(input_ids), self.seq_length - 2, stride):
            here = slice(first, first + tokens)
            ids = [self._cls, *input_ids[here], self._sep]
            label = [IGNORED, *words[here], IGNORED] if words else None
            rows.append((first, EncodedRow(ids, [0] * len(ids), label)))
        return rows

    def _row(self, example: Example, texts: list[Encoding]) -> EncodedRow:
        ids = [text.ids for text in texts]  # a list is made at each access
        if not self._allow_empty and not all(ids):
            raise InputError("a text is empty, or has no tokens", where=example.where)
        lengths = [len(each) for each in ids]
        kept = truncate(lengths, self.seq_length - 1 - len(texts))
        input_ids, segment_ids = [self._cls], [0]
        for segment, (each, length) in enumerate(zip(ids, kept, strict=True)):
            input_ids += [*each[:length], self._sep]
            segment_ids += [segment] * (length + 1)
        cut = sum(lengths) - sum(kept)
        self.counts["tokens"] += len(input_ids)
        self.counts["unknown"] += input_ids.count(self._unk)
        self.counts["truncated_rows"] += cut > 0
        self.counts["cut_tokens"] += cut
        self.counts["longest_row"] = max(self.counts["longest_row"], len(input_ids) + cut)
        label = example.label
        if label is not None and not isinstance(label, int | float | frozenset):
            label = [IGNORED, *_first_pieces(texts[0], label)[: kept[0]], IGNORED]
        return EncodedRow(input_ids, segment_ids, label, cut)


def split_windows(tokens: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Yield the first token and the number of tokens of each window over a text.

    As in BERT's run_squad.py, the last window is the first that reaches the end.

    Args:
        tokens: Of the text.
        room: Most tokens of a window.
        stride: Tokens between the beginnings of two windows, at most `room`.
    """
    first = 0
    while first + room < tokens:
        yield first, room
        first += min(room, stride)
    yield first, tokens - first


def truncate(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens of each of one or two texts are kept in `room` places."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    first, second = lengths
    kept = min(second, max(room // 2, room - first))
    return [min(first, room - kept), kept]


def _first_pieces(text: Encoding, labels: Sequence[int]) -> list[int]:
    """Return the label of each token: its word's on the first of the word's tokens."""
    words = text.word_ids
    return [
        IGNORED if word is None or word == before else labels[word]
        for word, before in zip(words, [None, *words], strict=False)
    ]
