"""TFRecord framing: a length, its checksum, a payload, its checksum, and nothing else.

    uint64 length | uint32 masked CRC-32C of length | payload | uint32 masked CRC-32C of payload

All little-endian (TensorFlow, `tensorflow/core/lib/io/record_writer.h`). Files are checked whole
before the framework opens them: it reads a cut file as fewer rows without a word, and may end the
process on a damaged one. Records are counted from 1, bytes from 0.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from tinybert.errors import InputError

HEADER_BYTES = 12
FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8


def masked_crc(data: bytes) -> int:
    """Return the CRC-32C of `data`, rotated and shifted as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """Return `payload` as one record."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (
            length,
            struct.pack("<I", masked_crc(length)),
            payload,
            struct.pack("<I", masked_crc(payload)),
        )
    )


def write_records(file: BinaryIO, payloads: Iterable[bytes]) -> None:
    """Append `payloads` to an open file, one record each."""
    file.writelines(map(frame, payloads))


def read_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (byte offset, payload) of each record, both checksums verified.

    Raises:
        InputError: The file cannot be read, is cut, is damaged, or holds no record.
    """
    with open_records(path) as file:
        size = os.fstat(file.fileno()).st_size
        offset = 0
        number = 0
        while header := file.read(HEADER_BYTES):
            number += 1
            length = _length(header, place(path, number, offset))
            left = size - offset - HEADER_BYTES - FOOTER_BYTES
            body = file.read(length + FOOTER_BYTES) if length <= left else b""
            if len(body) != length + FOOTER_BYTES:
                raise _cut(place(path, number, offset), f"{length} payload bytes announced")
            payload = body[:length]
            if struct.unpack("<I", body[length:])[0] != masked_crc(payload):
                raise _damaged("the record's payload", place(path, number, offset))
            yield offset, payload
            offset += HEADER_BYTES + length + FOOTER_BYTES
    if number == 0:
        raise InputError("the file holds no record", where=str(path))


def count_records(path: Path) -> int:
    """Count records by their lengths, without reading payloads.

    Raises:
        InputError: As `read_records`, except for damage inside a payload.
    """
    with open_records(path) as file:
        size = os.fstat(file.fileno()).st_size
        offset = 0
        number = 0
        while header := file.read(HEADER_BYTES):
            number += 1
            length = _length(header, place(path, number, offset))
            end = offset + HEADER_BYTES + length + FOOTER_BYTES
            if end > size:
                raise _cut(place(path, number, offset), f"{length} payload bytes announced")
            file.seek(end)
            offset = end
    if number == 0:
        raise InputError("the file holds no record", where=str(path))
    return number


def place(path: Path, number: int, offset: int | None = None) -> str:
    """Name a record, counted from 1, and the byte its header starts at, counted from 0."""
    return f"{path}, record {number}" + ("" if offset is None else f", byte {offset}")


def open_records(path: Path) -> BinaryIO:
    """Open a record file for reading.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        return open(path, "rb", buffering=1 << 20)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _length(header: bytes, where: str) -> int:
    if len(header) < HEADER_BYTES:
        raise _cut(where, f"{len(header)} of a record's {HEADER_BYTES} header bytes")
    length, crc = struct.unpack("<QI", header)
    if crc != masked_crc(header[:8]):
        raise _damaged("the record's length", where)
    return int(length)


def _cut(where: str, found: str) -> InputError:
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
