"""`prepare glue` and `prepare table`: labelled texts and pairs of texts -> records."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from tinybert.data.labels import choose_labels, label_ids, rename_labels, unknown_label
from tinybert.data.sidecar import PreparedTask
from tinybert.errors import InputError, UsageError
from tinybert.prepare.encode import Example, ExampleLabel
from tinybert.prepare.glue import GLUE_TASKS
from tinybert.prepare.reading import (
    BLANKS,
    Advance,
    Part,
    TableFormat,
    ignore_advance,
    part_of,
    read_table,
)
from tinybert.prepare.records import TaskTexts
from tinybert.strict_json import parse_json

_FORMATS: dict[str, TableFormat] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
}

TableRow = tuple[str, list[str]]
"""The place of a row, and its cells."""
LabelReader = Callable[[str, str], ExampleLabel]
"""Returns the label in a cell, which is at this place."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def glue_texts(
    task: str,
    inputs: Sequence[Path],
    *,
    label_names: Sequence[str] | None,
    unlabelled: bool = False,
    part: Part | None = None,
) -> TaskTexts:
    """Return the rows of one of `GLUE_TASKS` in its raw files.

    `label_names` are other names for the task's labels, as `LABEL=NAME`; their ids stay.
    `unlabelled` files are test sets, all of which have a header. `part` is the one of the files'
    rows to take.

    Raises:
        UsageError: A name is not `LABEL=NAME`, or the labels are numbers.
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

    def read(path: Path, advance: Advance) -> Iterator[Example]:
        taken = part_of(rows(path, advance=advance), part, left_out)
        return _unlabelled(taken) if unlabelled else _examples(taken, _label_reader(facts.labels))

    return TaskTexts(inputs, prepared, read, left_out, facts.damaged)


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


@dataclass(frozen=True)
class TableOptions:
    """How tables are read: TSV, CSV or JSON lines."""

    text: str
    """Column of the text."""
    text_pair: str | None
    """Column of the second text; None: rows have one text."""
    label: str | None
    """Column of the label; None: the rows can only be predicted."""
    label_kind: Literal["class", "number", "classes"]
    """What a label is: a class, a number, or any number of classes."""
    label_separator: str | None
    """Separates the `classes` of a row; None: they are a JSON list."""
    labels: Sequence[str] | None
    """Label names in the order of their ids."""
    labels_from: Path | None
    """Prepared records with the same label order; without both, the labels found are sorted."""
    input_format: TableFormat | None
    """None: as the ending of each file's name says."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns of the text, or of both texts of a pair."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    def label_names(self, cell: str, where: str) -> list[str]:
        """Return the names in a cell of the label column: one, or any number of `classes`.

        Raises:
            InputError: The cell is empty, or is no list.
        """
        if self.label_kind == "classes":
            return _labels(cell, self.label_separator, where)
        return [_label(cell, where)]


def table_texts(
    inputs: Sequence[Path], table: TableOptions, *, part: Part | None = None
) -> TaskTexts:
    """Return the rows of tables; `part` is the one of the files' rows to take.

    Raises:
        InputError: A file cannot be read, or a row does not fit the columns.
        UsageError: The options contradict each other.
    """
    formats = {path: table.input_format or _format_by_name(path) for path in inputs}
    several = table.label is not None and table.label_kind == "classes"
    if table.label is not None and table.label_separator is not None and not several:
        raise UsageError("--label-separator is for --label-kind classes")

    def rows(path: Path, advance: Advance = ignore_advance) -> Iterator[TableRow]:
        label = [] if table.label is None else [table.label]
        lists = label if several and table.label_separator is None else []
        return read_table(path, formats[path], [*table.texts, *label], advance, lists=lists)

    counts: Counter[str] = Counter(rows_without_labels=0) if several else Counter()
    names = _table_labels(table, chain.from_iterable(map(rows, inputs)))
    prepared = PreparedTask(
        name="table",
        label=None if table.label is None else table.label_kind,
        labels=names,
        columns=_columns(table.texts, table.label),
    )

    def read(path: Path, advance: Advance) -> Iterator[Example]:
        taken = part_of(rows(path, advance), part, counts)
        if table.label is None:
            return _unlabelled(taken)
        return _examples(taken, _label_reader(names, table.label_names if several else None))

    return TaskTexts(inputs, prepared, read, counts)


def _table_labels(table: TableOptions, rows: Iterable[TableRow]) -> tuple[str, ...] | None:
    """Return the label names of a table in the order of their ids; None: it has no classes."""
    if table.label is None:
        return None
    if table.label_kind == "number":
        if table.labels is not None or table.labels_from is not None:
            raise UsageError("labels that are numbers have no names", cure="leave out --labels")
        return None

    def names_in_rows() -> set[str]:
        return {name for where, cells in rows for name in table.label_names(cells[-1], where)}

    return choose_labels(table.labels, table.labels_from, names_in_rows, sort_labels)


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


def _unlabelled(rows: Iterable[TableRow]) -> Iterator[Example]:
    return (Example(where, texts, None) for where, texts in rows)


def _examples(rows: Iterable[TableRow], read_label: LabelReader) -> Iterator[Example]:
    """Yield the examples of rows, whose last cell is the label."""
    for where, (*texts, cell) in rows:
        yield Example(where, texts, read_label(cell, where))


def _label_reader(
    names: Sequence[str] | None, split: Callable[[str, str], list[str]] | None = None
) -> LabelReader:
    """Return what reads a label's cell: a number without `names`, otherwise the id of a class.

    Where `split` returns the names in a cell and its place, it is a set of classes.
    """
    if names is None:
        return _number
    ids = label_ids(names)

    def id_of(name: str, where: str) -> int:
        if name not in ids:
            raise unknown_label(name, ids, where)
        return ids[name]

    if split is None:
        return lambda cell, where: id_of(_label(cell, where), where)
    return lambda cell, where: frozenset(id_of(name, where) for name in split(cell, where))


def _label(cell: str, where: str) -> str:
    label = cell.strip(BLANKS)
    if not label:
        raise InputError("the label is empty", where=where)
    return label


def _labels(cell: str, separator: str | None, where: str) -> list[str]:
    """Return the labels in a cell: separated, or as a JSON list without a separator."""
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


def _number(cell: str, where: str) -> float:
    label = _label(cell, where)
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
