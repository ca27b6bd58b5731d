"""Write a network as a checkpoint of another family, whole or not at all."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.numpy import save_file

from tinybert.atomic import atomic_directory, atomic_replace
from tinybert.errors import UsageError
from tinybert.export import config as description
from tinybert.export.network import TrainedNetwork
from tinybert.files import writing
from tinybert.manifest import exported
from tinybert.model.names import Family, names_in
from tinybert.model.parameters import Array

WEIGHTS = "model.safetensors"
EXPORT_FILES = {
    WEIGHTS,
    "config.json",
    "vocab.txt",
    "tokenizer_config.json",
    exported.RECORD_FILE,
    "model.onnx",
    "model.mindir",
    "model.air",
}
"""The files that conversion and export write into a directory."""


def renamed(network: TrainedNetwork, family: Family) -> dict[str, Array]:
    """Return the network's values under the names of a family.

    Raises:
        UsageError: The family has no such network.
    """
    try:
        names = names_in(family, network.arrays)
    except ValueError as error:
        raise UsageError(str(error), cure="use mindspore or huggingface") from error
    return {names[name]: array for name, array in network.arrays.items()}


def write_huggingface(
    network: TrainedNetwork, directory: Path, vocab: Path | None, lowercase: bool | None
) -> None:
    """Write model.safetensors, config.json, vocab.txt into an existing, empty directory.

    Args:
        network: The network.
        directory: Where to write.
        vocab: A vocab.txt to copy.
        lowercase: Whether the tokenizer lower-cases; None where that is not known.

    Raises:
        UsageError: transformers' BERT cannot express the network.
    """
    (directory / "config.json").write_bytes(description.encode_config(network))
    arrays = renamed(network, "huggingface")
    save_file(arrays, directory / WEIGHTS, metadata={"format": "pt"})
    (directory / WEIGHTS).chmod(0o644)
    if vocab is None:
        return
    shutil.copyfile(vocab, directory / "vocab.txt")
    if lowercase is not None:
        tokenizer = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": lowercase,
            "model_max_length": network.config.max_position_embeddings,
        }
        text = json.dumps(tokenizer, indent=2) + "\n"
        (directory / "tokenizer_config.json").write_text(text)


def write_mindspore(arrays: Mapping[str, Array], path: Path) -> None:
    """Write a MindSpore checkpoint file.

    Raises:
        OSError: The folder cannot be written.
    """
    from mindspore import Tensor, save_checkpoint

    parameters = [{"name": name, "data": Tensor(array)} for name, array in arrays.items()]
    with atomic_replace(path) as temporary, TemporaryDirectory(dir=path.parent) as folder:
        # The framework adds `.ckpt` to other names and makes the file read-only.
        written = Path(folder) / "whole.ckpt"
        save_checkpoint(parameters, str(written))
        written.chmod(0o644)
        written.rename(temporary)


def write_checkpoint(
    network: TrainedNetwork,
    family: Family,
    output: Path,
    *,
    vocab: Path | None,
    lowercase: bool | None,
) -> None:
    """Write a network as a checkpoint of a family.

    Args:
        network: The network.
        family: `huggingface` makes a directory, the others a `.ckpt` file.
        output: What to make; an existing one is replaced.
        vocab: A vocab.txt to copy, for `huggingface`.
        lowercase: Whether its tokenizer lower-cases; None where that is not known.

    Raises:
        InputError: The output cannot be written.
        UsageError: The family has no such network.
    """
    if family == "huggingface":
        description.require_expressible(network.config, network.head)
        with writing(output), atomic_directory(output, replace=True) as directory:
            write_huggingface(network, directory, vocab, lowercase)
        return
    arrays = renamed(network, family)
    with writing(output):
        write_mindspore(arrays, output)


def require_free(output: Path, *, directory: bool, force: bool) -> None:
    """Refuse to replace anything that the user did not ask to replace, or that is not ours.

    Args:
        output: What is to be made.
        directory: Whether that is a directory.
        force: Whether an earlier result may be replaced.

    Raises:
        UsageError: It exists and may not be replaced.
    """
    if not output.exists():
        return
    if not force:
        raise UsageError(
            "the output exists", where=str(output), cure="name another, or replace it with --force"
        )
    if output.is_dir() != directory:
        kinds = ("a directory", "a file") if directory else ("a file", "a directory")
        raise UsageError(f"the output must be {kinds[0]} and is {kinds[1]}", where=str(output))
    others = sorted({file.name for file in output.iterdir()} - EXPORT_FILES) if directory else []
    if others:
        raise UsageError(
            f"the directory holds files that are not of an export, such as {others[0]}, "
            "and is not replaced",
            where=str(output),
            cure="name another, or remove it yourself",
        )
