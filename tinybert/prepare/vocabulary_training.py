"""`prepare vocab`: text files -> a WordPiece vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers.trainers import WordPieceTrainer

from tinybert.atomic import write_bytes
from tinybert.data.sidecar import TokenizerOptions
from tinybert.errors import UsageError
from tinybert.files import writing
from tinybert.prepare.text import TextFormat, find_texts, paragraphs
from tinybert.prepare.vocabulary import SPECIALS, UNK, Vocabulary, build_tokenizer


@dataclass(frozen=True)
class VocabularyOptions:
    """How a vocabulary is made."""

    output: Path
    """The vocab.txt."""
    size: int
    """Most tokens, the five special ones included."""
    input_format: TextFormat | None
    """None: as the first line of each file shows."""
    lowercase: bool | None
    """Lower-case the text; None: leave it as it is."""
    strip_accents: bool | None
    """Remove accents; None: as `lowercase`."""
    tokenize_chinese_chars: bool | None
    """Let every Chinese character be a word; None: true."""
    force: bool
    """Replace `output`."""


def prepare_vocabulary(inputs: Sequence[str], options: VocabularyOptions) -> int:
    """Make a vocab.txt from text files, named as for `prepare corpus`; return the number of tokens.

    Raises:
        InputError: A text cannot be read.
        UsageError: The file exists and may not be replaced, or `size` is too small.
    """
    if options.output.exists() and not options.force:
        cure = "name another, or replace it with --force"
        raise UsageError("the file exists", where=str(options.output), cure=cure)
    files = find_texts(inputs)
    texts = [text for path in files for _, text in paragraphs(path, options.input_format)]
    tokenizer_options = TokenizerOptions.resolve(
        bool(options.lowercase), options.strip_accents, options.tokenize_chinese_chars
    )
    vocabulary = train_vocabulary(texts, options.size, tokenizer_options)
    with writing(options.output):
        write_bytes(options.output, vocabulary.encode())
    return len(vocabulary.ids)


def train_vocabulary(texts: Sequence[str], size: int, options: TokenizerOptions) -> Vocabulary:
    """Return a WordPiece vocabulary of at most `size` tokens, the same for the same texts.

    Raises:
        UsageError: `size` is less than the special tokens and the letters of the texts need.
    """
    tokenizer = build_tokenizer(Vocabulary({UNK: 0}), options)
    used: set[str] = set()
    for text in texts:
        used.update(tokenizer.normalizer.normalize_str(text))
    letters = sorted(used - {" "})
    # The trainer numbers letters in the order of a hash map and breaks ties by number: numbered
    # here, as if they were special tokens, they make its result a function of the text.
    fixed = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters)]
    if size < len(fixed):
        raise UsageError(f"a vocabulary of this text has at least {len(fixed)} tokens, not {size}")
    trainer = WordPieceTrainer(
        vocab_size=size, special_tokens=fixed, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids: dict[str, int] = tokenizer.get_vocab()
    return Vocabulary(dict(sorted(ids.items(), key=lambda item: item[1])))
