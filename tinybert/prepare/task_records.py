"""What every `prepare` of a task shares: options, progress, records and records.json."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from tinybert.atomic import atomic_directory
from tinybert.data.labels import IGNORED
from tinybert.data.rows import LabelArray, LabelKind, RowFormat
from tinybert.data.sidecar import NAME, PreparedTask, RecordedVocabulary, Sidecar
from tinybert.data.source import DatasetType
from tinybert.errors import InputError, UsageError
from tinybert.files import writing
from tinybert.metrics.entities import find_entities
from tinybert.prepare.corpus import check_output
from tinybert.prepare.encode import Encoder, Example, TaskRow
from tinybert.prepare.reading import Advance
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary
from tinybert.prepare.writer import Block, write_rows

_MIN_SEQ_LENGTH = 5
_SEGMENTS = 2


@dataclass(frozen=True)
class PrepareOptions:
    """What every `prepare` of a task is told."""

    vocab: Path
    """The vocab.txt."""
    output: Path
    """The directory, whole or absent afterwards."""
    seq_length: int
    """Tokens a row (S), at least 5."""
    format: DatasetType
    """Format of the record files."""
    lowercase: bool
    """Lower-case the text, and strip accents."""
    rows_per_file: int
    """Most rows in a file."""
    force: bool
    """Replace `output`, if it is a directory that `prepare` made."""


def write_task(
    inputs: Sequence[Path],
    options: PrepareOptions,
    task: PreparedTask,
    read: Callable[[Path, Advance], Iterator[Example]],
    counts: Counter[str] | None = None,
    *,
    allow_empty: bool = False,
) -> Sidecar:
    """Make a directory of records, with records.json and, for TFRecord, schema.json.

    Args:
        inputs: Files to read, in their order.
        options: Vocabulary, output and so on.
        task: What records.json says about the task, without counts of labels.
        read: Yields the examples of a file.
        counts: What `read` counts, for records.json.
        allow_empty: Accept texts without tokens.

    Returns:
        The content of records.json.

    Raises:
        InputError: A file or the vocabulary cannot be read, or holds no row.
        UsageError: `output` exists and may not be replaced, or a number is too small.
    """
    if options.seq_length < _MIN_SEQ_LENGTH or options.rows_per_file < 1:
        raise UsageError(f"seq_length is at least {_MIN_SEQ_LENGTH}, rows_per_file at least 1")
    check_output(options.output, options.force)
    vocabulary = load_vocabulary(options.vocab)
    tokenizer = build_tokenizer(vocabulary, options.lowercase)
    encoder = Encoder(tokenizer, vocabulary, options.seq_length, allow_empty=allow_empty)
    tally = _Tally(task)
    rows = tally.watch(encoder.rows(_examples(inputs, read)))
    row_format = RowFormat(
        options.seq_length, len(vocabulary.ids), _SEGMENTS, True, True, task.label
    )
    recorded = RecordedVocabulary(
        sha256=vocabulary.sha256, tokens=len(vocabulary.ids), lowercase=options.lowercase
    )
    output = options.output
    with writing(output), atomic_directory(output, replace=options.force) as directory:
        files = write_rows(
            directory,
            rows,
            lambda some: to_block(some, options.seq_length, task.label),
            row_format,
            options.format,
            options.rows_per_file,
        )
        if not tally.rows:
            raise InputError("the input holds no rows", where=", ".join(map(str, inputs)))
        programs = ["tokenizers"] + ["mindspore"] * (options.format == "mindrecord")
        sidecar = Sidecar(
            dataset_type=options.format,
            seq_length=options.seq_length,
            rows=tally.rows,
            vocabulary=recorded,
            task=tally.task(),
            counts={**(counts or {}), **tally.counts, **encoder.counts},
            versions={program: version(program) for program in programs},
            files=files,
        )
        (directory / NAME).write_bytes(sidecar.to_bytes())
    return sidecar


def to_block(rows: Sequence[TaskRow], seq_length: int, label: LabelKind) -> Block:
    """Return rows as arrays (rows, length), padded with zeros, and with `IGNORED` token labels."""
    input_ids, input_mask, segment_ids = np.zeros((3, len(rows), seq_length), np.int32)
    width = seq_length if label == "token" else 1
    label_ids: LabelArray = np.full((len(rows), width), IGNORED, np.int32)
    if label == "number":
        label_ids = label_ids.astype(np.float32)
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[index, :length] = row.input_ids
        input_mask[index, :length] = 1
        segment_ids[index, :length] = row.segment_ids
        label_ids[index, : min(length, width)] = row.label
    return {
        "input_ids": input_ids,
        "input_mask": input_mask,
        "segment_ids": segment_ids,
        "label_ids": label_ids,
    }


class _Tally:
    """Counts rows and labels on their way into the records."""

    def __init__(self, task: PreparedTask) -> None:
        self.rows = 0
        self.counts: Counter[str] = Counter(kept_entities=0) if task.label == "token" else Counter()
        self._task = task
        self._labels: Counter[int] = Counter()

    def watch(self, rows: Iterator[TaskRow]) -> Iterator[TaskRow]:
        names = self._task.labels or ()
        for row in rows:
            self.rows += 1
            if isinstance(row.label, list):
                words = [label for label in row.label if label != IGNORED]
                self._labels.update(words)
                self.counts["kept_entities"] += len(find_entities([names[n] for n in words]))
            elif names:
                self._labels[int(row.label)] += 1
            yield row

    def task(self) -> PreparedTask:
        if self._task.labels is None:
            return self._task
        counts = tuple(self._labels[index] for index in range(len(self._task.labels)))
        return self._task.model_copy(update={"label_counts": counts})


def _examples(
    inputs: Sequence[Path], read: Callable[[Path, Advance], Iterator[Example]]
) -> Iterator[Example]:
    """Yield the examples of all files, with a progress bar."""
    console = Console(stderr=True)
    bar = Progress(
        "reading",
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    sizes = [path.stat().st_size for path in inputs if path.is_file()]  # the rest fails when read
    with bar:
        bar_task = bar.add_task("", total=sum(sizes))
        for path in inputs:
            yield from read(path, lambda size: bar.advance(bar_task, size))
