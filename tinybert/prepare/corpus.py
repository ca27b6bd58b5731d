"""`prepare corpus`: text files and a vocabulary -> records for general distillation.

Sentences are packed in document order: a row is [CLS], as many whole sentences of one document
as fit, [SEP]. A sentence that does not fit opens a new row, and so does every document. One of
more than S - 2 tokens is cut into pieces of S - 2, the last of which is packed like a sentence.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from tokenizers import Tokenizer

from tinybert.atomic import atomic_directory
from tinybert.data.rows import RowFormat
from tinybert.data.sidecar import NAME, RecordedVocabulary, Sidecar
from tinybert.data.source import DatasetType
from tinybert.errors import InputError, UsageError
from tinybert.files import writing
from tinybert.prepare.text import find_texts, paragraphs, split_sentences
from tinybert.prepare.vocabulary import CLS, SEP, UNK, build_tokenizer, load_vocabulary
from tinybert.prepare.writer import write_token_rows

_PARAGRAPHS_AT_A_TIME = 2048
_MIN_SEQ_LENGTH = 3

Document = tuple[int, int]


def prepare_corpus(
    inputs: Sequence[str],
    vocab: Path,
    output: Path,
    seq_length: int,
    *,
    format: DatasetType,
    lowercase: bool,
    rows_per_file: int,
    force: bool,
) -> Sidecar:
    """Make a directory of records, with records.json and, for TFRecord, schema.json.

    Args:
        inputs: Text files, directories and globs; `text.py` says how they are read.
        vocab: The vocab.txt.
        output: The directory, whole or absent afterwards.
        seq_length: Tokens a row (S), at least 3.
        format: Format of the record files.
        lowercase: Lower-case the text, and strip accents.
        rows_per_file: Most rows in a file.
        force: Replace `output`, if it is a directory that `prepare` made.

    Returns:
        The content of records.json.

    Raises:
        InputError: A text or the vocabulary cannot be read, or there is no text.
        UsageError: `output` exists and may not be replaced, or a number is too small.
    """
    if seq_length < _MIN_SEQ_LENGTH or rows_per_file < 1:
        raise UsageError(f"seq_length is at least {_MIN_SEQ_LENGTH}, rows_per_file at least 1")
    check_output(output, force)
    vocabulary = load_vocabulary(vocab)
    row_format = RowFormat(seq_length, len(vocabulary.ids), 1, True, True)
    counts: Counter[str] = Counter(documents=0, sentences=0, cut_sentences=0, tokens=0, unknown=0)
    sentences = _sentences(find_texts(inputs), build_tokenizer(vocabulary, lowercase))
    counted = _counted(sentences, counts, seq_length - 2, vocabulary.ids[UNK])
    rows = pack(counted, seq_length, vocabulary.ids[CLS], vocabulary.ids[SEP])
    with writing(output), atomic_directory(output, replace=force) as directory:
        files = write_token_rows(directory, rows, row_format, format, rows_per_file)
        if not counts["tokens"]:
            raise InputError("the input holds no text", where=", ".join(inputs))
        versions = {"tokenizers": version("tokenizers")}
        if format == "mindrecord":
            versions["mindspore"] = version("mindspore")
        sidecar = Sidecar(
            dataset_type=format,
            seq_length=seq_length,
            rows=sum(file.rows or 0 for file in files),
            vocabulary=RecordedVocabulary(
                sha256=vocabulary.sha256, tokens=len(vocabulary.ids), lowercase=lowercase
            ),
            counts=dict(counts),
            versions=versions,
            files=files,
        )
        (directory / NAME).write_bytes(sidecar.to_bytes())
    return sidecar


def check_output(output: Path, force: bool) -> None:
    """Refuse to write where something is that may not be replaced.

    Raises:
        UsageError: `output` exists without `force`, or was not made by `prepare`.
    """
    if not output.exists():
        return
    if not force:
        raise UsageError(
            "the output exists", where=str(output), cure="name another, or replace it with --force"
        )
    if not output.is_dir() or (any(output.iterdir()) and not (output / NAME).is_file()):
        raise UsageError(
            f"the output was not made by `prepare` (it holds no {NAME}), and is not replaced",
            where=str(output),
            cure="name another, or remove it yourself",
        )


def pack(
    sentences: Iterator[tuple[Document, list[int]]], seq_length: int, cls: int, sep: int
) -> Iterator[list[int]]:
    """Pack sentences into rows, as the top of this module says.

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


def _sentences(paths: Sequence[Path], tokenizer: Tokenizer) -> Iterator[tuple[Document, list[int]]]:
    """Yield (document, token ids) of every sentence that has tokens, with a progress bar."""
    console = Console(stderr=True)
    bar = Progress(
        "reading",
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=sum(path.stat().st_size for path in paths))
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
                bar.advance(task, sum(size for _, _, size in block))


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
