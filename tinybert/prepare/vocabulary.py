"""WordPiece vocabularies: reading, checking, tokenising, and making one from text."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from tinybert.atomic import write_bytes
from tinybert.errors import InputError, UsageError
from tinybert.files import writing
from tinybert.prepare.text import find_texts, paragraphs

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a vocab.txt; a token's id is its line, from 0."""

    ids: dict[str, int]
    sha256: str
    """Of the file's bytes."""


def load_vocabulary(path: Path) -> Vocabulary:
    """Read a vocab.txt: UTF-8, a token a line.

    Raises:
        InputError: It cannot be read, lists a token twice, lacks a special token, or [PAD] is
            not its first.
    """
    try:
        data = path.read_bytes()
        lines = data.decode().removesuffix("\n").split("\n")
    except OSError as error:
        raise InputError(
            f"the vocabulary cannot be read: {error.strerror}", where=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            "the vocabulary is not UTF-8", where=f"{path}, byte {error.start}"
        ) from error
    ids: dict[str, int] = {}
    for number, line in enumerate(lines):
        token = line.removesuffix("\r")
        if token in ids:
            raise InputError(
                f"the vocabulary lists `{token}` twice, first in line {ids[token] + 1}",
                where=f"{path}:{number + 1}",
            )
        ids[token] = number
    for token in (PAD, UNK, CLS, SEP):
        if token not in ids:
            raise InputError(f"the vocabulary lacks {token}", where=str(path))
    if ids[PAD] != 0:
        raise InputError(
            f"{PAD} has id {ids[PAD]}, not 0",
            where=f"{path}:{ids[PAD] + 1}",
            cure="padding is id 0: let the vocabulary begin with [PAD]",
        )
    return Vocabulary(ids, hashlib.sha256(data).hexdigest())


def build_tokenizer(vocabulary: Vocabulary, lowercase: bool) -> Tokenizer:
    """Return BERT's WordPiece tokenizer; it adds no special tokens.

    `[SEP]` and the like in a text are text: they never become special tokens.

    Args:
        vocabulary: The tokens.
        lowercase: Lower-case, and strip accents, as BERT's uncased models do.
    """
    tokenizer = Tokenizer(WordPiece(vocabulary.ids, unk_token=UNK, max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def prepare_vocabulary(
    inputs: Sequence[str], output: Path, size: int, *, lowercase: bool, force: bool
) -> int:
    """Make a vocab.txt of at most `size` tokens from text files; returns their number.

    Args:
        inputs: Text files, directories and globs, as for `prepare corpus`.
        output: The vocab.txt.
        size: Most tokens, the five special ones included.
        lowercase: Lower-case the text first.
        force: Replace an existing file.

    Raises:
        InputError: A text cannot be read.
        UsageError: The file exists and `force` is not given, or `size` is too small.
    """
    if output.exists() and not force:
        raise UsageError(
            "the file exists", where=str(output), cure="name another, or replace it with --force"
        )
    tokenizer = build_tokenizer(Vocabulary({UNK: 0}, ""), lowercase)
    texts = [text for path in find_texts(inputs) for _, text, _ in paragraphs(path)]
    letters = sorted({letter for text in texts for letter in _letters(tokenizer, text)})
    # The trainer numbers letters in the order of a hash map and breaks ties by number: numbered
    # here, as if they were special tokens, they make its result a function of the text.
    fixed = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters)]
    if size < len(fixed):
        raise UsageError(f"a vocabulary of this text has at least {len(fixed)} tokens, not {size}")
    trainer = WordPieceTrainer(
        vocab_size=size, special_tokens=fixed, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    with writing(output):
        write_bytes(output, "".join(f"{token}\n" for token, _ in tokens).encode())
    return len(tokens)


def _letters(tokenizer: Tokenizer, text: str) -> set[str]:
    return set(tokenizer.normalizer.normalize_str(text)) - set(" ")
