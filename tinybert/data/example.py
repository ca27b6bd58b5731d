"""tf.train.Example messages: the part of the protobuf format that record files use.

    Example { Features features = 1 }
    Features { map<string, Feature> feature = 1 }
    Feature { oneof { BytesList = 1, FloatList = 2, Int64List = 3 } }
    FloatList, Int64List { repeated value = 1 }   packed or not

Source: tensorflow/core/example/{example,feature}.proto. The structure is walked record by record;
the numbers of a whole block are decoded at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float32]]

_KINDS = {1: "bytes", 2: "float", 3: "int"}
_FIELD_OF = {"float": 2, "int": 3}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True)
class Column:
    """A column that every record must hold: `length` numbers of one kind."""

    name: str
    kind: Literal["int", "float"]
    length: int


class ExampleError(Exception):
    """A message that is not what the columns say; `index` counts in the block, from 0."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.message = message


class _MalformedError(Exception):
    """Bytes that are no message of the expected type."""


def encode_examples(columns: Mapping[str, npt.NDArray[np.generic]]) -> list[bytes]:
    """Return one message a row.

    Args:
        columns: Arrays (rows, length) by name; integers become Int64List, floats FloatList.
    """
    entries = [_encode_column(name, values) for name, values in sorted(columns.items())]
    return [_message(1, b"".join(row)) for row in zip(*entries, strict=True)]


def decode_examples(payloads: Sequence[bytes], columns: Sequence[Column]) -> Columns:
    """Return the columns as arrays (rows, length), int64 or float32; other columns are left out.

    Raises:
        ExampleError: A record is malformed, lacks a column, or holds another kind or count.
    """
    chunks: dict[str, list[bytes]] = {column.name: [] for column in columns}
    for index, payload in enumerate(payloads):
        try:
            features = _features(payload)
        except _MalformedError as error:
            raise ExampleError(index, f"the record is no tf.train.Example: {error}") from error
        for column in columns:
            if column.name not in features:
                found = ", ".join(f"`{name}`" for name in sorted(features)) or "none"
                raise ExampleError(index, f"column `{column.name}` is missing; found: {found}")
            kind, data = features[column.name]
            if kind != column.kind:
                raise ExampleError(
                    index, f"column `{column.name}` holds {kind} values, not {column.kind}"
                )
            chunks[column.name].append(data)
    return {column.name: _numbers(chunks[column.name], column) for column in columns}


def _numbers(
    chunks: list[bytes], column: Column
) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    joined = np.frombuffer(b"".join(chunks), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, chunks), np.int64, len(chunks)))
    if column.kind == "float":
        _same_length((ends - np.concatenate(([0], ends[:-1]))) / 4, column)
        return joined.view("<f4").reshape(len(chunks), column.length)
    values, value_ends = _decode_varints(joined)
    counts = np.searchsorted(value_ends, ends, side="right")
    broken = np.flatnonzero(np.append(joined, np.uint8(0))[ends - 1] >= 0x80)
    if len(broken):
        raise ExampleError(int(broken[0]), f"column `{column.name}` ends inside a number")
    _same_length(np.diff(counts, prepend=0), column)
    too_long = np.flatnonzero(np.diff(value_ends, prepend=0) > _MAX_VARINT_BYTES)
    if len(too_long):
        index = int(too_long[0]) // column.length
        raise ExampleError(index, f"column `{column.name}` holds a number of over 64 bits")
    return values.reshape(len(chunks), column.length)


def _same_length(counts: npt.NDArray[np.generic], column: Column) -> None:
    wrong = np.flatnonzero(counts != column.length)
    if len(wrong):
        index = int(wrong[0])
        raise ExampleError(
            index, f"column `{column.name}` holds {counts[index]:g} values, not {column.length}"
        )


def _decode_varints(data: npt.NDArray[np.uint8]) -> tuple[IntArray, IntArray]:
    """Decode back-to-back varints; returns values and the end byte of each."""
    ends = np.flatnonzero(data < 0x80) + 1
    starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    lengths = ends - starts
    values = np.zeros(len(ends), np.uint64)
    for byte in range(min(int(lengths.max(initial=0)), _MAX_VARINT_BYTES)):
        at = np.flatnonzero(lengths > byte)
        part = (data[starts[at] + byte] & 0x7F).astype(np.uint64)
        values[at] |= part << np.uint64(7 * byte)
    return values.view(np.int64), ends


def _features(payload: bytes) -> dict[str, tuple[str, bytes]]:
    """Return {column: (kind, packed values)}."""
    found: dict[str, tuple[str, bytes]] = {}
    for _, features in _submessages(payload, "Example", (1,)):
        for _, entry in _submessages(features, "Features", (1,)):
            parts = dict(_submessages(entry, "an entry of Features", (1, 2)))
            try:
                name = parts.get(1, b"").decode()
            except UnicodeDecodeError as error:
                raise _MalformedError("a column's name is not UTF-8") from error
            if name in found:
                raise _MalformedError(f"column `{name}` is there twice")
            found[name] = _values(parts.get(2, b""), name)
    return found


def _values(feature: bytes, name: str) -> tuple[str, bytes]:
    kind = "no"
    data = b""
    for field, content in _submessages(feature, f"column `{name}`", (1, 2, 3)):
        if kind != "no":
            raise _MalformedError(f"column `{name}` holds two lists")
        kind = _KINDS[field]
        if kind != "bytes":
            data = _list(content, _VARINT if kind == "int" else _FIXED32, name)
    return kind, data


def _list(content: bytes, single: int, name: str) -> bytes:
    """Return the packed form of a list of numbers, however it was written."""
    parts = []
    for field, wire, start, end in _fields(content, f"column `{name}`"):
        if field == 1:
            if wire not in (_BYTES, single):
                raise _MalformedError(f"column `{name}` has wire type {wire}")
            parts.append(content[start:end])
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _submessages(data: bytes, what: str, wanted: tuple[int, ...]) -> list[tuple[int, bytes]]:
    found = []
    for field, wire, start, end in _fields(data, what):
        if field in wanted:
            if wire != _BYTES:
                raise _MalformedError(f"field {field} of {what} has wire type {wire}")
            found.append((field, data[start:end]))
    return found


def _fields(data: bytes, what: str) -> list[tuple[int, int, int, int]]:
    """Return (field, wire type, first byte, end byte) of every field's value."""
    fields = []
    position = 0
    size = len(data)
    while position < size:
        tag, position = _varint(data, position, what)
        field, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, start = _varint(data, position, what)
            position = start + length
        elif wire == _VARINT:
            start = position
            _, position = _varint(data, position, what)
        elif wire in (_FIXED32, _FIXED64):
            start = position
            position += 4 if wire == _FIXED32 else 8
        else:
            raise _MalformedError(f"{what} has wire type {wire}")
        if position > size or field == 0:
            raise _MalformedError(f"{what} ends early" if field else f"{what} has a field 0")
        fields.append((field, wire, start, position))
    return fields


def _varint(data: bytes, position: int, what: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if position >= len(data):
            raise _MalformedError(f"{what} ends early")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _MalformedError(f"{what} holds a number of over 64 bits")


def _encode_column(name: str, values: npt.NDArray[np.generic]) -> list[bytes]:
    if values.dtype.kind == "f":
        rows = [row.tobytes() for row in values.astype("<f4")]
        kind = "float"
    else:
        rows = _encode_varints(values.astype(np.int64))
        kind = "int"
    key = _message(1, name.encode())
    return [
        _message(1, key + _message(2, _message(_FIELD_OF[kind], _message(1, row)))) for row in rows
    ]


def _encode_varints(values: IntArray) -> list[bytes]:
    """Return the packed varints of each row of `values` (rows, length)."""
    left = values.reshape(-1).view(np.uint64).copy()
    encoded = np.zeros((len(left), _MAX_VARINT_BYTES), np.uint8)
    lengths = np.ones(len(left), np.int64)
    for byte in range(_MAX_VARINT_BYTES):
        encoded[:, byte] = left & np.uint64(0x7F)
        left >>= np.uint64(7)
        if not left.any():
            break
        encoded[left > 0, byte] |= 0x80
        lengths += left > 0
    data = encoded[np.arange(_MAX_VARINT_BYTES) < lengths[:, None]].tobytes()
    ends = np.cumsum(lengths.reshape(values.shape).sum(axis=1)).tolist()
    return [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _message(field: int, data: bytes) -> bytes:
    return bytes((field << 3 | _BYTES,)) + _length_varint(len(data)) + data


def _length_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
