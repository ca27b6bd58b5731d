"""Write a network as transformers loads it: model.safetensors, config.json and a tokenizer."""

import json
import shutil
from pathlib import Path

from safetensors.numpy import save_file

from tinybert.errors import UsageError
from tinybert.export.network import TrainedNetwork
from tinybert.model.checkpoint_files import WEIGHTS
from tinybert.model.description import (
    DESCRIPTION,
    NETWORK_KEYS,
    PROBLEM_TYPES,
    transformers_activation,
)
from tinybert.model.names import names_in
from tinybert.recipe.network import HeadConfig, NetworkConfig

VOCABULARY = "vocab.txt"
TOKENIZER = "tokenizer_config.json"


def require_expressible(config: NetworkConfig, head: HeadConfig | None) -> None:
    """Refuse a network that transformers' BERT does not have.

    Raises:
        UsageError: It has relative positions, or a ReLU before the classifier.
    """
    if config.use_relative_positions:
        raise UsageError(
            "transformers' BERT has no such relative positions (use_relative_positions)",
            cure="export to onnx or mindir, or convert to mindspore",
        )
    if head is not None and head.head == "relu_linear":
        raise UsageError(
            "transformers' BERT has no ReLU before its classifier (head = `relu_linear`)",
            cure='export to onnx or mindir, or train with head = "linear"',
        )


def write_huggingface(
    network: TrainedNetwork, directory: Path, vocab: Path | None, lowercase: bool | None
) -> None:
    """Write a network into an existing, empty directory.

    Args:
        network: The network.
        directory: Where to write.
        vocab: A vocab.txt to copy.
        lowercase: Whether the tokenizer lower-cases; None where that is not known.

    Raises:
        UsageError: transformers' BERT cannot express the network.
    """
    require_expressible(network.config, network.head)
    (directory / DESCRIPTION).write_bytes(encode_description(network))
    names = names_in("huggingface", network.arrays)
    arrays = {names[name]: array for name, array in network.arrays.items()}
    save_file(arrays, directory / WEIGHTS, metadata={"format": "pt"})
    (directory / WEIGHTS).chmod(0o644)
    if vocab is None:
        return
    shutil.copyfile(vocab, directory / VOCABULARY)
    if lowercase is not None:
        tokenizer = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": lowercase,
            "model_max_length": network.config.max_position_embeddings,
        }
        (directory / TOKENIZER).write_text(json.dumps(tokenizer, indent=2) + "\n")


def encode_description(network: TrainedNetwork) -> bytes:
    """Return the config.json of a network that transformers' BERT has."""
    config, head = network.config, network.head
    content = {key: getattr(config, key) for key in NETWORK_KEYS} | {
        "architectures": [_architecture(network)],
        "model_type": "bert",
        "hidden_act": transformers_activation(config.hidden_act),
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
        "dtype": next(iter(network.arrays.values())).dtype.name,
    }
    if head is not None:
        names = network.labels or [f"LABEL_{index}" for index in range(head.num_labels)]
        content |= {
            "id2label": {str(index): name for index, name in enumerate(names)},
            "label2id": {name: index for index, name in enumerate(names)},
            "classifier_dropout": head.classifier_dropout_prob,
        }
        if head.task_type != "ner":
            content["problem_type"] = PROBLEM_TYPES[head.task_type]
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _architecture(network: TrainedNetwork) -> str:
    if network.head is not None:
        kind = "Token" if network.head.task_type == "ner" else "Sequence"
        return f"BertFor{kind}Classification"
    if "cls.predictions.bias" in network.arrays:
        both = "cls.seq_relationship.bias" in network.arrays
        return "BertForPreTraining" if both else "BertForMaskedLM"
    return "BertModel"


def tokenizer_lowercases(directory: Path) -> bool | None:
    """Return whether a tokenizer_config.json lower-cases; None where it does not say."""
    try:
        described = json.loads((directory / TOKENIZER).read_bytes())
    except (OSError, ValueError):
        return None
    lowercase = described.get("do_lower_case") if isinstance(described, dict) else None
    return lowercase if isinstance(lowercase, bool) else None
