"""Hugging Face's config.json: a network's description, both ways."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.errors import InputError, UsageError
from tinybert.export.network import TrainedNetwork
from tinybert.model.parameters import Array
from tinybert.model.weights import ACTIVATIONS
from tinybert.recipe.network import HeadConfig, NetworkConfig
from tinybert.recipe.tables import TaskType

_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
"""Hugging Face's name of each activation."""

_COUNTS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_NUMBERS = (
    "layer_norm_eps",
    "initializer_range",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
)
"""Keys that both sides have under one name."""
_MOST_LAYERS = 1 << 12
"""A description with more is damaged; the names of their parameters would fill the memory."""


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


def encode_config(network: TrainedNetwork) -> bytes:
    """Return the config.json of a network.

    Raises:
        UsageError: transformers' BERT cannot express it.
    """
    config, head = network.config, network.head
    require_expressible(config, head)
    description: dict[str, Any] = {
        "architectures": [_architecture(network)],
        "model_type": "bert",
        "hidden_act": _ACTIVATIONS[config.hidden_act],
        **{key: getattr(config, key) for key in (*_COUNTS, *_NUMBERS)},
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
        "dtype": next(iter(network.arrays.values())).dtype.name,
    }
    if head is not None:
        names = network.labels or [f"LABEL_{index}" for index in range(head.num_labels)]
        description["id2label"] = {str(index): name for index, name in enumerate(names)}
        description["classifier_dropout"] = head.classifier_dropout_prob
        description["label2id"] = {name: index for index, name in enumerate(names)}
    if head is not None and head.task_type == "regression":
        description["problem_type"] = "regression"
    if head is not None and head.task_type == "classification":
        description["problem_type"] = "single_label_classification"
    return (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode()


def decode_config(
    path: Path, names: Mapping[str, Array]
) -> tuple[NetworkConfig, HeadConfig | None]:
    """Return what a config.json describes.

    Args:
        path: The config.json.
        names: The values beside it by canonical name; they tell the type and the head's width.

    Raises:
        InputError: It is damaged, lacks a key, or describes no BERT that this program has.
    """
    try:
        described = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"unreadable description: {error}", where=str(path)) from error
    problems = _problems(described) if isinstance(described, dict) else ["it is no table"]
    if problems:
        raise InputError(
            "not the description of a BERT that this program has:"
            + "".join(f"\n  - {problem}" for problem in problems),
            where=str(path),
            cure="describe the network by a recipe: --recipe RECIPE --network student",
        )
    half = any(array.dtype.name == "float16" for array in names.values())
    config = NetworkConfig(
        **{key: described[key] for key in (*_COUNTS, *_NUMBERS)},
        hidden_act=ACTIVATIONS[described["hidden_act"]],
        use_relative_positions=False,
        enable_fused_layernorm=False,
        dtype="float16" if half else "float32",
        compute_type="float32",
    )
    return config, _head(config, described, names)


def lowercase(path: Path) -> bool | None:
    """Return whether a tokenizer_config.json lower-cases; None where it does not say."""
    try:
        described = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    found = described.get("do_lower_case") if isinstance(described, dict) else None
    return found if isinstance(found, bool) else None


def _problems(described: Mapping[str, Any]) -> list[str]:
    """Return every key whose value is missing or of the wrong kind."""
    problems = [
        f"{key} is {described.get(key)!r}"
        for keys, kinds in ((_COUNTS, int), (_NUMBERS, int | float))
        for key in keys
        if not isinstance(value := described.get(key), kinds)
        or isinstance(value, bool)
        or not 0 <= value < (_MOST_LAYERS if key == "num_hidden_layers" else 2**31)
    ]
    if str(described.get("hidden_act")) not in ACTIVATIONS:
        problems.append(f"hidden_act is {described.get('hidden_act')!r}")
    if (positions := described.get("position_embedding_type", "absolute")) != "absolute":
        problems.append(f"position_embedding_type is {positions!r}")
    if not problems and described["hidden_size"] % max(1, described["num_attention_heads"]):
        problems.append("num_attention_heads does not divide hidden_size")
    return problems


def _head(
    config: NetworkConfig, described: Mapping[str, Any], names: Mapping[str, Array]
) -> HeadConfig | None:
    weight = names.get("classifier.weight")
    if weight is None or weight.ndim != 2:
        return None
    task_type: TaskType = "classification"
    if any(str(n).endswith("TokenClassification") for n in described.get("architectures") or ()):
        task_type = "ner"
    elif len(weight) == 1:
        task_type = "regression"
    dropout = described.get("classifier_dropout")
    return HeadConfig(
        task_type=task_type,
        num_labels=len(weight),
        head="linear",
        classifier_dropout_prob=config.hidden_dropout_prob if dropout is None else dropout,
    )


def _architecture(network: TrainedNetwork) -> str:
    if network.head is not None:
        kind = "Token" if network.head.task_type == "ner" else "Sequence"
        return f"BertFor{kind}Classification"
    if "cls.predictions.bias" in network.arrays:
        both = "cls.seq_relationship.bias" in network.arrays
        return "BertForPreTraining" if both else "BertForMaskedLM"
    return "BertModel"
