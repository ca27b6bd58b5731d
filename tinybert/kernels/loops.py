"""How the loops are compiled, and the sums that they share."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import config, njit

from tinybert.kernels.threads import THREADS

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]
Loop = TypeVar("Loop", bound=Callable[..., object])

LANES = 64
"""Sums that elements are dealt out to in turn, before these are added."""
ROW_GROUPS = 16
"""Groups of rows whose parts of a weight's gradient are added apart; no more threads share them."""


_HERE = Path(__file__).parent
VERSION = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(_HERE.glob("*.py")))).hexdigest()
"""SHA-256 of the loops' sources."""


def _cache_folder() -> Path | None:
    """Return where machine code is kept, another folder for every version of the loops.

    Numba itself notices a change of a loop's own file, but not of one that it imports.
    """
    for parent in (_HERE / "__pycache__", Path.home() / ".cache" / "tinybert"):
        folder = parent / VERSION[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


FOLDER = _cache_folder()
"""Where machine code is kept; None: nowhere."""
if FOLDER is not None:
    config.CACHE_DIR = str(FOLDER)  # type: ignore[attr-defined]


def compiled(loop: Loop) -> Loop:
    """Compile a loop at its first call, and keep the machine code for later processes."""
    made = njit(nogil=True, error_model="numpy", cache=FOLDER is not None)(loop)
    return cast(Loop, made)


def float32(*values: float) -> tuple[np.float32, ...]:
    """Return numbers as float32."""
    return tuple(np.float32(value) for value in values)


ZERO, HALF, ONE = float32(0.0, 0.5, 1.0)


@compiled
def polynomial(x: np.float32, coefficients: tuple[np.float32, ...]) -> np.float32:
    """Return the sum of coefficients[i] x^i."""
    value = coefficients[-1]
    for i in range(len(coefficients) - 2, -1, -1):
        value = value * x + coefficients[i]
    return value


@compiled
def row_sum(row: Floats, lanes: Floats) -> np.float32:
    """Return the sum of (N,) float32; `lanes` (LANES,) is overwritten."""
    lanes[:] = ZERO
    full = row.size // LANES * LANES
    for start in range(0, full, LANES):
        for lane in range(LANES):
            lanes[lane] += row[start + lane]
    for lane in range(row.size - full):
        lanes[lane] += row[full + lane]
    width = LANES // 2
    while width > 0:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2
    total: np.float32 = lanes[0]
    return total


def new_group_sums(out: Floats) -> Floats:
    """Return zeros (ROW_GROUPS, H), which rows of groups are added to, for an output (H,)."""
    return np.zeros((ROW_GROUPS, out.size), np.float32)


@compiled
def rows_of_group(group: int, rows: int) -> tuple[int, int]:
    """Return the first of a group's rows, and the one after the last."""
    return rows * group // ROW_GROUPS, rows * (group + 1) // ROW_GROUPS


@compiled
def add_row(row: Floats, sums: Floats) -> None:
    """Add a row (H,) to sums (H,)."""
    for j in range(row.size):
        sums[j] += row[j]


@compiled
def add_groups(sums: Floats, out: Floats) -> None:
    """Fill `out` (H,) with the sum of those of groups (ROW_GROUPS, H), in their order."""
    out[:] = ZERO
    for group in range(ROW_GROUPS):
        add_row(sums[group], out)


def column_sums(x: Floats, out: Floats) -> None:
    """Fill `out` (H,) with the sums of the columns of (N, H), by groups of rows."""
    sums = new_group_sums(out)
    THREADS.share(ROW_GROUPS, x.size, _column_sums, x, sums)
    add_groups(sums, out)


@compiled
def _column_sums(x: Floats, sums: Floats, start: int, end: int) -> None:
    for group in range(start, end):
        first, last = rows_of_group(group, len(x))
        for i in range(first, last):
            add_row(x[i], sums[group])
