"""Read a network's weights from a checkpoint of any known family, strictly.

Nothing is ever unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tinybert.errors import InputError
from tinybert.model.names import POOLER, POSITION_EMBEDDINGS, canonical_names, is_head
from tinybert.model.parameters import Array, encoder_shapes
from tinybert.recipe.network import NetworkConfig
from tinybert.recipe.network_tables import Activation

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
"""Our names of Hugging Face's activations."""

_CONFIG_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "max_position_embeddings",
    "type_vocab_size",
)


@dataclass(frozen=True)
class LoadedWeights:
    """Weights of one network, by full parameter name."""

    arrays: dict[str, Array]
    """Values as the file has them, before conversion to the network's type."""
    dropped: tuple[str, ...]
    """Names in the file that the network has no use for."""
    absent: tuple[str, ...]
    """Parameters that the network never uses and the file lacks: the pooler's."""
    files: tuple[Path, ...]
    """The files that were read."""
    fit_dense: dict[str, Array] = field(default_factory=dict)
    """The distillation's projection, if it was asked for and is there."""


def read_weights(
    path: Path,
    config: NetworkConfig,
    prefix: str,
    *,
    pooler: bool = True,
    head: Mapping[str, tuple[int, ...]] | None = None,
    fit_dense: bool = False,
) -> LoadedWeights:
    """Read the weights of one encoder and, where it is asked for, of its head.

    Args:
        path: A Hugging Face `.safetensors` file or the directory that holds
            `model.safetensors`, a checkpoint of a run, or a MindSpore `.ckpt` file. A
            `config.json` beside the weights must describe the same network.
        config: The network that they must fit.
        prefix: What the network's parameter names start with, `student.` or `teacher.`.
        pooler: Whether the network uses its pooler; otherwise the file may lack it.
        head: Shapes of the head that must be there, by name; None: a head is left out.
        fit_dense: Whether to return the distillation's projection too, if the file has one.

    Raises:
        InputError: The file is missing, damaged or of an unknown kind, `config.json` describes
            another network, or names or shapes differ on either side; one error lists all.
    """
    file, arrays = read_arrays(path)
    description = file.parent / "config.json"
    files = (file, description) if description.is_file() else (file,)
    if description.is_file():
        _check_description(description, config)
    names = parameter_names(arrays, where=str(file))
    shapes = encoder_shapes(config) | dict(head or {})
    if POSITION_EMBEDDINGS not in shapes:  # relative positions in their place
        names.pop(POSITION_EMBEDDINGS, None)
    used = {n: arrays[at] for n, at in names.items() if n in shapes or not is_head(n)}
    projection = {
        n: arrays[at] for n, at in names.items() if fit_dense and n.startswith("fit_dense.")
    }
    absent = [n for n in shapes if n.startswith(POOLER) and n not in used and not pooler]
    for name in absent:
        del shapes[name]
    check_match(used, shapes, dict.fromkeys(shapes, config.dtype), where=str(file))
    return LoadedWeights(
        arrays={prefix + name: used[name] for name in shapes},
        dropped=tuple(sorted(arrays.keys() - {names[name] for name in (*used, *projection)})),
        absent=tuple(prefix + name for name in absent),
        files=files,
        fit_dense=projection,
    )


def parameter_names(arrays: Mapping[str, Array], *, where: str) -> dict[str, str]:
    """Return the name in a checkpoint of every parameter by canonical name.

    Args:
        arrays: Values under the names in the file.
        where: The file.

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


def read_arrays(path: Path) -> tuple[Path, dict[str, Array]]:
    """Return the file that `path` means and every array in it, under the names it has there.

    Raises:
        InputError: The file is missing, damaged or of an unknown kind.
    """
    file = _weights_file(path)
    return file, _read_checkpoint(file) if file.suffix == ".ckpt" else _read_safetensors(file)


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


def _weights_file(path: Path) -> Path:
    """Return the file that holds the weights."""
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
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
    return file


def _check_description(path: Path, config: NetworkConfig) -> None:
    """Raise an InputError that lists what Hugging Face's config.json says differently."""
    damaged = InputError(
        "not a description of a network",
        where=str(path),
        cure="put back the config.json that belongs to the weights, or take it away",
    )
    try:
        described = json.loads(path.read_bytes())
    except ValueError as error:
        raise damaged from error
    if not isinstance(described, dict):
        raise damaged
    if (activation := str(described.get("hidden_act"))) in ACTIVATIONS:
        described["hidden_act"] = ACTIVATIONS[activation]
    problems = [
        f"{key} is {described[key]!r} there and {getattr(config, key)!r} in the recipe"
        for key in _CONFIG_KEYS
        if key in described and described[key] != getattr(config, key)
    ]
    if described.get("position_embedding_type", "absolute") != "absolute":
        problems.append("position_embedding_type is not 'absolute' there")
    if problems:
        raise InputError(
            "the checkpoint is of another network:\n  " + "\n  ".join(problems),
            where=str(path),
            cure="make the recipe's network that of the checkpoint",
        )


def _read_safetensors(path: Path) -> dict[str, Array]:
    """Return every array of a safetensors file."""
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"unreadable safetensors file: {error}",
            where=str(path),
            cure="get the file again; its types must be float32 or float16",
        ) from error


def _read_checkpoint(path: Path) -> dict[str, Array]:
    """Return every array of a MindSpore checkpoint file, which is a protocol buffer."""
    from mindspore import load_checkpoint

    try:
        return {name: value.asnumpy() for name, value in load_checkpoint(str(path)).items()}
    except Exception as error:  # the framework promises no classes for damaged files
        raise InputError(
            "unreadable MindSpore checkpoint: " + str(error).split("\n", 1)[0],
            where=str(path),
            cure="get the file again; it is cut short or not a MindSpore checkpoint",
        ) from error
