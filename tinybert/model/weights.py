"""Read a network's weights from a checkpoint of any known family, strictly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.errors import InputError
from tinybert.model.checkpoint_files import read_arrays
from tinybert.model.description import DESCRIPTION, Description
from tinybert.model.names import (
    FIT_DENSE,
    POOLER,
    POSITION_EMBEDDINGS,
    canonical_names,
    is_head,
)
from tinybert.model.parameters import Array, encoder_shapes, head_shapes
from tinybert.recipe.network import HeadConfig, NetworkConfig


@dataclass(frozen=True)
class LoadedWeights:
    """Weights of one network, by full parameter name."""

    arrays: dict[str, Array]
    """Values as the file has them, before conversion to the network's type."""
    dropped: tuple[str, ...]
    """Names in the file that the network has no use for."""
    absent: tuple[str, ...]
    """The pooler's parameters where the file lacks them; they begin from the seed."""
    files: tuple[Path, ...]
    """The files that were read."""
    fit_dense: dict[str, Array] = field(default_factory=dict)
    """The distillation's projection, if it was asked for and is there."""


def read_weights(
    path: Path,
    config: NetworkConfig,
    prefix: str,
    *,
    head: HeadConfig | None = None,
    fit_dense: Mapping[str, tuple[int, ...]] | None = None,
    check: Callable[[Mapping[str, Array]], None] | None = None,
) -> LoadedWeights:
    """Read the weights of one encoder and, where it is asked for, of its head.

    Args:
        path: A checkpoint as `read_arrays` takes it. A `config.json` beside it must describe the
            same network.
        config: The network that they must fit.
        prefix: What the network's parameter names start with, `student.` or `teacher.`.
        head: The head that must be there, with the pooler that it was trained with; None: a head
            is left out, and the file may lack a pooler.
        fit_dense: Shapes of the distillation's projection, which is returned too if the file has
            one under these names.
        check: Raises an error unless the arrays in the file are the ones that are expected.

    Raises:
        InputError: The file is missing, damaged or of an unknown kind, `config.json` describes
            another network, or names or shapes differ on either side; one error lists all.
    """
    stored = read_arrays(path)
    if check is not None:
        check(stored.arrays)
    files, where = stored.files, str(stored.path)
    description = stored.path.parent / DESCRIPTION
    if description.is_file():
        files = (*files, description)
        _check_description(description, config, head)
    names = parameter_names(stored.arrays, where=where)
    shapes = encoder_shapes(config) | (head_shapes(config, head) if head is not None else {})
    if POSITION_EMBEDDINGS not in shapes:  # relative positions in their place
        names.pop(POSITION_EMBEDDINGS, None)
    shapes |= fit_dense if fit_dense is not None and fit_dense.keys() <= names.keys() else {}
    used = {n: stored.arrays[at] for n, at in names.items() if n in shapes or not is_head(n)}
    absent: list[str] = []
    if head is None or head.kind.logits_by_token:  # no trained head reads the pooler's output
        absent = [n for n in shapes if n.startswith(POOLER) and n not in used]
    for name in absent:
        del shapes[name]
    check_match(used, shapes, dict.fromkeys(shapes, config.dtype), where=where)
    return LoadedWeights(
        arrays={prefix + n: used[n] for n in shapes if not n.startswith(FIT_DENSE)},
        dropped=tuple(sorted(stored.arrays.keys() - {names[n] for n in shapes})),
        absent=tuple(prefix + name for name in absent),
        files=files,
        fit_dense={n: used[n] for n in shapes if n.startswith(FIT_DENSE)},
    )


def _check_description(path: Path, config: NetworkConfig, head: HeadConfig | None) -> None:
    """Raise an InputError that lists where a config.json describes another network."""
    description = Description.read(path)
    problems = description.differences(config)
    problems += [] if head is None else description.head_differences(head)
    if problems:
        raise InputError(
            "the checkpoint is of another network:\n  " + "\n  ".join(problems),
            where=str(path),
            cure="make the recipe's network that of the checkpoint",
        )


def parameter_names(arrays: Mapping[str, Array], *, where: str) -> dict[str, str]:
    """Return the name in the checkpoint `where` of every parameter by canonical name.

    Raises:
        InputError: There is not exactly one network in the file, or two names mean the same.
    """
    try:
        return canonical_names(arrays)
    except ValueError as error:
        raise InputError(
            f"not the weights of one BERT network: {error}",
            where=where,
            cure="name a checkpoint of BERT or of a run of this program",
        ) from error


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
            every value that is not a finite number in its type.
    """
    problems: list[str] = []
    for name, shape in shapes.items():
        if name not in arrays:
            problems.append(f"missing: {name} {shape}")
        elif arrays[name].shape != shape:
            problems.append(f"shape: {name} is {arrays[name].shape}, not {shape}")
        elif not _fits(arrays[name], types[name]):
            problems.append(f"value: {name} has no finite {np.dtype(types[name]).name} values")
    problems += [f"unknown: {name} {arrays[name].shape}" for name in arrays if name not in shapes]
    if problems:
        raise InputError(
            "the weights do not fit the network:\n  " + "\n  ".join(problems),
            where=where,
            cure="make the sizes in the recipe those of the checkpoint, or name another one",
        )


def _fits(array: Array, dtype: npt.DTypeLike) -> bool:
    """Return whether all values are finite numbers in the type."""
    if array.dtype.kind != "f":
        return False
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(dtype, copy=False)).all())
