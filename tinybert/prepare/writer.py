"""Rows of token ids -> record files of either format."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tinybert.data.example import encode_examples
from tinybert.data.mindrecord import index_path
from tinybert.data.rows import RowFormat
from tinybert.data.schema import schema_bytes
from tinybert.data.sidecar import SidecarFile
from tinybert.data.source import DatasetType
from tinybert.data.tfrecord import write_records
from tinybert.files import digest_file

SCHEMA = "schema.json"
_BLOCK_ROWS = 1024
_MINDRECORD_BYTES = 1 << 20  # of header and page; the framework's defaults make files of 48 MiB

Block = dict[str, npt.NDArray[np.int32] | npt.NDArray[np.float32]]
"""Arrays (rows, length) by column."""
_Row = TypeVar("_Row")


def write_token_rows(
    directory: Path,
    rows: Iterable[list[int]],
    format: RowFormat,
    dataset_type: DatasetType,
    rows_per_file: int,
) -> tuple[SidecarFile, ...]:
    """Write rows as `records-00000.tfrecord` and so on: mask 1 on their tokens, segments 0.

    Args:
        directory: An existing directory.
        rows: Token ids, at most S each, without padding.
        format: What a record holds; without labels.
        dataset_type: Format of the files.
        rows_per_file: Most rows in a file.

    Returns:
        What was written: records, and indexes or the schema.
    """
    to_block = partial(_token_block, seq_length=format.seq_length)
    return write_rows(directory, rows, to_block, format, dataset_type, rows_per_file)


def write_rows(
    directory: Path,
    rows: Iterable[_Row],
    to_block: Callable[[list[_Row]], Block],
    format: RowFormat,
    dataset_type: DatasetType,
    rows_per_file: int,
) -> tuple[SidecarFile, ...]:
    """Write rows as `records-00000.tfrecord` and so on.

    Args:
        directory: An existing directory.
        rows: What is written, in its order.
        to_block: Makes arrays of some rows.
        format: What a record holds.
        dataset_type: Format of the files.
        rows_per_file: Most rows in a file.

    Returns:
        What was written: records, and indexes or the schema.
    """
    left = iter(rows)
    records: list[tuple[Path, int]] = []
    while (first := next(left, None)) is not None:
        path = directory / f"records-{len(records):05d}.{dataset_type}"
        file_rows = chain([first], islice(left, rows_per_file - 1))
        write = _write_tfrecord if dataset_type == "tfrecord" else _write_mindrecord
        records.append((path, write(path, _blocks(file_rows, to_block))))
    others = [index_path(path) for path, _ in records] if dataset_type == "mindrecord" else []
    if dataset_type == "tfrecord":
        others.append(directory / SCHEMA)
        others[0].write_bytes(schema_bytes(format.columns, sum(count for _, count in records)))
    return tuple(_listed(path, count) for path, count in [*records, *((p, None) for p in others)])


def _listed(path: Path, rows: int | None) -> SidecarFile:
    file = digest_file(path)
    return SidecarFile(name=path.name, size=file.size, sha256=file.sha256, rows=rows)


def _blocks(rows: Iterator[_Row], to_block: Callable[[list[_Row]], Block]) -> Iterator[Block]:
    while some := list(islice(rows, _BLOCK_ROWS)):
        yield to_block(some)


def _token_block(rows: list[list[int]], seq_length: int) -> Block:
    input_ids = np.zeros((len(rows), seq_length), np.int32)
    input_mask = np.zeros_like(input_ids)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = row
        input_mask[index, : len(row)] = 1
    segment_ids = np.zeros_like(input_ids)
    return {"input_ids": input_ids, "input_mask": input_mask, "segment_ids": segment_ids}


def _write_tfrecord(path: Path, blocks: Iterator[Block]) -> int:
    rows = 0
    with open(path, "wb") as file:
        for block in blocks:
            write_records(file, encode_examples(block))
            rows += len(block["input_ids"])
    return rows


def _write_mindrecord(path: Path, blocks: Iterator[Block]) -> int:
    from mindspore.mindrecord import FileWriter

    rows = 0
    writer = FileWriter(str(path), 1)
    writer.set_header_size(_MINDRECORD_BYTES)
    writer.set_page_size(_MINDRECORD_BYTES)
    for block in blocks:
        if rows == 0:
            columns = block.items()
            writer.add_schema({n: {"type": str(a.dtype), "shape": [-1]} for n, a in columns})
        writer.write_raw_data(
            [dict(zip(block, row, strict=True)) for row in zip(*block.values(), strict=True)]
        )
        rows += len(block["input_ids"])
    writer.commit()
    return rows
