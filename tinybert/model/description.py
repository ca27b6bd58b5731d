"""How a checkpoint describes its network: Hugging Face's config.json beside it, and label names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from tinybert.data.labels import decode_labels
from tinybert.errors import InputError, bulleted
from tinybert.files import open_safetensors
from tinybert.model.checkpoint_files import WEIGHTS
from tinybert.model.names import CLASSIFIER, POOLER, QA_OUTPUTS, head_name
from tinybert.model.parameters import Array
from tinybert.recipe.network import HeadConfig, NetworkConfig
from tinybert.recipe.network_tables import Activation, Precision
from tinybert.recipe.task_types import TaskType
from tinybert.strict_json import read_json

DESCRIPTION = "config.json"
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
"""Activations by their names in transformers; of several for one, the last is written."""
_TASKS: dict[str, TaskType | None] = {
    "BertModel": None,
    "BertForPreTraining": None,
    "BertForMaskedLM": None,
    "TinyBertForPreTraining": None,
    "BertForSequenceClassification": "classification",
    "BertForTokenClassification": "ner",
    "BertForQuestionAnswering": "question_answering",
}
"""The architectures that this program has, and what their heads predict."""
_COMPARED_KEYS = (
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
"""What a recipe's network must have in common with a description."""
NETWORK_KEYS = (
    *_COMPARED_KEYS,
    "initializer_range",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
)
"""What describes a network in config.json and in recipes, under one name."""
ARCHITECTURES: dict[TaskType, str] = {
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "multi_label_classification": "BertForSequenceClassification",
    "ner": "BertForTokenClassification",
    "question_answering": "BertForQuestionAnswering",
}
"""The architecture of each task in transformers."""
PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "regression": "regression",
    "multi_label_classification": "multi_label_classification",
}
"""Of sequence classification, by task type."""
_UNNAMED = re.compile(r"LABEL_\d+")

Size = Annotated[int, Field(ge=0, lt=1 << 31)]
Rate = Annotated[float, Field(ge=0, lt=1 << 31)]
HiddenAct = Annotated[
    Activation,
    BeforeValidator(lambda name: _ACTIVATIONS.get(str(name), name)),
]


class AnswerKeys(BaseModel):
    """How a network's answers are chosen, and long contexts cut."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    max_answer_length: Annotated[int, Field(ge=1, lt=1 << 31)] = 30
    """Most tokens of an answer; here and below, else as in BERT's run_squad.py."""
    no_answer_threshold: float | None = None
    """As in a recipe; null: every question has an answer."""
    stride: Annotated[int, Field(ge=1, lt=1 << 31)] = 128
    """Tokens between the beginnings of two windows over a context."""
    max_question_length: Annotated[int, Field(ge=1, lt=1 << 31)] = 64
    """Tokens of a question that are read."""


class TextKeys(BaseModel):
    """What this program adds to a config.json: how texts became rows of the network."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    seq_length: Annotated[int, Field(ge=1, lt=1 << 31)]
    """Most tokens of a row that it was trained on; as many as it has positions if unknown."""
    characters: bool | None = None
    """Whether every character is a word to be tagged; null where that is not known."""
    pairs: bool | None = None
    """Whether a row has two texts; null where that is not known."""
    answers: AnswerKeys | None = None
    """Of question answering alone."""

    def to_json(self) -> dict[str, Any]:
        """Return the keys as a config.json has them."""
        return self.model_dump(exclude={"answers"} if self.answers is None else None)


class Description(BaseModel):
    """The keys of a config.json that matter here.

    A key that is not there has the default of transformers' BertConfig.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    architectures: list[str] | None = None
    model_type: str = "bert"
    hidden_act: HiddenAct = "gelu"
    vocab_size: Size = 30522
    hidden_size: Size = 768
    num_hidden_layers: Annotated[int, Field(ge=0, lt=1 << 12)] = 12
    """More are a damaged file; the names of their parameters would fill the memory."""
    num_attention_heads: Annotated[int, Field(ge=1, lt=1 << 31)] = 12
    intermediate_size: Size = 3072
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    layer_norm_eps: Rate = 1e-12
    initializer_range: Rate = 0.02
    hidden_dropout_prob: Rate = 0.1
    attention_probs_dropout_prob: Rate = 0.1
    position_embedding_type: str = "absolute"
    is_decoder: Literal[False] = False
    id2label: dict[str, str] | None = None
    classifier_dropout: Rate | None = None
    problem_type: str | None = None
    tinybert: TextKeys | None = None

    @classmethod
    def read(cls, path: Path) -> "Description":
        """Read a config.json.

        Raises:
            InputError: It is damaged, or a value is not one that this program has; lists all.
        """
        try:
            content = read_json(path)
            if not isinstance(content, dict):
                raise ValueError("it is no table")
        except (OSError, ValueError) as error:
            raise InputError(
                "not a description of a network",
                where=str(path),
                cure="put back the config.json that belongs to the weights, or take it away",
            ) from error
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            keys = dict.fromkeys(str(each["loc"][0]) for each in error.errors())
            raise _unsupported(path, *(f"{key} is {content[key]!r}" for key in keys)) from error

    def network(self, dtype: Precision) -> NetworkConfig:
        """Return the encoder.

        Args:
            dtype: Type of the parameters.

        Raises:
            ValueError: This program has no such encoder.
        """
        if self.model_type != "bert":
            raise ValueError(f"model_type is {self.model_type!r}")
        if self.position_embedding_type != "absolute":
            raise ValueError(f"position_embedding_type is {self.position_embedding_type!r}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("num_attention_heads does not divide hidden_size")
        return NetworkConfig(
            **{key: getattr(self, key) for key in NETWORK_KEYS},
            use_relative_positions=False,
            enable_fused_layernorm=False,
            dtype=dtype,
            compute_type="float32",
        )

    def differences(self, config: NetworkConfig) -> list[str]:
        """Return where a recipe's network is another."""
        problems = [
            f"{key} is {theirs!r} there and {ours!r} in the recipe"
            for key in _COMPARED_KEYS
            if (theirs := getattr(self, key)) != (ours := getattr(config, key))
        ]
        if self.model_type != "bert":
            problems.append(f"model_type is {self.model_type!r} there")
        if self.position_embedding_type != "absolute":
            problems.append("position_embedding_type is not 'absolute' there")
        return problems

    def head(self, num_labels: int | None, *, pooler: bool) -> HeadConfig | None:
        """Return the head of a task, or None for an encoder.

        The rules are those of transformers: a classifier with one output and without
        `problem_type` predicts a number. A file with a classifier and a pooler whose
        `architectures` are not there is of BertForSequenceClassification.

        Args:
            num_labels: Outputs of the file's head; None where it has none.
            pooler: Whether the file has a pooler.

        Raises:
            ValueError: This program has no such head, or the file has another.
        """
        names = self.architectures
        if names is None and num_labels is not None and num_labels > 1 and pooler:
            names = ["BertForSequenceClassification"]
        if any(name not in _TASKS for name in names or ()):
            raise ValueError(f"architectures is {names!r}")
        task_type = next(iter({_TASKS[name] for name in names or ()} - {None}), None)
        if (task_type is None) != (num_labels is None):
            beside = "no classifier" if num_labels is None else "a classifier"
            raise ValueError(f"architectures is {names!r}, and the file has {beside}")
        if num_labels is None or task_type is None:
            return None
        if task_type == "classification" and (
            self.problem_type == "regression" or (self.problem_type is None and num_labels == 1)
        ):
            task_type = "regression"
        elif task_type == "classification" and self.problem_type == "multi_label_classification":
            task_type = "multi_label_classification"
        elif self.problem_type not in (None, PROBLEM_TYPES["classification"]):
            raise ValueError(f"problem_type is {self.problem_type!r}")
        if task_type == "regression" and num_labels > 1:
            raise ValueError(f"problem_type is 'regression', of {num_labels} numbers")
        self._check_label_names(num_labels)
        dropout = self.classifier_dropout
        return HeadConfig(
            task_type=task_type,
            num_labels=num_labels,
            head="linear",
            classifier_dropout_prob=self.hidden_dropout_prob if dropout is None else dropout,
        )

    def _check_label_names(self, num_labels: int) -> None:
        """Raise a ValueError unless `id2label`, if it is there, names each label of a head."""
        names = self.id2label
        if names is None:
            return
        if len(names) != num_labels:
            raise ValueError(f"id2label has {len(names)} labels, the classifier {num_labels}")
        if set(names) != set(map(str, range(num_labels))):
            raise ValueError(f"id2label has the ids {', '.join(names)}, not 0, 1, 2 and on")
        if len(set(names.values())) != num_labels:
            raise ValueError(f"id2label gives one name to several labels: {names!r}")

    def head_differences(self, head: HeadConfig) -> list[str]:
        """Return where the head of a recipe's task is another, as far as the file describes it."""
        if self.architectures is None and self.problem_type is None:
            return []
        try:
            described = self.head(head.num_labels, pooler=True)
        except ValueError as error:
            return [str(error)]
        if described is None or described.task_type == head.task_type:
            return []
        return [f"the head is for {described.task_type} there and {head.task_type} in the recipe"]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Label names in the order of their ids, where they have names."""
        names = self.id2label or {}
        ids = [str(index) for index in range(len(names))]
        if set(ids) != names.keys() or all(map(_UNNAMED.fullmatch, names.values())):
            return None
        return tuple(names[each] for each in ids)


def transformers_activation(name: Activation) -> str:
    """Return the name of an activation in transformers."""
    return {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[name]


class DescribedNetwork(NamedTuple):
    """A network as a config.json or a recipe describes it."""

    config: NetworkConfig
    head: HeadConfig | None
    """None for an encoder."""
    texts: TextKeys
    """How texts became its rows."""


def describe_network(path: Path, arrays: Mapping[str, Array]) -> DescribedNetwork:
    """Return the network that a config.json describes.

    Args:
        path: The config.json.
        arrays: The values beside it by canonical name: their type, and whether they have a
            classifier and a pooler, must fit.

    Raises:
        InputError: It is damaged, or describes no BERT that this program has.
    """
    description = Description.read(path)
    half = any(array.dtype == np.float16 for array in arrays.values())
    heads = [name for name in (CLASSIFIER, QA_OUTPUTS) if f"{name}.bias" in arrays]
    num_labels = arrays[f"{heads[0]}.bias"].size if heads else None
    pooler = any(name.startswith(POOLER) for name in arrays)
    try:
        config = description.network("float16" if half else "float32")
    except ValueError as error:
        raise _unsupported(path, str(error)) from error
    try:
        head = description.head(num_labels, pooler=pooler)
        if head is not None and heads != [head_name(head.task_type)]:
            raise ValueError(
                f"architectures is {description.architectures!r}, and the file has {heads[0]}"
            )
    except ValueError as error:
        cure = "use a network that predicts labels or a number of a text, tags, or answers"
        raise _unsupported(path, str(error), cure=cure) from error
    texts = description.tinybert or TextKeys(seq_length=config.max_position_embeddings)
    return DescribedNetwork(config, head, texts)


def recorded_labels(path: Path) -> tuple[str, ...] | None:
    """Return the label names that a checkpoint's head was trained with, in the order of their ids.

    They are in the metadata of a run's checkpoint, or in Hugging Face's config.json. None where
    neither has them or can be read: reading the weights reports what is wrong.

    Args:
        path: The checkpoint, or a directory with a Hugging Face model.
    """
    file = path / WEIGHTS if path.is_dir() else path
    try:
        described = Description.read(file.parent / DESCRIPTION).labels
    except InputError:
        described = None
    return _in_metadata(file) or described


def _in_metadata(file: Path) -> tuple[str, ...] | None:
    if file.suffix != ".safetensors":
        return None
    try:
        with open_safetensors(file) as opened:
            return decode_labels(opened.metadata() or {})
    except (SafetensorError, OSError):
        return None


def _unsupported(
    path: Path,
    *problems: str,
    cure: str = "describe the network by a recipe: --recipe RECIPE --network student",
) -> InputError:
    """Return the error for a config.json of a network that this program does not have."""
    message = "not the description of a BERT that this program has:" + bulleted(problems)
    return InputError(message, where=str(path), cure=cure)
