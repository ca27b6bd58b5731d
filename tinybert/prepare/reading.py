"""Raw files: lines, and tables in TSV, CSV and JSON lines.

Every format is UTF-8, with or without a byte order mark. A line ends at a line feed, or at a
carriage return and a line feed. White space that is not ASCII is text.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import rfc8785

from tinybert.errors import InputError, quoted
from tinybert.files import compression, open_file
from tinybert.strict_json import parse_json

TableFormat = Literal["tsv", "csv", "jsonl"]
Part = Literal["train", "dev"]
"""Parts of a file without a dev set beside it: one of `HELD_OUT` items is the dev set's."""
HELD_OUT = 10
Item = TypeVar("Item")
BLANKS = " \t\r"
"""White space within a line."""
Advance = Callable[[int], object]
"""Called with the number of bytes read."""


def ignore_advance(size: int) -> None:
    """Ignore how many bytes were read."""


def read_lines(path: Path, advance: Advance = ignore_advance) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of every line, without its end and without a byte order mark.

    Only a line feed ends a line.

    Raises:
        InputError: The file cannot be read, or is not UTF-8.
    """
    number = 0
    try:
        with open_file(path) as file:
            for number, line in enumerate(file, start=1):
                advance(len(line))
                text = line.decode().removesuffix("\n").removesuffix("\r")
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        where = f"{path}:{number}"
        program = compression(line) if number == 1 else None
        if program is not None:
            message = f"the file is compressed with {program}"
            raise InputError(message, where=where, cure="unpack it") from error
        cure = "convert the file, for example with iconv"
        raise InputError("the line is not UTF-8", where=where, cure=cure) from error


def part_of(items: Iterable[Item], part: Part | None, counts: Counter[str]) -> Iterator[Item]:
    """Yield every tenth item of a file, the first included, as `dev`; the others as `train`.

    Those of the other part are counted, under `rows_of_other_part`. Without a part, all are.
    """
    for index, item in enumerate(items):
        if part in (None, "dev" if index % HELD_OUT == 0 else "train"):
            yield item
        else:
            counts["rows_of_other_part"] += 1


def read_objects(
    path: Path, advance: Advance = ignore_advance
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, object) of every line of a JSON lines file; blank lines are left out.

    Raises:
        InputError: A line is no JSON object.
    """
    for number, text in read_lines(path, advance):
        if not text.strip(BLANKS):
            continue
        where = f"{path}:{number}"
        try:
            value = parse_json(text)
        except ValueError as error:
            raise InputError(f"the line is not JSON: {error}", where=where) from error
        if not isinstance(value, dict):
            raise InputError("the line is no JSON object", where=where)
        yield where, value


def read_table(
    path: Path,
    format: TableFormat,
    wanted: Sequence[str],
    advance: Advance = ignore_advance,
    *,
    columns: Sequence[str] = (),
    damaged: Counter[str] | None = None,
    lists: Container[str] = (),
) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, cells of the wanted columns) of every row.

    TSV is read with quoting off: a `"` is a character like any other. CSV cells may be quoted,
    and hold line ends. Empty lines are left out.

    `columns` are those of a file without a header. Rows with another number of columns are errors,
    unless they are to be counted in `damaged`, under `left_out_rows`. Columns in `lists` may hold a
    list in JSON lines; its cell is then the list as JSON.

    Raises:
        InputError: A column is missing, or a row does not have the format.
    """
    if format == "jsonl":
        for where, value in read_objects(path, advance):
            yield where, [_text(value, name, where, name in lists) for name in wanted]
        return
    rows = _tsv(path, advance) if format == "tsv" else _csv(path, advance)
    header = list(columns) or next(rows, (1, []))[1]
    places = [_place(header, name, path) for name in wanted]
    for number, cells in rows:
        where = f"{path}:{number}"
        if len(cells) == len(header):
            yield where, [cells[place] for place in places]
        elif damaged is None:
            raise InputError(f"the row has {len(cells)} columns, not {len(header)}", where=where)
        else:
            damaged["left_out_rows"] += 1


def _tsv(path: Path, advance: Advance) -> Iterator[tuple[int, list[str]]]:
    for number, text in read_lines(path, advance):
        if text:
            yield number, text.split("\t")


def _csv(path: Path, advance: Advance) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((f"{text}\n" for _, text in read_lines(path, advance)), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(
            f"the row is not CSV: {error}", where=f"{path}:{reader.line_num}"
        ) from error


def _place(header: Sequence[str], name: str, path: Path) -> int:
    count = list(header).count(name)
    if count == 0:
        raise _missing(name, header, f"{path}:1")
    if count > 1:
        raise InputError(f"column `{name}` is there {count} times", where=f"{path}:1")
    return list(header).index(name)


def _text(value: dict[str, Any], name: str, where: str, may_be_list: bool = False) -> str:
    """Return a JSON value as text: a string as it is, a number or a truth value in RFC 8785's way.

    Equal numbers are then equal texts: 1.0 and 1 are `1`.
    """
    if name not in value:
        raise _missing(name, value, where)
    cell = value[name]
    if may_be_list and isinstance(cell, list):
        return json.dumps(cell, ensure_ascii=False)
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, bool | int | float):
        raise InputError(f"column `{name}` is neither a text nor a number", where=where)
    try:
        return rfc8785.dumps(cell).decode()
    except rfc8785.IntegerDomainError as error:
        message = f"column `{name}` holds {cell}, which is not below 2**53"
        raise InputError(message, where=where, cure="write it as a text") from error


def _missing(name: str, columns: Iterable[str], where: str) -> InputError:
    return InputError(
        f"column `{name}` is missing; found: {quoted(columns)}",
        where=where,
        cure="name existing columns; for a test set: --unlabelled, or no --label",
    )
