"""Encoded rows -> record files of either format."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.data.example import encode_examples
from tinybert.data.labels import IGNORED
from tinybert.data.mindrecord import index_path
from tinybert.data.rows import LabelArray, RowFormat
from tinybert.data.schema import schema_bytes
from tinybert.data.sidecar import SidecarFile
from tinybert.data.source import DatasetType
from tinybert.data.tfrecord import write_records
from tinybert.files import digest_file
from tinybert.prepare.encode import EncodedRow

SCHEMA = "schema.json"
_BLOCK_ROWS = 1024
_MINDRECORD_BYTES = 1 << 20  # of header and page; the framework's defaults make files of 48 MiB

Block = dict[str, npt.NDArray[np.int32] | npt.NDArray[np.float32]]
"""Arrays (rows, length) by column."""


def write_rows(
    directory: Path,
    rows: Iterable[EncodedRow],
    format: RowFormat,
    dataset_type: DatasetType,
    rows_per_file: int,
) -> tuple[SidecarFile, ...]:
    """Write rows into a directory as `records-00000.tfrecord` and so on.

    Returns:
        What was written: records, and indexes or the schema.
    """
    left = iter(rows)
    write = _write_tfrecord if dataset_type == "tfrecord" else _write_mindrecord
    records: list[tuple[Path, int]] = []
    while (first := next(left, None)) is not None:
        path = directory / f"records-{len(records):05d}.{dataset_type}"
        file_rows = chain([first], islice(left, rows_per_file - 1))
        records.append((path, write(path, _blocks(file_rows, format))))
    others = [index_path(path) for path, _ in records] if dataset_type == "mindrecord" else []
    if dataset_type == "tfrecord":
        others.append(directory / SCHEMA)
        others[0].write_bytes(schema_bytes(format.columns, sum(count for _, count in records)))
    return tuple(
        listed_file(path, count) for path, count in [*records, *((p, None) for p in others)]
    )


def to_block(rows: Sequence[EncodedRow], format: RowFormat) -> Block:
    """Return rows as arrays (rows, length), padded with zeros, and with `IGNORED` token labels."""
    input_ids, input_mask, segment_ids = np.zeros((3, len(rows), format.seq_length), np.int32)
    block: Block = {"input_ids": input_ids, "input_mask": input_mask, "segment_ids": segment_ids}
    label, width = format.label, format.label_length
    absent = 0 if label == "classes" else IGNORED
    label_ids: LabelArray = np.full((len(rows), width), absent, np.int32)
    if label is not None:
        label_ids = label_ids.astype(np.float32) if label == "number" else label_ids
        block["label_ids"] = label_ids
    lengths = [len(row.input_ids) for row in rows]
    is_token = np.arange(format.seq_length) < np.array(lengths)[:, None]
    input_mask[...] = is_token
    input_ids[is_token] = np.fromiter(chain.from_iterable(row.input_ids for row in rows), np.int32)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        segment_ids[index, :length] = row.segment_ids
        if isinstance(row.label, frozenset):
            label_ids[index, list(row.label)] = 1
        elif label is not None:
            label_ids[index, : min(length, width)] = row.label
    return block


def listed_file(path: Path, rows: int | None) -> SidecarFile:
    """Return the entry of a file in records.json."""
    file = digest_file(path)
    return SidecarFile(name=path.name, size=file.size, sha256=file.sha256, rows=rows)


def _blocks(rows: Iterator[EncodedRow], format: RowFormat) -> Iterator[Block]:
    while some := list(islice(rows, _BLOCK_ROWS)):
        yield to_block(some, format)


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
