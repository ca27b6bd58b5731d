"""Read weights of any known family, strictly, as arrays under canonical names."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tinybert.errors import InputError

Array = npt.NDArray[np.generic]


def check_match(
    arrays: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    types: Mapping[str, npt.DTypeLike],
    *,
    where: str,
) -> None:
    """Compare arrays with the parameters that they are for.

    Args:
        arrays: Values by name.
        shapes: Shape of every parameter by the same names.
        types: NumPy type that each value is converted to.
        where: Where the arrays come from.

    Raises:
        InputError: Lists every name without a counterpart on either side, every other shape, and
            every value that is not finite in its type.
    """
    problems: list[str] = []
    for name, shape in shapes.items():
        if name not in arrays:
            problems.append(f"missing: {name} {shape}")
        elif arrays[name].shape != shape:
            problems.append(f"shape: {name} is {arrays[name].shape}, not {shape}")
        elif not _fits(arrays[name], types[name]):
            problems.append(f"value: {name} is not finite in {np.dtype(types[name]).name}")
    problems += [f"unknown: {name} {arrays[name].shape}" for name in arrays if name not in shapes]
    if problems:
        raise InputError(
            f"weights do not fit the network, {len(problems)} of them:\n  " + "\n  ".join(problems),
            where=where,
            cure="make the sizes in the recipe those of the checkpoint, or name another one",
        )


def _fits(array: Array, dtype: npt.DTypeLike) -> bool:
    """Return whether all values are finite numbers in the type."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(dtype, copy=False)).all())
