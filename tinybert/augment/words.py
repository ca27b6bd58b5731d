"""The words of a text as BERT's tokenizer has them, and which words may take their place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from tinybert.prepare.reading import read_lines
from tinybert.prepare.vocabulary import UNK, Vocabulary


@dataclass(frozen=True)
class Word:
    """A word of a text that may be replaced."""

    start: int
    """Its first character in the text."""
    end: int
    """The character after its last."""
    text: str
    """As the tokenizer reads it: lower-cased and the like."""
    piece: int
    """The place of its first piece among the text's token ids."""
    token: int | None
    """Its token id, if it is one piece of the vocabulary."""


@dataclass(frozen=True)
class ReadText:
    """A text as a network reads it."""

    input_ids: list[int]
    """Token ids without special tokens, cut to what fits."""
    words: list[Word]
    """The words that may be replaced, in their order."""


class WordReader:
    """Finds the words of texts that may be replaced: those with a letter, but for `kept`.

    Args:
        tokenizer: As of `build_tokenizer`.
        vocabulary: The same tokens.
        room: Most tokens of a text, without special ones; later words stay.
        kept: Words that stay, as the tokenizer reads them.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocabulary: Vocabulary, room: int, kept: frozenset[str]
    ) -> None:
        self.tokenizer = tokenizer
        self.tokens = list(vocabulary.ids)
        """Tokens by id."""
        self._unknown = vocabulary.ids[UNK]
        self._room = room
        self._kept = kept
        self._merges = cache(self._read_as_one)

    def read(self, texts: Sequence[str]) -> list[ReadText]:
        """Return texts with their words."""
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [
            ReadText(encoding.ids[: self._room], self._words(text, encoding))
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _words(self, text: str, encoding: Encoding) -> list[Word]:
        words: list[Word] = []
        ids, word_ids, offsets = encoding.ids, encoding.word_ids, encoding.offsets
        first = 0
        while first < len(ids):
            after = first + 1
            while after < len(ids) and word_ids[after] == word_ids[first]:
                after += 1
            if after > self._room:
                break
            start, end = offsets[first][0], offsets[after - 1][1]
            token = ids[first] if after == first + 1 and ids[first] != self._unknown else None
            if token is not None:
                word = self.tokens[token]
            else:
                word = self.tokenizer.normalizer.normalize_str(text[start:end]).strip()
            if has_letter(word) and word not in self._kept:
                words.append(Word(start, end, word, first, token))
            first = after
        return words

    def word_tokens(self) -> list[int]:
        """Return the ids of the tokens that can take a word's place, ascending.

        They have a letter, and a text of the token alone is read as the token: no piece within a
        word is, no special or unused token, and no capital where texts are lower-cased.
        """
        encodings = self.tokenizer.encode_batch(self.tokens, add_special_tokens=False)
        return [
            id
            for id, (token, encoding) in enumerate(zip(self.tokens, encodings, strict=True))
            if encoding.ids == [id] and has_letter(token)
        ]

    def is_word(self, text: str) -> bool:
        """Return whether a text is one word that the tokenizer leaves as it is, with a letter."""
        return has_letter(text) and self._split(text) == [text]

    def replace(self, text: str, replacements: Iterable[tuple[Word, str]]) -> str:
        """Return a text with some words, in their order, replaced by others.

        All else stays as it is. A space parts what would become one word, beside Chinese
        characters.
        """
        out, at = "", 0
        for word, other in replacements:
            out = self._joined(self._joined(out, text[at : word.start]), other)
            at = word.end
        return self._joined(out, text[at:])

    def _joined(self, left: str, right: str) -> str:
        space = left and right and self._merges(left[-1], right[0])
        return f"{left} {right}" if space else left + right

    def _read_as_one(self, left: str, right: str) -> bool:
        """Return whether two characters that follow one another are of one word."""
        apart = left.isspace() or right.isspace()
        return not apart and len(self._split(left + right)) == 1

    def _split(self, text: str) -> list[str]:
        normal = self.tokenizer.normalizer.normalize_str(text)
        return [word for word, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def has_letter(word: str) -> bool:
    """Return whether a word has a letter of any script."""
    return any(map(str.isalpha, word))


def read_kept_words(path: Path, tokenizer: Tokenizer) -> frozenset[str]:
    """Return the words of a text file, as a tokenizer reads them.

    Raises:
        InputError: It cannot be read, or is not UTF-8.
    """
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    return frozenset(
        word
        for _, line in read_lines(path)
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(line))
    )
