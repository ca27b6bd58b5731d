"""WordPiece vocabularies: reading and checking them, and the tokenizer of one."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from tinybert.data.sidecar import VOCABULARY, TokenizerOptions
from tinybert.errors import InputError
from tinybert.prepare.reading import BLANKS, read_lines
from tinybert.prepare.tokenizer_json import TOKENIZER, has_wordpiece, read_wordpiece

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Vocabulary:
    """The ids of the tokens, ascending: a token's id is its line in a vocab.txt, from 0."""

    ids: dict[str, int]

    def encode(self) -> bytes:
        """Return the content of a vocab.txt with nothing else in it: a token a line."""
        return "".join(f"{token}\n" for token in self.ids).encode()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of that content."""
        return hashlib.sha256(self.encode()).hexdigest()

    @property
    def lacks_capitals(self) -> bool:
        """Whether it is for lower-cased texts: in others, words with a capital are unknown."""
        words = [token for token in self.ids if not token.startswith("[")]
        return any(map(str.islower, words)) and all(token == token.lower() for token in words)


def find_vocabulary(directory: Path) -> Path | None:
    """Return the file with the WordPiece vocabulary of a directory: vocab.txt, else tokenizer.json.

    Raises:
        InputError: There is no vocab.txt, and the tokenizer.json is damaged.
    """
    vocab, tokenizer = directory / VOCABULARY, directory / TOKENIZER
    if vocab.is_file():
        return vocab
    return tokenizer if has_wordpiece(tokenizer) else None


def load_vocabulary(path: Path) -> Vocabulary:
    """Read a vocab.txt, which is UTF-8, a token a line; or the vocabulary of a tokenizer.json.

    A byte order mark and blank lines at the end are no part of a vocab.txt.

    Raises:
        InputError: It cannot be read, has an empty line, lists a token twice, lacks a special
            token, or [PAD] is not its first; or, in a tokenizer.json, ids have gaps.
    """
    in_json = path.suffix == ".json"
    ids = read_wordpiece(path) if in_json else _read_lines(path)
    for token in (PAD, UNK, CLS, SEP):
        if token not in ids:
            raise InputError(f"the vocabulary lacks {token}", where=str(path))
    if ids[PAD] != 0:
        raise InputError(
            f"{PAD} has id {ids[PAD]}, not 0",
            where=str(path) if in_json else f"{path}:{ids[PAD] + 1}",
            cure="padding is id 0: let the vocabulary begin with [PAD]",
        )
    return Vocabulary(ids)


def require_room(vocabulary: Vocabulary, path: Path, vocab_size: int, cure: str = "") -> None:
    """Raise an InputError if the vocabulary in a file has more tokens than a network."""
    if len(vocabulary.ids) > vocab_size:
        message = f"the vocabulary has {len(vocabulary.ids):,} tokens, the network {vocab_size:,}"
        raise InputError(message, where=str(path), cure=cure)


def _read_lines(path: Path) -> dict[str, int]:
    """Return the ids of a vocab.txt."""
    lines = [text for _, text in read_lines(path)]
    while lines and not lines[-1].strip(BLANKS):
        lines.pop()
    ids: dict[str, int] = {}
    for number, token in enumerate(lines):
        where = f"{path}:{number + 1}"
        if not token.strip(BLANKS):
            cure = "remove it: a token's id is its line, counted from 0"
            raise InputError("the vocabulary has an empty line", where=where, cure=cure)
        if token in ids:
            first = ids[token] + 1
            raise InputError(
                f"the vocabulary lists `{token}` twice, first in line {first}", where=where
            )
        ids[token] = number
    return ids


def build_tokenizer(vocabulary: Vocabulary, options: TokenizerOptions) -> Tokenizer:
    """Return BERT's WordPiece tokenizer; it adds no special tokens.

    `[SEP]` and the like in a text are text: they never become special tokens.
    """
    tokenizer = Tokenizer(WordPiece(vocabulary.ids, unk_token=UNK, max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options.tokenize_chinese_chars,
        strip_accents=options.strip_accents,
        lowercase=options.lowercase,
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer
