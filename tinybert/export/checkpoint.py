"""Write a network as a checkpoint of another family, whole or not at all."""

import json
from pathlib import Path

from safetensors.numpy import save_file

from tinybert.atomic import atomic_directory, atomic_replace
from tinybert.data.sidecar import VOCABULARY
from tinybert.errors import UsageError
from tinybert.export.card import CARD, model_card
from tinybert.export.network import TrainedNetwork
from tinybert.export.source import Source
from tinybert.files import writing
from tinybert.manifest import exported
from tinybert.model.checkpoint_files import WEIGHTS, encode_ckpt
from tinybert.model.description import (
    ARCHITECTURES,
    DESCRIPTION,
    NETWORK_KEYS,
    PROBLEM_TYPES,
    TextKeys,
    transformers_activation,
)
from tinybert.model.names import Family, names_in
from tinybert.prepare.tokenizer_files import TOKENIZER_CONFIG
from tinybert.prepare.vocabulary import load_vocabulary

EXPORT_FILES = {
    WEIGHTS,
    DESCRIPTION,
    VOCABULARY,
    TOKENIZER_CONFIG,
    CARD,
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
        family: `huggingface` makes a directory, with the tokenizer's files; the others make a
            `.ckpt` file.
        output: What to make; an existing one is replaced.

    Raises:
        InputError: The output cannot be written, or the tokenizer is not one that this program
            has.
        UsageError: The family has no such network.
    """
    if family == "huggingface":
        with writing(output), atomic_directory(output, replace=True) as directory:
            write_huggingface(source, directory)
        return
    arrays = source.network.arrays
    try:
        names = names_in(family, arrays)
    except ValueError as error:
        raise UsageError(str(error), cure="use mindspore or huggingface") from error
    named = {names[name]: array for name, array in arrays.items()}
    with writing(output), atomic_replace(output) as temporary, temporary.open("wb") as file:
        file.writelines(encode_ckpt(named))


def write_huggingface(source: Source, directory: Path) -> None:
    """Write a network as transformers loads it, with a card, into an existing, empty directory.

    Raises:
        InputError: The tokenizer is not one that this program has.
        UsageError: transformers' BERT has no relative positions, and no ReLU before the classifier;
            or the tokenizer is not known: it would read every word as unknown.
    """
    network, texts = source.network, source.texts
    if network.config.use_relative_positions:
        raise UsageError(
            "transformers' BERT has no such relative positions (use_relative_positions)",
            cure="export to onnx or mindir, or convert to mindspore",
        )
    if network.head is not None and network.head.head == "relu_linear":
        raise UsageError(
            "transformers' BERT has no ReLU before its classifier (head = `relu_linear`)",
            cure='export to onnx or mindir, or train with head = "linear"',
        )
    vocab, tokenizer = source.require_tokenizer()
    (directory / DESCRIPTION).write_bytes(encode_description(network, texts))
    names = names_in("huggingface", network.arrays)
    arrays = {names[name]: array for name, array in network.arrays.items()}
    save_file(arrays, directory / WEIGHTS, metadata={"format": "pt"})
    (directory / WEIGHTS).chmod(0o644)
    (directory / VOCABULARY).write_bytes(load_vocabulary(vocab).encode())
    (directory / TOKENIZER_CONFIG).write_bytes(tokenizer.encode(texts.seq_length))
    (directory / CARD).write_text(model_card(source), encoding="utf-8")


def encode_description(network: TrainedNetwork, texts: TextKeys) -> bytes:
    """Return the config.json of a network that transformers' BERT has."""
    config, head = network.config, network.head
    content = {key: getattr(config, key) for key in NETWORK_KEYS} | {
        "architectures": [_architecture(network)],
        "model_type": "bert",
        "hidden_act": transformers_activation(config.hidden_act),
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
        "dtype": next(iter(network.arrays.values())).dtype.name,
        "tinybert": texts.to_json(),
    }
    if head is not None:
        names = network.labels or [f"LABEL_{index}" for index in range(head.num_labels)]
        content |= {
            "id2label": {str(index): name for index, name in enumerate(names)},
            "label2id": {name: index for index, name in enumerate(names)},
            "classifier_dropout": head.classifier_dropout_prob,
        }
        if head.task_type in PROBLEM_TYPES:
            content["problem_type"] = PROBLEM_TYPES[head.task_type]
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _architecture(network: TrainedNetwork) -> str:
    if network.head is not None:
        return ARCHITECTURES[network.head.task_type]
    if "cls.predictions.bias" in network.arrays:
        both = "cls.seq_relationship.bias" in network.arrays
        return "BertForPreTraining" if both else "BertForMaskedLM"
    return "BertModel"


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
