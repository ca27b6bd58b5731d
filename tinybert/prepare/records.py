"""What every kind of `prepare` shares: options, progress, and a directory with records.json."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from tinybert.atomic import atomic_directory
from tinybert.data.labels import IGNORED
from tinybert.data.rows import RowFormat
from tinybert.data.sidecar import (
    NAME,
    VOCABULARY,
    PreparedAugmentation,
    PreparedPairs,
    PreparedTask,
    PreparedWindows,
    RecordedVocabulary,
    Sidecar,
    SidecarFile,
    TokenizerOptions,
)
from tinybert.data.source import DatasetType
from tinybert.errors import InputError, UsageError
from tinybert.files import writing
from tinybert.metrics.entities import find_entities
from tinybert.prepare.encode import EncodedRow, Encoder, Example
from tinybert.prepare.reading import Advance, ignore_advance
from tinybert.prepare.tokenizer_files import TOKENIZER_CONFIG, read_tokenizer
from tinybert.prepare.vocabulary import Vocabulary, build_tokenizer, load_vocabulary
from tinybert.prepare.writer import listed_file, write_rows

MIN_SEQ_LENGTH = 5
"""Of labelled rows: three special tokens, and a token of each text."""
_SEGMENTS = 2


@dataclass(frozen=True)
class PrepareOptions:
    """The options of every `prepare` that makes records."""

    vocab: Path
    """The vocab.txt, or a tokenizer.json."""
    output: Path
    """The directory, whole or absent afterwards."""
    seq_length: int
    """Tokens a row (S)."""
    format: DatasetType
    """Format of the record files."""
    lowercase: bool | None
    """Lower-case the text; None: as the tokenizer_config.json beside the vocabulary, else false."""
    strip_accents: bool | None
    """Remove accents; None: as that file, else as `lowercase`."""
    tokenize_chinese_chars: bool | None
    """Let every Chinese character be a word; None: as that file, else true."""
    rows_per_file: int
    """Most rows in a file."""
    force: bool
    """Replace `output`, if it is a directory that `prepare` made."""

    @cached_property
    def tokenizer(self) -> TokenizerOptions:
        """The tokenizer's options.

        Raises:
            InputError: A tokenizer file beside the vocabulary is damaged, or of another tokenizer.
            UsageError: An option contradicts it.
        """
        stated = read_tokenizer(self.vocab.parent).options
        if stated is None:
            return TokenizerOptions.resolve(
                bool(self.lowercase), self.strip_accents, self.tokenize_chinese_chars
            )
        for field in fields(stated):
            chosen = getattr(self, field.name)
            if chosen not in (None, getattr(stated, field.name)):
                raise UsageError(
                    f"{TOKENIZER_CONFIG} beside the vocabulary has other options: {stated}",
                    where=str(self.vocab.parent / TOKENIZER_CONFIG),
                    cure="leave them out, or name a vocabulary without that file",
                )
        return stated

    def case_is_missing(self) -> bool:
        """Return whether the case is stated nowhere, and the vocabulary has no capitals."""
        unstated = self.lowercase is None and read_tokenizer(self.vocab.parent).options is None
        return unstated and load_vocabulary(self.vocab).lacks_capitals

    def check(self, min_seq_length: int) -> None:
        """Refuse a number that is too small, and an output that may not be replaced.

        Raises:
            UsageError: A number is too small; `output` exists without `force`, or was not made by
                `prepare`.
        """
        if self.seq_length < min_seq_length or self.rows_per_file < 1:
            raise UsageError(f"seq_length is at least {min_seq_length}, rows_per_file at least 1")
        if not self.output.exists():
            return
        if not self.force:
            raise UsageError(
                "the output exists",
                where=str(self.output),
                cure="name another, or replace it with --force",
            )
        ours = self.output.is_dir() and (self.output / NAME).is_file()
        if not ours and not (self.output.is_dir() and not any(self.output.iterdir())):
            raise UsageError(
                f"the output was not made by `prepare` (it holds no {NAME}), and is not replaced",
                where=str(self.output),
                cure="name another, or remove it yourself",
            )


@dataclass(frozen=True)
class TaskTexts:
    """The labelled rows of raw files."""

    inputs: Sequence[Path]
    """The files."""
    task: PreparedTask
    """What the labels mean, without their counts."""
    read: Callable[[Path, Advance], Iterator[Example]]
    """Yields the examples of a file."""
    counts: Counter[str]
    """What `read` counts."""
    allow_empty: bool = False
    """Whether texts without tokens are no errors."""

    def examples(self, advance: Advance = ignore_advance) -> Iterator[Example]:
        """Yield the examples of all files.

        Raises:
            InputError: A file cannot be read, or a row does not fit the task.
        """
        return (example for path in self.inputs for example in self.read(path, advance))


@dataclass(frozen=True)
class Augmentation:
    """What makes more rows of the rows of a task."""

    expand: Callable[[Iterable[Example]], Iterator[Example]]
    """Yields examples, each followed by those that are made of it."""
    table: Path
    """The file that `expand` writes, which is then moved to the records."""
    facts: PreparedAugmentation

    def move_table(self, directory: Path) -> list[Path]:
        """Move the table into the directory of the records; returns where it is."""
        return [self.table.replace(directory / self.facts.table)]


def write_task(
    texts: TaskTexts, options: PrepareOptions, augmentation: Augmentation | None = None
) -> Sidecar:
    """Make a directory of labelled records; return the content of records.json.

    Raises:
        InputError: A file or the vocabulary cannot be read, or holds no row.
        UsageError: `output` exists and may not be replaced, or a number is too small.
    """
    options.check(MIN_SEQ_LENGTH)
    vocabulary = load_vocabulary(options.vocab)
    tokenizer = build_tokenizer(vocabulary, options.tokenizer)
    counts = texts.counts
    if texts.task.label == "token":
        counts["kept_entities"] = 0
    encoder = Encoder(
        tokenizer, vocabulary, options.seq_length, counts, allow_empty=texts.allow_empty
    )
    with progress(texts.inputs) as advance:
        examples = texts.examples(advance)
        if augmentation is not None:
            examples = augmentation.expand(examples)
        content = RecordContent(
            inputs=texts.inputs,
            rows=encoder.rows(examples),
            vocabulary=vocabulary,
            counts=counts,
            task=texts.task,
            augmentation=None if augmentation is None else augmentation.facts,
            write_beside=None if augmentation is None else augmentation.move_table,
        )
        return write_directory(content, options)


@dataclass(frozen=True)
class RecordContent:
    """What a directory of records is made of, beside the options."""

    inputs: Sequence[Path | str]
    """The raw files, as the user named them."""
    rows: Iterator[EncodedRow]
    vocabulary: Vocabulary
    counts: Counter[str]
    """What was counted of the inputs; complete when `rows` end."""
    task: PreparedTask | None = None
    """What the labels mean, without their counts."""
    pairs: PreparedPairs | None = None
    windows: PreparedWindows | None = None
    augmentation: PreparedAugmentation | None = None
    write_beside: Callable[[Path], Sequence[Path]] | None = None
    """Writes more files into the directory when `rows` have ended, and returns them."""

    def row_format(self, seq_length: int) -> RowFormat:
        """Return the format of the rows; rows that are shorter are padded to `seq_length` (S)."""
        label = None if self.task is None else self.task.label
        classes = None if self.task is None or self.task.labels is None else len(self.task.labels)
        return RowFormat(
            seq_length=seq_length,
            vocab_size=len(self.vocabulary.ids),
            type_vocab_size=_SEGMENTS,
            input_mask_from_dataset=True,
            token_type_ids_from_dataset=True,
            label=label,
            num_labels=classes if label == "classes" else None,
        )


def write_directory(content: RecordContent, options: PrepareOptions) -> Sidecar:
    """Make a directory of records, their schema, vocabulary, and records.json, which is returned.

    Raises:
        InputError: There is no row, or the directory cannot be written.
    """
    task, rows, label_counts = content.task, content.rows, Counter[int]()
    if task is not None and task.labels is not None and task.label is not None:
        rows = _with_counts(rows, task.labels, label_counts, content.counts)
    output, row_format = options.output, content.row_format(options.seq_length)
    with writing(output), atomic_directory(output, replace=options.force) as directory:
        files = write_rows(directory, rows, row_format, options.format, options.rows_per_file)
        if not any(file.rows for file in files):
            what, where = "text" if task is None else "rows", ", ".join(map(str, content.inputs))
            raise InputError(f"the input holds no {what}", where=where)
        if content.write_beside is not None:
            files += tuple(listed_file(path, None) for path in content.write_beside(directory))
        sidecar = _sidecar(content, options, files, label_counts)
        (directory / VOCABULARY).write_bytes(content.vocabulary.encode())
        (directory / NAME).write_bytes(sidecar.to_bytes())
    return sidecar


def _sidecar(
    content: RecordContent,
    options: PrepareOptions,
    files: tuple[SidecarFile, ...],
    label_counts: Counter[int],
) -> Sidecar:
    """Return the content of records.json."""
    task, vocabulary, augmentation = content.task, content.vocabulary, content.augmentation
    if task is not None and task.labels is not None and task.label is not None:
        counts = tuple(label_counts[index] for index in range(len(task.labels)))
        task = task.model_copy(update={"label_counts": counts})
    programs = ["tokenizers"]
    predicted = augmentation is not None and augmentation.one_piece_words == "masked_lm"
    if predicted or options.format == "mindrecord":
        programs.append("mindspore")
    return Sidecar(
        dataset_type=options.format,
        seq_length=options.seq_length,
        rows=sum(file.rows or 0 for file in files),
        vocabulary=RecordedVocabulary.of(vocabulary.sha256, len(vocabulary.ids), options.tokenizer),
        task=task,
        pairs=content.pairs,
        augmentation=augmentation,
        windows=content.windows,
        counts=dict(content.counts),
        versions={program: version(program) for program in programs},
        files=files,
    )


def _with_counts(
    rows: Iterator[EncodedRow], names: Sequence[str], labels: Counter[int], counts: Counter[str]
) -> Iterator[EncodedRow]:
    """Yield rows, and count their labels and the entities that truncation left."""
    for row in rows:
        if isinstance(row.label, list):
            words = [label for label in row.label if label != IGNORED]
            labels.update(words)
            counts["kept_entities"] += len(find_entities([names[word] for word in words]))
        elif isinstance(row.label, frozenset):
            labels.update(row.label)
            counts["rows_without_labels"] += not row.label
        elif isinstance(row.label, int | float):
            labels[int(row.label)] += 1
        yield row


@contextmanager
def progress(paths: Sequence[Path]) -> Iterator[Advance]:
    """Show a progress bar on a terminal; yields what takes the number of bytes read."""
    console = Console(stderr=True)
    bar = Progress(
        "reading",
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    sizes = [path.stat().st_size for path in paths if path.is_file()]  # the rest fails when read
    with bar:
        task = bar.add_task("", total=sum(sizes))
        yield (lambda size: bar.advance(task, size)) if console.is_terminal else ignore_advance
