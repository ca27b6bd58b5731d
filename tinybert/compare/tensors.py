"""Where the weights of two runs first differ: the first tensor in network order."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinybert.errors import ManifestError
from tinybert.files import open_safetensors
from tinybert.manifest.checkpoints import (
    TensorTable,
    read_tensor_table,
    tensor_digest,
    tensor_table,
)
from tinybert.manifest.model import Checkpoint, InputFile, Outcome

if TYPE_CHECKING:
    import numpy as np

STATE = re.compile(r"moment|adam|^(loss_scale|clean_steps|global_step|optimizer_step)$")
LAYER = re.compile(r"layers?[._](\d+)[._]")
PARTS = (
    re.compile(r"embedding"),
    re.compile(r"layers?[._]\d+[._]"),
    re.compile(r"pooler|(^|\.)dense\."),
    re.compile(r"classifier|(^|\.)(dense_1|cls|head)"),
    re.compile(r"fit"),
)
"""The parts of a network from input to output."""
WITHIN = (
    *("word_embeddings", "embedding_lookup", "position", "token_type"),
    *("query", "key", "value", "attention", "intermediate", "output"),
)
"""The parts of the embeddings, and of a layer."""


@dataclass(frozen=True)
class TensorDifference:
    """The first tensor, in network order, that differs between two checkpoints.

    Args:
        name: Its name.
        step: Steps before the checkpoints, the first ones that differ.
        differing: How many tensors differ, of `tensors` in all.
        tensors: How many there are.
        absolute: Largest absolute difference in the tensor; None without the checkpoint files.
        relative: Largest difference relative to the larger of two elements; None likewise.
    """

    name: str
    step: int
    differing: int
    tensors: int
    absolute: float | None = None
    relative: float | None = None


def network_order(name: str) -> tuple[bool, int, int, int, bool, str]:
    """Return the sorting key of a parameter's name: weights from input to output, then the rest.

    Embeddings, layers by number, pooler, head, projection; moments and counters of the optimizer
    come last. All public families of names are known.
    """
    part = next((i for i, pattern in enumerate(PARTS) if pattern.search(name)), len(PARTS))
    layer = LAYER.search(name)
    within = next((i for i, word in enumerate(WITHIN) if word in name), len(WITHIN))
    norm = "layernorm" in name.lower()
    return (bool(STATE.search(name)), part, int(layer[1]) if layer else 0, within, norm, name)


def differing_names(a: TensorTable, b: TensorTable) -> list[str]:
    """Return the names of the tensors that differ or that one table lacks, in network order."""
    return sorted((n for n in {**a, **b} if a.get(n) != b.get(n)), key=network_order)


def other_tensors(a: Outcome, b: Outcome, folders: tuple[Path, Path]) -> str | None:
    """Return how the last checkpoints' tensors differ in names, types or shapes; None if not."""
    if not a.checkpoints or not b.checkpoints:
        return None
    tables = tensor_tables(a.checkpoints[-1], b.checkpoints[-1], folders)
    if tables is None:
        return None
    first, second = tables
    for name in sorted({**first, **second}, key=network_order):
        if name not in first or name not in second:
            return f"`{name}` is in {'A' if name in first else 'B'} alone"
        x, y = first[name], second[name]
        if (x["dtype"], x["shape"]) != (y["dtype"], y["shape"]):
            return (
                f"`{name}` is {x['dtype']} {tuple(x['shape'])} in A"
                f" and {y['dtype']} {tuple(y['shape'])} in B"
            )
    return None


def first_tensor(a: Outcome, b: Outcome, folders: tuple[Path, Path]) -> TensorDifference | None:
    """Return the first differing tensor of the first checkpoints that differ.

    Returns None if no two checkpoints of one step differ, or their tables cannot be read.
    """
    others = {checkpoint.step: checkpoint for checkpoint in b.checkpoints}
    for mine in a.checkpoints:
        other = others.get(mine.step)
        if other is None or other.tensor_digest == mine.tensor_digest:
            continue
        tables = tensor_tables(mine, other, folders)
        if tables is None:
            continue
        names = differing_names(*tables)
        files = folders[0] / mine.file, folders[1] / other.file
        largest = _largest(files, tables, names[0])
        count = len({**tables[0], **tables[1]})
        return TensorDifference(names[0], mine.step, len(names), count, *largest)
    return None


def tensor_tables(
    a: Checkpoint | InputFile, b: Checkpoint | InputFile, folders: tuple[Path, Path]
) -> tuple[TensorTable, TensorTable] | None:
    """Return the tensor tables of two checkpoints; None unless both are there and as recorded."""
    tables = []
    for folder, checkpoint in zip(folders, (a, b), strict=True):
        try:
            table = read_tensor_table(folder / (checkpoint.tensor_table or ""))
        except ManifestError:
            return None
        if tensor_digest(table) != checkpoint.tensor_digest:
            return None
        tables.append(table)
    return tables[0], tables[1]


def _largest(
    files: tuple[Path, Path], tables: tuple[TensorTable, TensorTable], name: str
) -> tuple[float, float] | tuple[None, None]:
    """Return largest absolute and relative difference of a tensor, if both files have it."""
    import numpy as np

    first, second = (_tensor(f, name, table) for f, table in zip(files, tables, strict=True))
    if first is None or second is None or first.shape != second.shape or not first.size:
        return None, None
    x, y = first.astype(np.float64), second.astype(np.float64)
    difference = np.abs(x - y)
    size = np.maximum(np.abs(x), np.abs(y))
    relative = np.divide(difference, size, out=np.zeros_like(size), where=size > 0)
    return float(difference.max()), float(relative.max())


def _tensor(path: Path, name: str, table: TensorTable) -> "np.ndarray[Any, Any] | None":
    """Return a tensor of a file; None if it is not there, or not as the table has it."""
    from safetensors import SafetensorError

    try:
        with open_safetensors(path) as file:
            array: np.ndarray[Any, Any] = file.get_tensor(name)
    except (OSError, SafetensorError):
        return None
    return array if tensor_table({name: array})[name] == table.get(name) else None
