"""`prepare glue` and `prepare table`: labelled texts and pairs of texts -> records."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from tinybert.strict_json import parse_json

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
    unlabelled: bool = False,
    part: Part | None = None,
) -> Sidecar:
    """Make records of one of `GLUE_TASKS` from its raw files; return the content of records.json.

    The arguments are those of `glue_texts`.

    Raises:
        InputError: A file or the vocabulary cannot be read, or a row does not fit the task.
        UsageError: A name is none, or the output exists and may not be replaced.
    """
    texts = glue_texts(task, inputs, label_names=label_names, unlabelled=unlabelled, part=part)
    return write_task(texts, options)


def glue_texts(
    task: str,
    inputs: Sequence[Path],
    *,
    label_names: Sequence[str] | None,
    unlabelled: bool = False,
    part: Part | None,
) -> TaskTexts:
    """Return the rows of one of `GLUE_TASKS` in its raw files.

    `label_names` are other names for the task's labels, as `LABEL=NAME`; their ids stay.
    `unlabelled` files are test sets, all of which have a header. `part` is the one of the files'
    rows to take.

    Raises:
        UsageError: A name is none.
    """
    facts = GLUE_TASKS[task]
    left_out: Counter[str] = Counter(left_out_rows=0) if facts.damaged else Counter()
    rows = partial(
        read_table,
        format=facts.format,
        wanted=facts.texts if unlabelled else (*facts.texts, facts.label),
        columns=() if unlabelled else facts.columns,
        damaged=left_out if facts.damaged else None,
    )
    names = facts.labels
    if names is not None:
        names = rename_labels(names, _renamings(label_names or ()))
    elif label_names is not None:
        raise UsageError("labels that are numbers have no names", cure="leave out --label-names")
    prepared = PreparedTask(
        name=task,
        label=None if unlabelled else "number" if names is None else "class",
        labels=names,
        columns=_columns(facts.texts, None if unlabelled else facts.label),
    )
    read_examples = _unlabelled if unlabelled else partial(_examples, names=facts.labels)
    return TaskTexts(
        inputs,
        prepared,
        lambda path, advance: read_examples(part_of(rows(path, advance=advance), part, left_out)),
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
    label: str | None,
    label_kind: Literal["class", "number", "classes"],
    labels: Sequence[str] | None,
    labels_from: Path | None,
    input_format: TableFormat | None,
    label_separator: str | None = None,
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
        label_separator=label_separator,
        part=part,
    )
    return write_task(texts, options)


def table_texts(
    inputs: Sequence[Path],
    *,
    text: str,
    text_pair: str | None,
    label: str | None,
    label_kind: Literal["class", "number", "classes"],
    labels: Sequence[str] | None,
    labels_from: Path | None,
    input_format: TableFormat | None,
    label_separator: str | None = None,
    part: Part | None,
) -> TaskTexts:
    """Return the labelled rows of any TSV, CSV or JSON lines.

    `text`, `text_pair` and `label` name columns; without `label`, rows can only be predicted. The
    ids of classes are in the order of `labels`, or of the prepared records `labels_from`; else the
    labels of the input are sorted: by value if all are whole numbers. Rows with any number of
    `classes` have them parted by `label_separator`, or as a JSON list. `part` is the one of the
    files' rows to take.

    Raises:
        InputError: A file cannot be read, or a row does not fit the columns.
        UsageError: The options contradict each other.
    """
    texts = (text,) if text_pair is None else (text, text_pair)
    formats = {path: input_format or _format_by_name(path) for path in inputs}
    if label is None:
        return _unlabelled_texts(inputs, texts, formats, part)
    several = label_kind == "classes"
    if label_separator is not None and not several:
        raise UsageError("--label-separator is for --label-kind classes")
    lists = (label,) if several and label_separator is None else ()

    def rows(path: Path, advance: Advance) -> Iterator[tuple[str, list[str]]]:
        return read_table(path, formats[path], (*texts, label), advance, lists=lists)

    def labels_in(cell: str, where: str) -> list[str]:
        return _labels(cell, label_separator, where) if several else [_label(cell, where)]

    def read_labels() -> set[str]:
        read = (rows(path, lambda size: None) for path in inputs)
        return {
            name for file in read for where, cells in file for name in labels_in(cells[-1], where)
        }

    counts: Counter[str] = Counter(rows_without_labels=0) if several else Counter()
    names = None
    if label_kind != "number":
        names = choose_labels(labels, labels_from, read_labels, sort_labels)
    elif labels is not None or labels_from is not None:
        raise UsageError("labels that are numbers have no names", cure="leave out --labels")
    prepared = PreparedTask(
        name="table", label=label_kind, labels=names, columns=_columns(texts, label)
    )
    return TaskTexts(
        inputs,
        prepared,
        lambda path, advance: _examples(
            part_of(rows(path, advance), part, counts), names, labels_in if several else None
        ),
        counts,
    )


def _unlabelled_texts(
    inputs: Sequence[Path],
    texts: Sequence[str],
    formats: Mapping[Path, TableFormat],
    part: Part | None,
) -> TaskTexts:
    """Return the texts of tables alone."""
    counts: Counter[str] = Counter()

    def read(path: Path, advance: Advance) -> Iterator[Example]:
        rows = read_table(path, formats[path], texts, advance)
        return _unlabelled(part_of(rows, part, counts))

    prepared = PreparedTask(name="table", label=None, labels=None, columns=_columns(texts, None))
    return TaskTexts(inputs, prepared, read, counts)


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


def _unlabelled(rows: Iterable[tuple[str, list[str]]]) -> Iterator[Example]:
    return (Example(where, texts, None) for where, texts in rows)


def _examples(
    rows: Iterable[tuple[str, list[str]]],
    names: Sequence[str] | None,
    labels_in: Callable[[str, str], list[str]] | None = None,
) -> Iterator[Example]:
    """Yield the examples of rows; `labels_in` reads a cell and its place if it has many labels."""
    ids = None if names is None else label_ids(names)
    for where, (*texts, cell) in rows:
        if labels_in is not None and ids is not None:
            labels = labels_in(cell, where)
            for unknown in labels:
                if unknown not in ids:
                    raise unknown_label(unknown, ids, where)
            yield Example(where, texts, frozenset(ids[name] for name in labels))
            continue
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


def _labels(cell: str, separator: str | None, where: str) -> list[str]:
    """Return the labels in a cell, parted by a separator, or a JSON list without one."""
    if separator is not None:
        parts = [part.strip(BLANKS) for part in cell.split(separator)]
        return [part for part in parts if part]
    try:
        names = parse_json(cell)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(name and isinstance(name, str) for name in names):
        cure = "name what parts the labels, such as --label-separator ,"
        raise InputError("the labels are no JSON list of texts", where=where, cure=cure)
    return names


def _number(label: str, where: str) -> float:
    number = float(label) if _NUMBER.fullmatch(label) else math.nan
    if not math.isfinite(number):
        raise InputError(f"label `{label}` is no finite number", where=where)
    return number


def _columns(texts: Sequence[str], label: str | None) -> dict[str, str]:
    columns = dict(zip(("text", "text_pair"), texts, strict=False))
    return columns if label is None else columns | {"label": label}


def _format_by_name(path: Path) -> TableFormat:
    if path.suffix not in _FORMATS:
        raise UsageError(
            "the name does not say whether this is TSV, CSV or JSON lines",
            where=str(path),
            cure="name it with --input-format",
        )
    return _FORMATS[path.suffix]
