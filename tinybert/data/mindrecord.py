"""MindRecord files: what can be verified without the framework.

A file is a header (its length in 8 bytes, JSON, zeros up to `header_size`) and pages of
`page_size` bytes, the last one short; `<file>.db` beside it is an SQLite index with the place of
every row. Verified here:

- the header is there, its JSON has the fields of the format, its columns are those that are read;
- the file holds every page that the header lists, and every shard of its set is there;
- the index is a whole SQLite database, names this file, and numbers its rows without a gap;
- every row lies inside its page, no two rows overlap, header and index count the same rows.

After that the framework reads the file in a process of its own (`mindrecord_reader.py`), and the
values of every row are checked.

**What cannot be verified**: the format carries no checksum. A change inside a page that leaves
legal values (another token id of the vocabulary, a mask that stays 0 or 1) reads as those values.
Only a digest from the time the file was whole shows it: the records.json of `prepare`.
"""

import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinybert.data.example import Column
from tinybert.errors import InputError, quoted
from tinybert.files import open_file
from tinybert.strict_json import parse_json

_TYPES = {"int": ("int32", "int64"), "float": ("float32",)}
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 128 << 20  # the framework's own limit
_RESTORE = "restore the file and its .db from their source"

_ROWS = "SELECT COUNT(*), MIN(ROW_ID), MAX(ROW_ID) FROM INDEXES"
_OUTSIDE = """
    SELECT COUNT(*) FROM INDEXES
    WHERE PAGE_OFFSET_{0} < 0 OR PAGE_OFFSET_{0}_END NOT BETWEEN PAGE_OFFSET_{0} AND :page_size
       OR PAGE_ID_{0} NOT BETWEEN 0 AND :last_page
"""
_OVERLAPPING = """
    SELECT COUNT(*) FROM (
        SELECT PAGE_OFFSET_{0}_END AS stop, LEAD(PAGE_OFFSET_{0})
            OVER (PARTITION BY PAGE_ID_{0} ORDER BY PAGE_OFFSET_{0}, PAGE_OFFSET_{0}_END) AS next
        FROM INDEXES
    ) WHERE next < stop
"""


def index_path(path: Path) -> Path:
    """Return the index that belongs to a MindRecord file."""
    return path.with_name(path.name + ".db")


def check_mindrecord(path: Path, columns: Sequence[Column]) -> int:
    """Verify header, pages and index of a file; returns its number of rows.

    Raises:
        InputError: The file is cut, damaged, not MindRecord, or holds other columns.
    """
    header = _header(path)
    try:
        pages = [page for page in header["page"] if page["page_size"] > 0]
        end = max(
            int(header["header_size"]) + page["page_id"] * header["page_size"] + page["page_size"]
            for page in pages
        )
        rows = sum(
            int(page["end_row_id"] - page["start_row_id"])
            for page in pages
            if page["page_type"] == "BLOB_DATA"
        )
        shards = [path.with_name(Path(name).name) for name in header["shard_addresses"]]
        types = {
            str(name): (str(kind["type"]), kind.get("shape", [1]))
            for schema in header["schema"]
            for name, kind in schema["schema"].items()
        }
        page_size, last_page = int(header["page_size"]), max(page["page_id"] for page in pages)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, "the header lacks a field of the format") from error
    size = path.stat().st_size
    if size < end:
        raise _damaged(path, f"the file is cut: it has {size} bytes of {end}")
    for shard in shards:
        if not shard.exists():
            raise InputError(
                "a shard of the set is missing",
                where=str(shard),
                cure="copy the whole set: every shard and its .db",
            )
    _check_columns(path, types, columns)
    _check_index(path, rows, page_size, last_page)
    return rows


def _header(path: Path) -> dict[str, Any]:
    try:
        with open_file(path) as file:
            prefix = file.read(_LENGTH_BYTES)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == _LENGTH_BYTES else 0
            text = file.read(length) if 0 < length <= _MAX_HEADER_BYTES else b""
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        header = parse_json(text)
    except ValueError as error:
        raise _damaged(path, "the header is no MindRecord header") from error
    if not isinstance(header, dict):
        raise _damaged(path, "the header is no MindRecord header")
    return header


def _check_columns(
    path: Path, types: dict[str, tuple[str, Any]], columns: Sequence[Column]
) -> None:
    for column in columns:
        if column.name not in types:
            message = f"column `{column.name}` is missing; found: {quoted(sorted(types))}"
            raise InputError(message, where=str(path))
        kind, shape = types[column.name]
        allowed = _TYPES[column.kind]
        if kind not in allowed:
            raise InputError(
                f"column `{column.name}` holds {kind} values, not {' or '.join(allowed)}",
                where=str(path),
            )
        if shape not in ([-1], [column.length]):
            raise InputError(
                f"column `{column.name}` has shape {shape}, not [{column.length}]", where=str(path)
            )


def _check_index(path: Path, rows: int, page_size: int, last_page: int) -> None:
    index = index_path(path)
    if not index.is_file():
        raise InputError(
            "the index of a MindRecord file is missing",
            where=str(index),
            cure="copy the .db file together with the records",
        )
    try:
        database = sqlite3.connect(f"file:{quote(str(index))}?mode=ro&immutable=1", uri=True)
        try:
            problem = _index_problem(database, path, rows, page_size, last_page)
        finally:
            database.close()
    except (sqlite3.Error, UnicodeError) as error:
        raise _damaged(index, f"the index cannot be read: {error}") from error
    if problem is not None:
        raise _damaged(index, f"the index {problem}")


def _index_problem(
    database: sqlite3.Connection, path: Path, rows: int, page_size: int, last_page: int
) -> str | None:
    size = index_path(path).stat().st_size
    if size % database.execute("PRAGMA page_size").fetchone()[0]:
        return f"is cut: it has {size} bytes"
    check = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if check != "ok":
        return f"is damaged: {check}"
    names = [name for (name,) in database.execute("SELECT NAME FROM SHARD_NAME")]
    if names != [path.name]:
        return f"belongs to {', '.join(map(str, names)) or 'no file'}, not to {path.name}"
    count, first, last = database.execute(_ROWS).fetchone()
    if count != rows or count == 0:
        return f"lists {count} rows, the file's header {rows}"
    if (first, last) != (0, count - 1):
        return f"numbers {count} rows from {first} to {last}"
    bounds = {"page_size": page_size, "last_page": last_page}
    for kind in ("BLOB", "RAW"):
        if outside := database.execute(_OUTSIDE.format(kind), bounds).fetchone()[0]:
            return f"places {outside} rows outside their pages"
        if overlapping := database.execute(_OVERLAPPING.format(kind)).fetchone()[0]:
            return f"places {overlapping} rows over others"
    return None


def _damaged(path: Path, message: str) -> InputError:
    return InputError(message, where=str(path), cure=_RESTORE)
