"""The encoder in NumPy and float64, written from the papers, to compare with."""

import math

import numpy as np
from scipy.special import erf

from tinybert.recipe.network import NetworkConfig

ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
}


class NumpyBert:
    """An encoder of float64 weights without prefix; dropout by keep masks."""

    def __init__(self, config: NetworkConfig, weights: dict) -> None:
        self.config = config
        self.vectors: list = []
        """Queries, keys and values of each layer, (B, S, H), of the last call."""
        self.weights = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(
            (centred**2).mean(-1, keepdims=True) + self.config.layer_norm_eps
        )
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def drop(self, x, keep, rate):
        return x if keep is None else x * keep / (1 - round(rate * 65536) / 65536)

    def embed(self, input_ids, segment_ids):
        x = self.weights["embeddings.word_embeddings.weight"][input_ids]
        x = x + self.weights["embeddings.token_type_embeddings.weight"][segment_ids]
        if not self.config.use_relative_positions:
            x = x + self.weights["embeddings.position_embeddings.weight"][: input_ids.shape[1]]
        return self.norm("embeddings.LayerNorm", x)

    def attention(self, name, x, input_mask, keep):
        config = self.config
        batch, length, hidden = x.shape
        self.vectors.append([self.linear(f"{name}.{p}", x) for p in ("query", "key", "value")])
        size = hidden // config.num_attention_heads
        query, key, value = (
            vectors.reshape(batch, length, -1, size).swapaxes(1, 2) for vectors in self.vectors[-1]
        )
        scores = query @ key.swapaxes(-1, -2)
        if config.use_relative_positions:
            distance = np.arange(length)[None, :] - np.arange(length)[:, None]  # key - query
            table = self.weights[f"{name}.relative_positions.weight"]
            relative = table[np.clip(distance, -16, 16) + 16]  # (S, S, D)
            scores = scores + np.einsum("baid,ijd->baij", query, relative)
        scores = scores / math.sqrt(size) - 10000.0 * (1 - input_mask[:, None, None, :])
        exponent = np.exp(scores - scores.max(-1, keepdims=True))
        probs = exponent / exponent.sum(-1, keepdims=True)
        probs = self.drop(probs, keep, config.attention_probs_dropout_prob)
        context = probs @ value
        if config.use_relative_positions:
            context = context + np.einsum("baij,ijd->baid", probs, relative)
        return context.swapaxes(1, 2).reshape(batch, length, hidden), scores

    def __call__(
        self, input_ids, segment_ids, input_mask, hidden_keep=None, attention_keep=None
    ) -> tuple[list, list]:
        """Return hidden states and attention scores; `vectors` has what they were made with."""
        config, self.vectors = self.config, []
        sites = 2 * config.num_hidden_layers + 1
        hidden_keep = [None] * sites if hidden_keep is None else hidden_keep
        attention_keep = [None] * sites if attention_keep is None else attention_keep
        rate = config.hidden_dropout_prob
        x = self.drop(self.embed(input_ids, segment_ids), hidden_keep[0], rate)
        hidden_states, attention_scores = [x], []
        for index in range(config.num_hidden_layers):
            name = f"encoder.layer.{index}"
            context, scores = self.attention(
                f"{name}.attention.self", x, input_mask, attention_keep[index]
            )
            attended = self.linear(f"{name}.attention.output.dense", context)
            attended = self.drop(attended, hidden_keep[2 * index + 1], rate)
            x = self.norm(f"{name}.attention.output.LayerNorm", attended + x)
            inner = ACTIVATIONS[config.hidden_act](self.linear(f"{name}.intermediate.dense", x))
            output = self.linear(f"{name}.output.dense", inner)
            output = self.drop(output, hidden_keep[2 * index + 2], rate)
            x = self.norm(f"{name}.output.LayerNorm", output + x)
            hidden_states.append(x)
            attention_scores.append(scores)
        return hidden_states, attention_scores
