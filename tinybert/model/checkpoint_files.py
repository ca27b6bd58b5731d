"""Checkpoint files: safetensors, whole or in shards, and MindSpore's .ckpt.

Nothing is ever unpickled, and every length that a file states is compared with its bytes.

A .ckpt file is a sequence of protobuf messages, which may end in `crc_num` and a CRC-32:

    Checkpoint { repeated Value value = 1 }
    Value { string tag = 1, oneof { TensorProto tensor = 2, MapTensorProto maptensor = 3 } }
    TensorProto { repeated int64 dims = 1, string tensor_type = 2, bytes tensor_content = 3 }

Source: mindspore/ccsrc/utils/checkpoint.proto, and mindspore/train/serialization.py.
"""

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from safetensors import SafetensorError

from tinybert.errors import InputError, ManifestError
from tinybert.files import open_file, open_safetensors, read_file
from tinybert.manifest.exported import RECORD_FILE, Exported
from tinybert.model.parameters import Array
from tinybert.strict_json import read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_BFLOAT16 = "BFloat16"
_NAMES = (
    *("Bool", "Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"),
    *("Float16", "Float32", "Float64"),
)
"""MindSpore's types in a .ckpt file that NumPy has too, by the same name in lower case."""
_TYPES = {name: np.dtype(name.lower()) for name in _NAMES} | {_BFLOAT16: np.dtype(np.uint16)}
"""Types by name; bfloat16 by its bits."""
_DECLARATION = """
name: "tinybert/checkpoint.proto" syntax: "proto3"
message_type { name: "Checkpoint"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "Value" } }
message_type { name: "Value"
  field { name: "tag" number: 1 type: TYPE_STRING }
  field { name: "tensor" number: 2 type: TYPE_MESSAGE type_name: "Tensor" } }
message_type { name: "Tensor"
  field { name: "dims" number: 1 label: LABEL_REPEATED type: TYPE_INT64 options { packed: false } }
  field { name: "tensor_type" number: 2 type: TYPE_STRING }
  field { name: "tensor_content" number: 3 type: TYPE_BYTES } }
"""
_CRC = b"crc_num"


@dataclass(frozen=True)
class StoredArrays:
    """Everything that a checkpoint holds."""

    path: Path
    """The file, or the index of its shards."""
    arrays: dict[str, Array]
    """By the name in the file; bfloat16 is widened to float32, which is exact."""
    shards: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were read."""
        return (self.path, *self.shards)


def _require_as_exported(directory: Path) -> None:
    """Compare the files of an export with its record, if there is one.

    Raises:
        InputError: A file was changed after it was exported, or the record was.
    """
    record = directory / RECORD_FILE
    if not record.is_file():
        return
    try:
        changes = Exported.load(record).changes()
    except ManifestError as error:
        raise InputError(error.message, where=error.where, cure=error.cure) from error
    if changes:
        message = f"the files are not as they were exported: {', '.join(changes)}"
        raise InputError(message, where=str(directory), cure="restore them, or export anew")


def read_arrays(path: Path) -> StoredArrays:
    """Read every array of a checkpoint.

    Args:
        path: A `.safetensors` file, a `.ckpt` file, or a directory with model.safetensors or
            the index of its shards.

    Raises:
        InputError: A file is missing, damaged or of an unknown kind.
    """
    file = path / WEIGHTS if path.is_dir() else path
    _require_as_exported(file.parent)
    if path.is_dir() and not file.exists() and (path / INDEX).is_file():
        return _read_shards(path / INDEX)
    if not file.exists():
        raise InputError(
            "no such checkpoint",
            where=str(file),
            cure="name a .safetensors or .ckpt file, or a directory with model.safetensors",
        )
    if file.suffix not in (".safetensors", ".ckpt"):
        raise InputError(
            f"checkpoint of unknown kind `{file.suffix}`",
            where=str(file),
            cure="use .safetensors or MindSpore's .ckpt; pickled files are never read",
        )
    return StoredArrays(
        file, _read_ckpt(file) if file.suffix == ".ckpt" else _read_safetensors(file)
    )


def _read_shards(index: Path) -> StoredArrays:
    """Read the shards that an index names; each must hold exactly the tensors that it lists."""
    try:
        content = read_json(index)
        places = {str(name): str(file) for name, file in content["weight_map"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError("not an index of safetensors files", where=str(index)) from error
    arrays: dict[str, Array] = {}
    shards = []
    for file in sorted(set(places.values())):
        shard = index.parent / file
        if Path(file).name != file or not shard.is_file():
            raise InputError(f"the index names `{file}`, which is not beside it", where=str(index))
        held = _read_safetensors(shard)
        if other := sorted(held.keys() ^ {name for name in places if places[name] == file}):
            message = f"the index and the file do not name the same tensors, such as {other[0]}"
            raise InputError(message, where=str(shard))
        arrays |= held
        shards.append(shard)
    return StoredArrays(index, arrays, tuple(shards))


def _read_safetensors(path: Path) -> dict[str, Array]:
    """Return every array of a safetensors file; the library checks the lengths in its header."""
    try:
        with open_safetensors(path) as opened:
            types = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}
            arrays = {name: opened.get_tensor(name) for name, t in types.items() if t != "BF16"}
        halves = [name for name, kind in types.items() if kind == "BF16"]
        return arrays | (_read_bfloat16(path, halves) if halves else {})
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"unreadable safetensors file: {error}",
            where=str(path),
            cure="get the file again; its types must be float32, float16 or bfloat16",
        ) from error


def _read_bfloat16(path: Path, names: list[str]) -> dict[str, Array]:
    """Return the named arrays of a safetensors file that the library has opened."""
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        arrays: dict[str, Array] = {}
        for name in names:
            begin, end = header[name]["data_offsets"]
            file.seek(8 + length + begin)
            bits = np.frombuffer(file.read(end - begin), "<u2")
            arrays[name] = _widened(bits).reshape(header[name]["shape"])
        return arrays


def _widened(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return bfloat16 as float32, whose upper half it is."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _read_ckpt(path: Path) -> dict[str, Array]:
    """Return every array of a MindSpore checkpoint; texts, which it may hold, too."""
    try:
        content = read_file(path)
        if content[-17:-10] == _CRC:
            stated, content = int.from_bytes(content[-10:], "big"), content[:-17]
            if zlib.crc32(content) != stated:
                raise ValueError("its CRC-32 is another")
        arrays: dict[str, Array] = {}
        # a large tensor lies in several values that follow one another
        for name, values in groupby(_message().FromString(content).value, lambda v: str(v.tag)):
            if name in arrays:
                raise ValueError(f"{name} is there twice")
            arrays[name] = _tensor(name, [value.tensor for value in values])
        if not arrays:
            raise ValueError("it holds no tensors")
        return arrays
    except (OSError, ValueError, DecodeError) as error:
        raise InputError(
            "unreadable MindSpore checkpoint: " + str(error).split("\n", 1)[0],
            where=str(path),
            cure="get the file again; it is cut short or not a MindSpore checkpoint",
        ) from error


def _tensor(name: str, parts: list[Any]) -> Array:
    """Return an array from its parts, each of which states the whole shape and the type.

    Raises:
        ValueError: The bytes are not as many as shape and type state.
    """
    kind, shape = parts[0].tensor_type, tuple(parts[0].dims)
    if any(part.tensor_type != kind or tuple(part.dims) != shape for part in parts):
        raise ValueError(f"the parts of {name} differ in shape or type")
    content = b"".join(part.tensor_content for part in parts)
    if kind == "str":
        return np.array(content.decode("utf-32-le"))
    if kind not in _TYPES:
        raise ValueError(f"{name} is of unknown type `{kind}`")
    dtype = _TYPES[kind]
    if shape == (0,) and len(content) == dtype.itemsize:  # how older versions write a scalar
        shape = ()
    if min(shape, default=0) < 0 or len(content) != math.prod(shape) * dtype.itemsize:
        stated = f"{' x '.join(map(str, shape)) or 'one'} {kind}"
        raise ValueError(f"{name} holds {len(content):,} bytes and states {stated}")
    if kind == _BFLOAT16:
        return _widened(np.frombuffer(content, "<u2")).reshape(shape)
    return np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape)


def encode_ckpt(arrays: Mapping[str, Array]) -> Iterator[bytes]:
    """Yield the bytes of a MindSpore checkpoint file, a message for each array."""
    names = {_TYPES[name]: name for name in _NAMES}
    for name, array in arrays.items():
        message = _message()()
        value = message.value.add(tag=name)
        value.tensor.dims.extend(array.shape)
        value.tensor.tensor_type = names[array.dtype]
        value.tensor.tensor_content = array.tobytes()
        yield message.SerializeToString()


@cache
def _message() -> Any:
    """Return the class of Checkpoint, declared in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    declaration = text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto())
    file = pool.AddSerializedFile(declaration.SerializeToString())
    return message_factory.GetMessageClass(file.message_types_by_name["Checkpoint"])
