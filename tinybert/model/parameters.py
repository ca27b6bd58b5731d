"""Names and shapes of an encoder's parameters, and their seeded initial values."""

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinybert.model.names import (
    FIT_DENSE,
    MASKED_LM,
    POOLER,
    POSITION_EMBEDDINGS,
    SEGMENT_EMBEDDINGS,
    WORD_EMBEDDINGS,
    head_name,
)
from tinybert.randomness import truncated_normal
from tinybert.recipe.network import HeadConfig, NetworkConfig

FitKind = Literal["shared", "per_layer", "none"]
Array = npt.NDArray[np.generic]
"""A parameter's values."""
MAX_RELATIVE_POSITION = 16
"""Distance from which on all keys share one relative position, as in MindSpore's BERT."""


def layer_name(layer: int) -> str:
    """Return the name that a layer's parameters start with; layers count from 0."""
    return f"encoder.layer.{layer}"


def encoder_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of an encoder, in network order.

    Names are those of Hugging Face's BertModel. Weights of linear maps are (out, in). With
    `use_relative_positions` a table (33, D) in every layer takes the place of the position
    embedding.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        WORD_EMBEDDINGS: (config.vocab_size, hidden),
        POSITION_EMBEDDINGS: (config.max_position_embeddings, hidden),
        SEGMENT_EMBEDDINGS: (config.type_vocab_size, hidden),
        **_norm("embeddings.LayerNorm", hidden),
    }
    if config.use_relative_positions:
        del shapes[POSITION_EMBEDDINGS]
    for layer in map(layer_name, range(config.num_hidden_layers)):
        for part in ("query", "key", "value"):
            shapes |= linear_shapes(f"{layer}.attention.self.{part}", hidden, hidden)
        if config.use_relative_positions:
            size = hidden // config.num_attention_heads
            table = (2 * MAX_RELATIVE_POSITION + 1, size)
            shapes[f"{layer}.attention.self.relative_positions.weight"] = table
        shapes |= linear_shapes(f"{layer}.attention.output.dense", hidden, hidden)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm", hidden)
        shapes |= linear_shapes(f"{layer}.intermediate.dense", hidden, inner)
        shapes |= linear_shapes(f"{layer}.output.dense", inner, hidden)
        shapes |= _norm(f"{layer}.output.LayerNorm", hidden)
    return shapes | linear_shapes(POOLER, hidden, hidden)


def head_shapes(config: NetworkConfig, head: HeadConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of a task's head."""
    return linear_shapes(head_name(head.task_type), config.hidden_size, head.num_labels)


def pretraining_shapes(names: Collection[str], config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the pretraining heads whose parameters are among canonical names.

    A head is whole or absent: one of its names asks for all of them.
    """
    hidden, transform = config.hidden_size, f"{MASKED_LM}.transform"
    shapes: dict[str, tuple[int, ...]] = {}
    if any(name.startswith(f"{MASKED_LM}.") for name in names):
        shapes |= linear_shapes(f"{transform}.dense", hidden, hidden)
        shapes |= _norm(f"{transform}.LayerNorm", hidden)
        shapes[f"{MASKED_LM}.bias"] = (config.vocab_size,)
    if any(name.startswith("cls.seq_relationship.") for name in names):
        shapes |= linear_shapes("cls.seq_relationship", hidden, 2)
    return shapes


def fit_names(student: NetworkConfig, kind: FitKind) -> list[str]:
    """Return the names of the projections: one, one for embeddings and every layer, or none."""
    if kind == "none":
        return []
    if kind == "shared":
        return [FIT_DENSE]
    return [f"{FIT_DENSE}.{state}" for state in range(student.num_hidden_layers + 1)]


def fit_shapes(
    student: NetworkConfig, teacher: NetworkConfig, kind: FitKind
) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of the projections, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in fit_names(student, kind):
        shapes |= linear_shapes(name, student.hidden_size, teacher.hidden_size)
    return shapes


def linear_shapes(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a linear map's weight and bias."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer norm's weight and bias."""
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def seeded(
    shapes: Mapping[str, tuple[int, ...]], *, seed: int, std: float, prefix: str
) -> dict[str, npt.NDArray[np.float32]]:
    """Return initial values by name, float32.

    Weights are a normal of deviation `std` cut at two deviations, drawn by `prefix` and name;
    layer norms begin as the identity, biases at 0.

    Args:
        shapes: Shape by name, without prefix.
        seed: The recipe's seed.
        std: `initializer_range`.
        prefix: What distinguishes networks, such as `student.`.
    """
    values: dict[str, npt.NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        if name.endswith("LayerNorm.weight"):
            values[name] = np.ones(shape, np.float32)
        elif name.endswith(".bias"):
            values[name] = np.zeros(shape, np.float32)
        else:
            values[name] = truncated_normal(seed, prefix + name, shape, std)
    return values
