"""One network's complete description, gathered from `[network]` and its own table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tinybert.recipe.model import AnyRecipe, GeneralDistill
from tinybert.recipe.network_tables import (
    Activation,
    FinetunedTeacher,
    Head,
    NetworkKeys,
    Precision,
    TaskStudent,
    Trained,
)
from tinybert.recipe.task_types import TASK_KINDS, TaskKind, TaskType

Role = Literal["teacher", "student"]
ROLES: tuple[Role, Role] = ("teacher", "student")


@dataclass(frozen=True)
class NetworkConfig:
    """A BERT encoder as a recipe describes it; the keys' meanings are those of the recipe."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: Activation
    layer_norm_eps: float
    max_position_embeddings: int
    type_vocab_size: int
    initializer_range: float
    use_relative_positions: bool
    enable_fused_layernorm: bool
    dtype: Precision
    compute_type: Precision
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    embedding_initializer_range: float | None = None
    padding_idx: int | None = None


@dataclass(frozen=True)
class HeadConfig:
    """What follows the encoder for a task; the keys' meanings are those of the recipe."""

    task_type: TaskType
    num_labels: int
    head: Head
    classifier_dropout_prob: float

    @property
    def kind(self) -> TaskKind:
        """What differs between kinds of tasks."""
        return TASK_KINDS[self.task_type]


def network(recipe: AnyRecipe, role: Role) -> NetworkConfig:
    """Return the description of the teacher or the student of a recipe that validates.

    A key comes from the network's own table or from `[network]`, where it is written once.

    Raises:
        ValueError: The recipe has no such network.
    """
    table = recipe.teacher if role == "teacher" else recipe.student
    if table is None:
        raise ValueError(f"a recipe without [{role}]")
    shared: dict[str, Any] = {}
    for key in NetworkKeys.model_fields:
        own = getattr(table, key)
        shared[key] = getattr(recipe.network, key) if own is None else own
    return NetworkConfig(
        hidden_size=table.hidden_size,
        num_hidden_layers=table.num_hidden_layers,
        intermediate_size=table.intermediate_size,
        hidden_dropout_prob=table.hidden_dropout_prob,
        attention_probs_dropout_prob=table.attention_probs_dropout_prob,
        embedding_initializer_range=table.embedding_initializer_range,
        padding_idx=table.padding_idx if isinstance(table, Trained) else None,
        **shared,
    )


def networks(recipe: AnyRecipe) -> dict[Role, NetworkConfig]:
    """Return the description of each network of a recipe, the teacher first."""
    return {role: network(recipe, role) for role in ROLES if getattr(recipe, role) is not None}


def padding_indices(configs: Mapping[Role, NetworkConfig]) -> dict[str, int]:
    """Return the `padding_idx` of each network that has one."""
    indices = {role: config.padding_idx for role, config in configs.items()}
    return {role: index for role, index in indices.items() if index is not None}


def head(recipe: AnyRecipe, role: Role) -> HeadConfig:
    """Return the description of the head of the teacher or the student of a task's recipe.

    Raises:
        ValueError: The recipe has no such network, or no task.
    """
    if isinstance(recipe, GeneralDistill):
        raise ValueError("a recipe without a task")
    table = recipe.teacher if role == "teacher" else recipe.student
    if table is None:
        raise ValueError(f"a recipe without [{role}]")
    dropout = 0.0
    if isinstance(table, TaskStudent | FinetunedTeacher):
        dropout = table.classifier_dropout_prob
    return HeadConfig(recipe.task.task_type, recipe.task.num_labels, table.head, dropout)
