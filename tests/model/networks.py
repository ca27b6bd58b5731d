"""A tiny network description for the tests of this folder and others."""

from dataclasses import replace
from typing import Any

import numpy as np

from tinybert.model.dropout import dropout_sites
from tinybert.model.parameters import encoder_shapes
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
    enable_fused_layernorm=False,
    dtype="float32",
    compute_type="float32",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def tiny(**changes: Any) -> NetworkConfig:
    """Return the tiny network with some keys changed."""
    return replace(TINY, **changes)


def random_weights(config: NetworkConfig, prefix: str = "") -> dict[str, np.ndarray]:
    """Return weights of which every part matters, biases and norms included."""
    generator = np.random.default_rng(5)
    return {
        prefix + name: (
            generator.standard_normal(shape) * 0.4 + name.endswith("LayerNorm.weight")
        ).astype(np.float32)
        for name, shape in encoder_shapes(config).items()
    }


def random_batch(config: NetworkConfig, rows: int = 3, length: int = 8) -> list[np.ndarray]:
    """Return input_ids, segment_ids and input_mask of rows of several lengths."""
    generator = np.random.default_rng(6)
    tokens = np.array([length, length - 3, 2] * rows)[:rows, None]
    input_mask = (np.arange(length) < tokens).astype(np.int32)
    input_ids = generator.integers(1, config.vocab_size, (rows, length)).astype(np.int32)
    segment_ids = generator.integers(0, config.type_vocab_size, (rows, length)).astype(np.int32)
    return [input_ids, segment_ids, input_mask]


def random_keeps(config: NetworkConfig, rows: int = 3, length: int = 8) -> list[np.ndarray | None]:
    """Return hidden_keep and attention_keep, each None where the rate is 0."""
    generator = np.random.default_rng(7)
    keeps: list[np.ndarray | None] = []
    for kind in ("hidden", "attention"):
        sites = [site for site in dropout_sites(config, length) if site.kind == kind]
        masks = [generator.random((rows, *site.shape)) >= site.rate for site in sites]
        keeps.append(np.stack(masks) if masks else None)
    return keeps
