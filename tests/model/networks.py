"""A tiny network description for the tests of this folder and others."""

from dataclasses import replace
from typing import Any

from tinybert.recipe.network import NetworkConfig

TINY = NetworkConfig(
    vocab_size=31,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
    max_position_embeddings=10,
    type_vocab_size=2,
    initializer_range=0.3,
    use_relative_positions=False,
    enable_fused_layernorm=True,
    dtype="float32",
    compute_type="float32",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def tiny(**changes: Any) -> NetworkConfig:
    """Return the tiny network with some keys changed."""
    return replace(TINY, **changes)
