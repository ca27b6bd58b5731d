"""TFRecord framing: a length, its checksum, a payload, its checksum, and nothing else.

    uint64 length | uint32 masked CRC-32C of length | payload | uint32 masked CRC-32C of payload

All little-endian (TensorFlow, `tensorflow/core/lib/io/record_writer.h`). Records are counted from
1, bytes from 0.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from tinybert.errors import InputError
from tinybert.files import compression, open_file

HEADER_BYTES = 12
FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8


def masked_crc(data: bytes) -> int:
    """Return the CRC-32C of `data`, rotated and shifted as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """Return `payload` as one record."""
    return b"".join((_header(len(payload)), payload, _checksum(payload)))


@lru_cache(1024)
def _header(length: int) -> bytes:
    """Return what a record of so many bytes begins with; rows of one task have few lengths."""
    packed = struct.pack("<Q", length)
    return packed + _checksum(packed)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc(data))


def write_records(file: BinaryIO, payloads: Iterable[bytes]) -> None:
    """Append `payloads` to an open file, one record each."""
    file.writelines(map(frame, payloads))


def read_records(path: Path, *, payloads: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yield (byte offset, payload) of each record, both checksums verified.

    Args:
        path: The file.
        payloads: Read the payloads; otherwise they are skipped, and empty in the result.

    Raises:
        InputError: The file cannot be read, is cut, is damaged, or holds no record.
    """
    offset = number = 0
    try:
        with open_file(path, 1 << 20) as file:
            size = os.fstat(file.fileno()).st_size
            while header := file.read(HEADER_BYTES):
                number += 1
                where = place(path, number, offset)
                length = _length(header, where, compression(header) if number == 1 else None)
                end = offset + HEADER_BYTES + length + FOOTER_BYTES
                if end > size:
                    raise _cut(f"{length} payload bytes announced", where)
                yield offset, _payload(file.read(end - file.tell()), where) if payloads else b""
                offset = file.seek(end)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if number == 0:
        raise InputError("the file holds no record", where=str(path))


def count_records(path: Path) -> int:
    """Count records by their lengths, without reading payloads.

    Raises:
        InputError: As `read_records`, except for damage inside a payload.
    """
    return sum(1 for _ in read_records(path, payloads=False))


def place(path: Path, number: int, offset: int | None = None) -> str:
    """Name a record, counted from 1, and the byte its header starts at, counted from 0."""
    return f"{path}, record {number}" + ("" if offset is None else f", byte {offset}")


def _length(header: bytes, where: str, program: str | None) -> int:
    if len(header) < HEADER_BYTES:
        raise _cut(f"{len(header)} of a record's {HEADER_BYTES} header bytes", where)
    length, crc = struct.unpack("<QI", header)
    if crc != masked_crc(header[:8]):
        if program is not None:
            cure = "unpack it: record files are read as they are"
            raise InputError(f"the file is compressed with {program}", where=where, cure=cure)
        raise _damaged("the record's length", where)
    return int(length)


def _payload(body: bytes, where: str) -> bytes:
    payload, crc = body[:-FOOTER_BYTES], body[-FOOTER_BYTES:]
    if crc != struct.pack("<I", masked_crc(payload)):
        raise _damaged("the record's payload", where)
    return payload


def _cut(found: str, where: str) -> InputError:
    return InputError(
        f"the file ends inside a record ({found})",
        where=where,
        cure="restore the file from its source; it was cut",
    )


def _damaged(what: str, where: str) -> InputError:
    return InputError(
        f"{what} does not match its checksum",
        where=where,
        cure="restore the file from its source; it is damaged, or not a TFRecord file",
    )
