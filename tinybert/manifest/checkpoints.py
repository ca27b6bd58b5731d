"""Checkpoints: digests of their tensors, and whether they are as a manifest records them."""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tinybert.atomic import write_bytes
from tinybert.errors import InputError, ManifestError
from tinybert.files import digest_change, digest_file
from tinybert.manifest.canonical import digest
from tinybert.manifest.model import Checkpoint, CheckpointFile
from tinybert.strict_json import read_json

if TYPE_CHECKING:
    import numpy as np


class Tensor(TypedDict):
    """What a tensor is, without its bytes."""

    dtype: str
    shape: list[int]
    sha256: str


TensorTable = dict[str, Tensor]


def tensor_table(arrays: "Mapping[str, np.ndarray[Any, Any]]") -> TensorTable:
    """Return name, dtype, shape and SHA-256 of every array, sorted by name.

    The bytes are little-endian in C order, whatever the array in memory is.
    """
    names = sorted(arrays)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(names, pool.map(_tensor, (arrays[name] for name in names)), strict=True))


def tensor_digest(table: TensorTable) -> str:
    """Return the digest of a table: equal weights have equal digests in every file format."""
    return digest({name: table[name] for name in sorted(table)})


def write_tensor_table(path: Path, table: TensorTable) -> None:
    """Write a table as JSON, one tensor a line."""
    rows = [f"  {json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table)]
    write_bytes(path, ("{\n" + ",\n".join(rows) + "\n}\n").encode())


def read_tensor_table(path: Path) -> TensorTable:
    """Read a table that `write_tensor_table` wrote.

    Raises:
        ManifestError: The file is missing or is not such a table.
    """
    try:
        table = read_json(path, exact_integers=True)
    except OSError as error:
        raise ManifestError("tensor table is missing", where=str(path)) from error
    except ValueError as error:
        raise ManifestError("file is not a tensor table", where=str(path)) from error
    if not isinstance(table, dict) or not all(map(_is_tensor, table.values())):
        raise ManifestError("file is not a tensor table", where=str(path))
    return table


def table_of(path: Path) -> Path:
    """Return where the tensor table of a checkpoint's file is."""
    return path.with_name(f"{path.name}.tensors.json")


def changed_file(path: Path, recorded: CheckpointFile | None, *, read: bool = True) -> str:
    """Return how a checkpoint's file differs from the one that was written; empty if it is equal.

    Only its size is compared unless it is `read`. In some manifests nothing is recorded of it.

    Raises:
        InputError: The file cannot be read.
    """
    if not path.is_file():
        return "missing"
    if recorded is None:
        return ""
    size = path.stat().st_size
    if size != recorded.size:
        return f"{size} bytes, not {recorded.size}"
    return digest_change(digest_file(path).sha256, recorded.sha256) if read else ""


def changed_tensors(arrays: "Mapping[str, np.ndarray[Any, Any]]", recorded: Checkpoint) -> str:
    """Return how a checkpoint's tensors differ from the recorded ones; empty if they do not."""
    now = tensor_digest(tensor_table(arrays))
    equal = now == recorded.tensor_digest
    return "" if equal else f"tensor digest {now}, not {recorded.tensor_digest}"


def changed_table(path: Path, recorded: str) -> str:
    """Return how a tensor table differs from the one of a tensor digest; empty if it is that."""
    try:
        digest = tensor_digest(read_tensor_table(path))
    except ManifestError as error:
        return error.message
    return "" if digest == recorded else f"another table: tensor digest {digest}, not {recorded}"


def require_equal(path: Path, change: str, *, cure: str) -> None:
    """Raise an InputError if there is a change by which a checkpoint is not the recorded one."""
    if change:
        message = f"the checkpoint is not the one that the run recorded: {change}"
        raise InputError(message, where=str(path), cure=cure)


def _is_tensor(row: object) -> bool:
    if not isinstance(row, dict) or row.keys() != {"dtype", "shape", "sha256"}:
        return False
    texts = isinstance(row["dtype"], str) and isinstance(row["sha256"], str)
    shape = row["shape"]
    return texts and isinstance(shape, list) and all(type(size) is int for size in shape)


def _tensor(array: "np.ndarray[Any, Any]") -> Tensor:
    import numpy as np

    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    data = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
    return Tensor(
        dtype=array.dtype.name,
        shape=list(array.shape),
        sha256=hashlib.sha256(data.data).hexdigest(),
    )
