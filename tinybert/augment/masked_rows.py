"""Rows of which one token is masked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tinybert.augment.words import ReadText
from tinybert.prepare.vocabulary import CLS, MASK, SEP, Vocabulary


class MaskedRow(NamedTuple):
    """A row of which one token is masked."""

    input_ids: Sequence[int]
    segment_ids: Sequence[int]
    position: int
    """The masked token's place."""


@dataclass(frozen=True)
class MaskedRowMaker:
    """Makes `[CLS] text [SEP]` with one token masked, or `[CLS] text [SEP] text [SEP]`."""

    cls: int
    """Id of [CLS]."""
    sep: int
    mask: int
    original: bool
    """Whether the text follows, not masked, as the second segment."""
    most_tokens: int
    """Most tokens of a row; the end of what follows is left out."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, *, original: bool, most_tokens: int) -> "MaskedRowMaker":
        """Return the maker with a vocabulary's special tokens, [MASK] among them."""
        start, sep, mask = (vocabulary.ids[token] for token in (CLS, SEP, MASK))
        return cls(start, sep, mask, original, most_tokens)

    def length(self, text: ReadText) -> int:
        """Return the number of tokens of a text's rows."""
        length = len(text.input_ids) + 2
        room = self._room(length) if self.original else 0
        return length + (min(len(text.input_ids), room) + 1 if room > 0 else 0)

    def rows(self, text: ReadText) -> Iterator[MaskedRow]:
        """Yield a row for each word of a text that is one piece, in their order."""
        row = [self.cls, *text.input_ids, self.sep]
        segment_ids = [0] * len(row)
        if self.original and (room := self._room(len(row))) > 0:
            second = [*text.input_ids[:room], self.sep]
            row, segment_ids = row + second, segment_ids + [1] * len(second)
        for word in text.words:
            if word.token is not None:
                masked = list(row)
                masked[1 + word.piece] = self.mask
                yield MaskedRow(masked, segment_ids, 1 + word.piece)

    def _room(self, length: int) -> int:
        """Return how many of the text's tokens fit after the first segment."""
        return self.most_tokens - length - 1
