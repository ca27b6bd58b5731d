"""`prepare corpus`: text files and a vocabulary -> records for general distillation.

Rows hold two segments, as `pairs.py` makes them, or a single one: then sentences are packed in
document order. A row is [CLS], as many whole sentences of one document as fit, [SEP]. A sentence
that does not fit opens a new row, and so does every document. One of more than S - 2 tokens is cut
into pieces of S - 2, the last of which is packed like a sentence.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

from tokenizers import Tokenizer

from tinybert.data.sidecar import PreparedPairs, Sidecar
from tinybert.prepare.encode import EncodedRow
from tinybert.prepare.pairs import RECENT, SHORT, pair_rows
from tinybert.prepare.reading import Advance
from tinybert.prepare.records import PrepareOptions, RecordContent, progress, write_directory
from tinybert.prepare.text import TextFormat, find_texts, paragraphs, split_sentences
from tinybert.prepare.vocabulary import CLS, SEP, UNK, build_tokenizer, load_vocabulary

_PARAGRAPHS_AT_A_TIME = 2048

Place = tuple[int, int]
"""File and document in it, counted from 0."""


def prepare_corpus(
    inputs: Sequence[str],
    options: PrepareOptions,
    *,
    input_format: TextFormat | None,
    single_segments: bool,
    seed: int,
) -> Sidecar:
    """Make a directory of records without labels; return the content of records.json.

    `inputs` are text files, directories and globs; `text.py` states how they are read. A row has at
    least 3 tokens, or 5 where it has two segments, which are drawn from `seed`.

    Raises:
        InputError: A text or the vocabulary cannot be read, or there is no text.
        UsageError: `output` exists and may not be replaced, or a number is too small.
    """
    options.check(3 if single_segments else 5)
    vocabulary = load_vocabulary(options.vocab)
    tokenizer = build_tokenizer(vocabulary, options.tokenizer)
    cls, sep, unknown = (vocabulary.ids[token] for token in (CLS, SEP, UNK))
    paths = find_texts(inputs)
    names = ("documents", "sentences", *["cut_sentences"] * single_segments, "tokens", "unknown")
    counts = Counter(dict.fromkeys(names, 0))
    rows: Iterator[EncodedRow]
    with progress(paths) as advance:
        sentences = _counted(_sentences(paths, input_format, tokenizer, advance), counts, unknown)
        pairs = None
        if single_segments:
            packed = pack(sentences, options.seq_length, cls, sep, counts)
            rows = (EncodedRow(row, [0] * len(row)) for row in packed)
        else:
            documents = (
                [sentence for _, sentence in group]
                for _, group in groupby(sentences, key=lambda item: item[0])
            )
            rows = pair_rows(documents, options.seq_length, cls, sep, seed, counts)
            pairs = PreparedPairs(seed=seed, short_documents=SHORT, recent_documents=RECENT)
        content = RecordContent(inputs, rows, vocabulary, counts, pairs=pairs)
        return write_directory(content, options)


def pack(
    sentences: Iterator[tuple[Place, list[int]]],
    seq_length: int,
    cls: int,
    sep: int,
    counts: Counter[str],
) -> Iterator[list[int]]:
    """Yield rows of at most `seq_length` token ids (S), as the top of this module states.

    Sentences are (document, token ids) in document order, none of them empty. Those that are cut
    are counted (`cut_sentences`).
    """
    room = seq_length - 2
    row: list[int] = []
    current: Place | None = None
    for document, sentence in sentences:
        counts["cut_sentences"] += len(sentence) > room
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
    paths: Sequence[Path], input_format: TextFormat | None, tokenizer: Tokenizer, advance: Advance
) -> Iterator[tuple[Place, list[int]]]:
    """Yield (document, token ids) of every sentence that has tokens."""
    for file, path in enumerate(paths):
        left = paragraphs(path, input_format, advance)
        while block := list(islice(left, _PARAGRAPHS_AT_A_TIME)):
            texts = [(n, piece) for n, text in block for piece in split_sentences(text)]
            encodings = tokenizer.encode_batch_fast(
                [piece for _, piece in texts], add_special_tokens=False
            )
            for (document, _), encoding in zip(texts, encodings, strict=True):
                if encoding.ids:
                    yield (file, document), encoding.ids


def _counted(
    sentences: Iterator[tuple[Place, list[int]]], counts: Counter[str], unknown: int
) -> Iterator[tuple[Place, list[int]]]:
    last: Place | None = None
    for document, sentence in sentences:
        counts["documents"] += document != last
        counts["sentences"] += 1
        counts["tokens"] += len(sentence)
        counts["unknown"] += sentence.count(unknown)
        last = document
        yield document, sentence
