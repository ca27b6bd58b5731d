"""tf.train.Example messages, which protobuf encodes and decodes.

    Example { Features features = 1 }
    Features { map<string, Feature> feature = 1 }
    Feature { oneof { BytesList = 1, FloatList = 2, Int64List = 3 } }
    FloatList, Int64List { repeated value = 1 }

The map and the oneof are declared here as repeated fields, which are the same bytes: of two
columns of one name, or of two lists in a column, protobuf would otherwise drop one in silence.
An `EncodedExample` has the features as bytes that are encoded already: a field of bytes and one of
a message are equal in a file.
Source: tensorflow/core/example/{example,feature}.proto.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

from tinybert.errors import quoted

Columns = dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float32]]

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int"}
_DECLARATION = """
name: "tinybert/example.proto" syntax: "proto3"
message_type { name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE type_name: "Features" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "Entry" } }
message_type { name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING }
  field { name: "value" number: 2 type: TYPE_MESSAGE type_name: "Feature" } }
message_type { name: "Feature"
  field { name: "bytes_list" number: 1 label: LABEL_REPEATED type: TYPE_BYTES }
  field { name: "float_list" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE
          type_name: "FloatList" }
  field { name: "int64_list" number: 3 label: LABEL_REPEATED type: TYPE_MESSAGE
          type_name: "Int64List" } }
message_type { name: "FloatList"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type { name: "EncodedExample"
  field { name: "features" number: 1 type: TYPE_BYTES } }
"""


@dataclass(frozen=True)
class Column:
    """A column that every record must hold: `length` numbers of one kind."""

    name: str
    kind: Literal["int", "float"]
    length: int


class ExampleError(Exception):
    """A message that is not what the columns require; `index` counts in the block, from 0."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.message = message


def encode_examples(columns: Mapping[str, npt.NDArray[np.generic]]) -> list[bytes]:
    """Return one message a row, its columns in the order of their names.

    Args:
        columns: Arrays (rows, length) by name; integers become Int64List, floats FloatList.
    """
    example = _message_class("EncodedExample")
    entries = (_encode_column(name, columns[name]) for name in sorted(columns))
    return [
        example(features=b"".join(row)).SerializeToString() for row in zip(*entries, strict=True)
    ]


def _encode_column(name: str, values: npt.NDArray[np.generic]) -> list[bytes]:
    """Return Features of a column (rows, length), encoded, one a row."""
    rows, length = values.shape
    content, size, dtype = values.tobytes(), length * values.itemsize, values.dtype.str
    return [
        _encode_entry(name, dtype, content[row * size : (row + 1) * size]) for row in range(rows)
    ]


@lru_cache(1024)
def _encode_entry(name: str, dtype: str, values: bytes) -> bytes:
    """Return Features of a row's column, encoded; those of all its columns, joined, are the row's.

    Many rows have the same mask, segments and label, which are encoded once.
    """
    features = _message_class("Features")()
    feature = features.feature.add(key=name).value
    numbers = np.frombuffer(values, dtype)
    lists = feature.float_list if numbers.dtype.kind == "f" else feature.int64_list
    lists.add(value=numbers.tolist())
    encoded: bytes = features.SerializeToString()
    return encoded


def decode_examples(payloads: Sequence[bytes], columns: Sequence[Column]) -> Columns:
    """Return the columns as arrays (rows, length), int64 or float32; other columns are left out.

    Raises:
        ExampleError: A record is malformed, lacks a column, or holds another kind or count.
    """
    types = {"int": np.int64, "float": np.float32}
    arrays: Columns = {
        column.name: np.empty((len(payloads), column.length), types[column.kind])
        for column in columns
    }
    for index, payload in enumerate(payloads):
        features = _features(index, payload)
        for column in columns:
            arrays[column.name][index] = _numbers(index, features, column)
    return arrays


def _features(index: int, payload: bytes) -> dict[str, Any]:
    """Return {column: Feature}."""
    try:
        entries = _message_class("Example").FromString(payload).features.feature
    except DecodeError as error:
        raise ExampleError(index, "the record is no tf.train.Example") from error
    features: dict[str, Any] = {}
    for entry in entries:
        if entry.key in features:
            raise ExampleError(index, f"column `{entry.key}` is there twice")
        features[entry.key] = entry.value
    return features


def _numbers(index: int, features: Mapping[str, Any], column: Column) -> list[float]:
    name = column.name
    if name not in features:
        there = quoted(sorted(features))
        raise ExampleError(index, f"column `{name}` is missing; found: {there}")
    lists = features[name].ListFields()
    kind = _KINDS[lists[0][0].name] if lists else "no"
    if sum(len(same_kind) for _, same_kind in lists) > 1:
        raise ExampleError(index, f"column `{name}` holds two lists")
    if kind != column.kind:
        raise ExampleError(index, f"column `{name}` holds {kind} values, not {column.kind}")
    values: list[float] = lists[0][1][0].value[:]
    if len(values) != column.length:
        raise ExampleError(
            index, f"column `{name}` holds {len(values)} values, not {column.length}"
        )
    return values


@cache
def _message_class(name: str) -> Any:
    """Return the class of a message."""
    return message_factory.GetMessageClass(_declared().message_types_by_name[name])


@cache
def _declared() -> Any:
    """Return the messages, declared in a pool of their own."""
    pool = descriptor_pool.DescriptorPool()
    declaration = text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto())
    return pool.AddSerializedFile(declaration.SerializeToString())
