"""Write a network as a checkpoint of another family, whole or not at all."""

from pathlib import Path

from tinybert.atomic import atomic_directory, atomic_replace
from tinybert.errors import UsageError
from tinybert.export.huggingface import require_expressible, write_huggingface
from tinybert.export.source import Source
from tinybert.files import writing
from tinybert.manifest import exported
from tinybert.model.checkpoint_files import WEIGHTS, encode_ckpt
from tinybert.model.description import DESCRIPTION
from tinybert.model.names import Family, names_in
from tinybert.prepare.tokenizer_files import TOKENIZER_CONFIG, VOCABULARY

EXPORT_FILES = {
    WEIGHTS,
    DESCRIPTION,
    VOCABULARY,
    TOKENIZER_CONFIG,
    exported.RECORD_FILE,
    "model.onnx",
    "model.mindir",
    "model.air",
}
"""The files that conversion and export write into a directory."""


def write_checkpoint(source: Source, family: Family, output: Path) -> None:
    """Write a network as a checkpoint of a family.

    Args:
        source: The network.
        family: `huggingface` makes a directory, with the tokenizer's files as far as they are
            known; the others make a `.ckpt` file.
        output: What to make; an existing one is replaced.

    Raises:
        InputError: The output cannot be written, or the tokenizer is not one that this program
            has.
        UsageError: The family has no such network.
    """
    network = source.network
    if family == "huggingface":
        require_expressible(network.config, network.head)
        tokenizer = source.tokenizer()
        with writing(output), atomic_directory(output, replace=True) as directory:
            write_huggingface(network, directory, source.vocab, source.texts, tokenizer)
        return
    try:
        names = names_in(family, network.arrays)
    except ValueError as error:
        raise UsageError(str(error), cure="use mindspore or huggingface") from error
    arrays = {names[name]: array for name, array in network.arrays.items()}
    with writing(output), atomic_replace(output) as temporary, temporary.open("wb") as file:
        file.writelines(encode_ckpt(arrays))


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
