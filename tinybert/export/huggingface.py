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
    TextKeys,
    transformers_activation,
)
from tinybert.model.names import names_in
from tinybert.prepare.tokenizer_files import TOKENIZER_CONFIG, VOCABULARY, StatedTokenizer
from tinybert.recipe.network import HeadConfig, NetworkConfig


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
    network: TrainedNetwork,
    directory: Path,
    vocab: Path | None,
    texts: TextKeys,
    tokenizer: StatedTokenizer,
) -> None:
    """Write a network into an existing, empty directory.

    Args:
        network: The network.
        directory: Where to write.
        vocab: A vocab.txt to copy.
        texts: How texts became rows of its training.
        tokenizer: How its tokenizer was set, as far as that is known.

    Raises:
        UsageError: transformers' BERT cannot express the network.
    """
    require_expressible(network.config, network.head)
    (directory / DESCRIPTION).write_bytes(encode_description(network, texts))
    names = names_in("huggingface", network.arrays)
    arrays = {names[name]: array for name, array in network.arrays.items()}
    save_file(arrays, directory / WEIGHTS, metadata={"format": "pt"})
    (directory / WEIGHTS).chmod(0o644)
    if vocab is not None:
        shutil.copyfile(vocab, directory / VOCABULARY)
    if tokenizer.lowercase is not None:
        (directory / TOKENIZER_CONFIG).write_bytes(tokenizer.encode(texts.seq_length))


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
        "tinybert": texts.model_dump(),
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
