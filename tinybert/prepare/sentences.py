"""`prepare glue` and `prepare table`: labelled texts and pairs of texts -> records."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from tinybert.data.labels import choose_labels, label_ids, rename_labels, unknown_label
from tinybert.data.sidecar import PreparedTask, Sidecar
from tinybert.errors import InputError, UsageError
from tinybert.prepare.encode import Example
from tinybert.prepare.glue import GLUE_TASKS
from tinybert.prepare.reading import BLANKS, Advance, Part, TableFormat, part_of, read_table
from tinybert.prepare.records import PrepareOptions, TaskTexts, write_task

_FORMATS: dict[str, TableFormat] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
}

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def prepare_glue(
    task: str,
    inputs: Sequence[Path],
    options: PrepareOptions,
    *,
    label_names: Sequence[str] | None,
    part: Part | None = None,
) -> Sidecar:
    """Make records of one of `GLUE_TASKS` from its raw files; return the content of records.json.

    The arguments are those of `glue_texts`.

    Raises:
        InputError: A file or the vocabulary cannot be read, or a row does not fit the task.
        UsageError: A name is none, or the output exists and may not be replaced.
    """
    return write_task(glue_texts(task, inputs, label_names=label_names, part=part), options)


def glue_texts(
    task: str, inputs: Sequence[Path], *, label_names: Sequence[str] | None, part: Part | None
) -> TaskTexts:
    """Return the rows of one of `GLUE_TASKS` in its raw files.

    `label_names` are other names for the task's labels, as `LABEL=NAME`; their ids stay. `part` is
    the one of the files' rows to take.

    Raises:
        UsageError: A name is none.
    """
    facts = GLUE_TASKS[task]
    left_out: Counter[str] = Counter(left_out_rows=0) if facts.damaged else Counter()
    rows = partial(
        read_table,
        format=facts.format,
        wanted=(*facts.texts, facts.label),
        columns=facts.columns,
        damaged=left_out if facts.damaged else None,
    )
    names = facts.labels
    if names is not None:
        names = rename_labels(names, _renamings(label_names or ()))
    elif label_names is not None:
        raise UsageError("labels that are numbers have no names", cure="leave out --label-names")
    prepared = PreparedTask(
        name=task,
        label="number" if names is None else "class",
        labels=names,
        columns=_columns(facts.texts, facts.label),
    )
    return TaskTexts(
        inputs,
        prepared,
        lambda path, advance: _examples(
            part_of(rows(path, advance=advance), part, left_out), facts.labels
        ),
        left_out,
        facts.damaged,
    )


def _renamings(texts: Sequence[str]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for text in texts:
        label, _, name = text.partition("=")
        if not (label and name):
            raise UsageError(f"`{text}` is not LABEL=NAME", cure="write for example 1=positive")
        if label in renamed:
            raise UsageError(f"label `{label}` has two names")
        renamed[label] = name
    return renamed


def prepare_table(
    inputs: Sequence[Path],
    options: PrepareOptions,
    *,
    text: str,
    text_pair: str | None,
    label: str,
    label_kind: Literal["class", "number"],
    labels: Sequence[str] | None,
    labels_from: Path | None,
    input_format: TableFormat | None,
    part: Part | None = None,
) -> Sidecar:
    """Make records from any TSV, CSV or JSON lines; return the content of records.json.

    The arguments are those of `table_texts`.

    Raises:
        InputError: A file or the vocabulary cannot be read, or a row does not fit the columns.
        UsageError: The options contradict each other, or the output may not be replaced.
    """
    texts = table_texts(
        inputs,
        text=text,
        text_pair=text_pair,
        label=label,
        label_kind=label_kind,
        labels=labels,
        labels_from=labels_from,
        input_format=input_format,
        part=part,
    )
    return write_task(texts, options)


def table_texts(
    inputs: Sequence[Path],
    *,
    text: str,
    text_pair: str | None,
    label: str,
    label_kind: Literal["class", "number"],
    labels: Sequence[str] | None,
    labels_from: Path | None,
    input_format: TableFormat | None,
    part: Part | None,
) -> TaskTexts:
    """Return the labelled rows of any TSV, CSV or JSON lines.

    `text`, `text_pair` and `label` name columns. The ids of classes are in the order of `labels`,
    or of the prepared records `labels_from`; else the labels of the input are sorted: by value if
    all are whole numbers. `part` is the one of the files' rows to take.

    Raises:
        InputError: A file cannot be read, or a row does not fit the columns.
        UsageError: The options contradict each other.
    """
    texts = (text,) if text_pair is None else (text, text_pair)
    formats = {path: input_format or _format_by_name(path) for path in inputs}

    def rows(path: Path, advance: Advance) -> Iterator[tuple[str, list[str]]]:
        return read_table(path, formats[path], (*texts, label), advance)

    def read_labels() -> set[str]:
        read = (rows(path, lambda size: None) for path in inputs)
        return {_label(cells[-1], where) for file in read for where, cells in file}

    counts: Counter[str] = Counter()
    names = None
    if label_kind == "class":
        names = choose_labels(labels, labels_from, read_labels, sort_labels)
    elif labels is not None or labels_from is not None:
        raise UsageError("labels that are numbers have no names", cure="leave out --labels")
    prepared = PreparedTask(
        name="table", label=label_kind, labels=names, columns=_columns(texts, label)
    )
    return TaskTexts(
        inputs,
        prepared,
        lambda path, advance: _examples(part_of(rows(path, advance), part, counts), names),
        counts,
    )


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Sort label names: by value if all are whole numbers, otherwise by code points.

    Raises:
        InputError: Two of them are the same number.
    """
    names = sorted(labels)
    numbers: dict[float, str] = {}
    for name in filter(_NUMBER.fullmatch, names):
        if (same := numbers.setdefault(float(name), name)) != name:
            raise InputError(
                f"labels `{same}` and `{name}` are the same number",
                cure="write it in one way, or name the labels with --labels",
            )
    if all(name.removeprefix("-").isdecimal() and name.isascii() for name in names):
        names.sort(key=int)
    return names


def _examples(
    rows: Iterable[tuple[str, list[str]]], names: Sequence[str] | None
) -> Iterator[Example]:
    ids = None if names is None else label_ids(names)
    for where, (*texts, cell) in rows:
        label = _label(cell, where)
        if ids is None:
            yield Example(where, texts, _number(label, where))
        elif label in ids:
            yield Example(where, texts, ids[label])
        else:
            raise unknown_label(label, ids, where)


def _label(cell: str, where: str) -> str:
    label = cell.strip(BLANKS)
    if not label:
        raise InputError("the label is empty", where=where)
    return label


def _number(label: str, where: str) -> float:
    number = float(label) if _NUMBER.fullmatch(label) else math.nan
    if not math.isfinite(number):
        raise InputError(f"label `{label}` is no finite number", where=where)
    return number


def _columns(texts: Sequence[str], label: str) -> dict[str, str]:
    return dict(zip(("text", "text_pair"), texts, strict=False)) | {"label": label}


def _format_by_name(path: Path) -> TableFormat:
    if path.suffix not in _FORMATS:
        raise UsageError(
            "the name does not say whether this is TSV, CSV or JSON lines",
            where=str(path),
            cure="name it with --input-format",
        )
    return _FORMATS[path.suffix]
