"""Candidates for words: a network's predictions, its nearest embeddings, nearest word vectors."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinybert.augment.largest import NONE
from tinybert.augment.masked_rows import MaskedRowMaker
from tinybert.augment.neighbours import Neighbours
from tinybert.augment.word_vectors import WordVectors
from tinybert.augment.words import ReadText, WordReader
from tinybert.data.batch import FloatArray
from tinybert.data.rows import Int32Array

if TYPE_CHECKING:
    from tinybert.augment.masked import MaskedWords


class CandidateSources:
    """Gives candidates for the words of texts.

    A candidate is a number: a token's id; or, of a word of the vectors, its place in them after all
    tokens.

    Args:
        reader: Reads the texts.
        count: Most candidates for a word (M).
        predicted: Predicts words that are one piece of the vocabulary.
        embeddings: Word embeddings by token, whose nearest are candidates for such words instead.
        vectors: Words whose nearest are candidates for others; without a network for all.
    """

    def __init__(
        self,
        reader: WordReader,
        count: int,
        *,
        predicted: "tuple[MaskedWords, MaskedRowMaker] | None",
        embeddings: FloatArray | None,
        vectors: WordVectors | None,
    ) -> None:
        self._texts = list(reader.tokens)
        self._count = count
        self._predicted = predicted
        self._by_token: Neighbours | None = None
        self._by_word: Neighbours | None = None
        self._places: dict[str, int] = {}
        if embeddings is not None:
            self._by_token = Neighbours(embeddings, reader.word_tokens(), count)
        if vectors is not None:
            among = [place for place, word in enumerate(vectors.words) if reader.is_word(word)]
            self._by_word = Neighbours(vectors.vectors, among, count)
            self._places = {word: place for place, word in enumerate(vectors.words)}
            self._texts += vectors.words
        self._tokens = len(reader.tokens)

    def text_of(self, candidate: int) -> str:
        """Return a candidate as a word."""
        return self._texts[candidate]

    def find(self, texts: Sequence[ReadText], advance: Callable[[int], object]) -> Int32Array:
        """Return the candidates for all words of texts, in their order, best first.

        `advance` is called with the number of words that are done.

        Returns:
            (words, M) int32, `NONE` after a word's last.

        Raises:
            InputError: A network's outputs are not finite.
        """
        words = [word for text in texts for word in text.words]
        candidates = np.full((len(words), self._count), NONE, np.int32)
        tokens = {place: word.token for place, word in enumerate(words) if word.token is not None}
        if self._predicted is not None:
            masked, row_maker = self._predicted
            rows = [row for text in texts for row in row_maker.rows(text)]
            candidates[list(tokens)] = masked.predict(rows, self._count, advance)
        elif self._by_token is not None:
            candidates[list(tokens)] = self._by_token.nearest(list(tokens.values()))
            advance(len(tokens))
        else:
            tokens = {}
        if self._by_word is not None:
            places = {
                place: self._places[word.text]
                for place, word in enumerate(words)
                if place not in tokens and word.text in self._places
            }
            nearest = self._by_word.nearest(list(places.values()))
            candidates[list(places)] = np.where(nearest == NONE, NONE, nearest + self._tokens)
        advance(len(words) - len(tokens))
        return candidates
