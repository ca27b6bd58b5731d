"""`prepare corpus`: text files and a vocabulary -> records for general distillation.

Sentences are packed in document order: a row is [CLS], as many whole sentences of one document
as fit, [SEP]. A sentence that does not fit opens a new row, and so does every document. One of
more than S - 2 tokens is cut into pieces of S - 2, the last of which is packed like a sentence.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from tinybert.data.sidecar import Sidecar
from tinybert.prepare.encode import EncodedRow
from tinybert.prepare.reading import Advance
from tinybert.prepare.records import PrepareOptions, progress, write_directory
from tinybert.prepare.text import find_texts, paragraphs, split_sentences
from tinybert.prepare.vocabulary import CLS, SEP, UNK, build_tokenizer, load_vocabulary

_PARAGRAPHS_AT_A_TIME = 2048
_MIN_SEQ_LENGTH = 3

Document = tuple[int, int]


def prepare_corpus(inputs: Sequence[str], options: PrepareOptions) -> Sidecar:
    """Make a directory of records without labels.

    Args:
        inputs: Text files, directories and globs; `text.py` states how they are read.
        options: Vocabulary, output and so on; at least 3 tokens a row.

    Returns:
        The content of records.json.

    Raises:
        InputError: A text or the vocabulary cannot be read, or there is no text.
        UsageError: `output` exists and may not be replaced, or a number is too small.
    """
    options.check(_MIN_SEQ_LENGTH)
    vocabulary = load_vocabulary(options.vocab)
    tokenizer = build_tokenizer(vocabulary, options.lowercase)
    paths = find_texts(inputs)
    counts: Counter[str] = Counter(documents=0, sentences=0, cut_sentences=0, tokens=0, unknown=0)
    with progress(paths) as advance:
        sentences = _counted(
            _sentences(paths, tokenizer, advance),
            counts,
            options.seq_length - 2,
            vocabulary.ids[UNK],
        )
        packed = pack(sentences, options.seq_length, vocabulary.ids[CLS], vocabulary.ids[SEP])
        rows = (EncodedRow(row, [0] * len(row)) for row in packed)
        return write_directory(inputs, rows, options, vocabulary, counts)


def pack(
    sentences: Iterator[tuple[Document, list[int]]], seq_length: int, cls: int, sep: int
) -> Iterator[list[int]]:
    """Pack sentences into rows, as the top of this module states.

    Args:
        sentences: (document, token ids) in document order; none is empty.
        seq_length: Most tokens a row (S).
        cls: Token id that begins a row.
        sep: Token id that ends it.

    Yields:
        Token ids of a row, without padding.
    """
    room = seq_length - 2
    row: list[int] = []
    current: Document | None = None
    for document, sentence in sentences:
        for start in range(0, len(sentence), room):
            piece = sentence[start : start + room]
            if row and (document != current or len(row) + len(piece) > room):
                yield [cls, *row, sep]
                row = []
            row += piece
            current = document
    if row:
        yield [cls, *row, sep]


def _sentences(
    paths: Sequence[Path], tokenizer: Tokenizer, advance: Advance
) -> Iterator[tuple[Document, list[int]]]:
    """Yield (document, token ids) of every sentence that has tokens."""
    for file, path in enumerate(paths):
        left = paragraphs(path)
        while block := list(islice(left, _PARAGRAPHS_AT_A_TIME)):
            texts = [(n, piece) for n, text, _ in block for piece in split_sentences(text)]
            encodings = tokenizer.encode_batch_fast(
                [piece for _, piece in texts], add_special_tokens=False
            )
            for (document, _), encoding in zip(texts, encodings, strict=True):
                if encoding.ids:
                    yield (file, document), encoding.ids
            advance(sum(size for _, _, size in block))


def _counted(
    sentences: Iterator[tuple[Document, list[int]]], counts: Counter[str], room: int, unknown: int
) -> Iterator[tuple[Document, list[int]]]:
    last: Document | None = None
    for document, sentence in sentences:
        counts["documents"] += document != last
        counts["sentences"] += 1
        counts["cut_sentences"] += len(sentence) > room
        counts["tokens"] += len(sentence)
        counts["unknown"] += sentence.count(unknown)
        last = document
        yield document, sentence
