"""With `padding_idx` one token's word embedding has no gradient, and nothing else changes."""

from functools import cache

import mindspore as ms
import numpy as np
import pytest

from tests.model.networks import random_batch, random_weights, tiny
from tests.model.numpy_bert import NumpyBert
from tinybert.model.bert import BertEncoder
from tinybert.model.layers import load_into

WORDS = "student.embeddings.word_embeddings.weight"
FOCUS = np.random.default_rng(8).standard_normal((3, 8, 16)).astype(np.float32)
"""Factors of the last hidden states; those of padding count too."""


def padded_batch(config):
    """Return input_ids, segment_ids and input_mask; masked positions have token 0."""
    input_ids, segment_ids, input_mask = random_batch(config)
    return [input_ids * input_mask, segment_ids, input_mask]


@cache
def outputs_and_gradients(dtype, padding_idx):
    """Return the last hidden states, and the gradient of each parameter by name."""
    config = tiny(num_hidden_layers=1, dtype=dtype, padding_idx=padding_idx)
    encoder = BertEncoder(config, "student.")
    weights = random_weights(config, "student.")
    load_into(encoder, {name: value.astype(config.dtype) for name, value in weights.items()})
    trained = [p for p in encoder.get_parameters() if "pooler" not in p.name]

    def objective(input_ids, segment_ids, input_mask):
        hidden, _, _ = encoder(input_ids, segment_ids, input_mask)
        return (hidden[-1] * ms.Tensor(FOCUS)).sum(), hidden[-1]

    gradient = ms.value_and_grad(objective, None, trained, has_aux=True)

    @ms.jit
    def run(*inputs):
        return gradient(*inputs)

    (_, last), gradients = run(*map(ms.Tensor, padded_batch(config)))
    named = {p.name: g.asnumpy() for p, g in zip(trained, gradients, strict=True)}
    return last.asnumpy(), named


def slope(direction):
    """Return how NumPy's objective changes along a direction of the word embeddings."""
    config = tiny(num_hidden_layers=1)
    weights = {name: value.astype(np.float64) for name, value in random_weights(config).items()}
    words = "embeddings.word_embeddings.weight"

    def objective(step):
        moved = weights | {words: weights[words] + step * direction}
        return float((NumpyBert(config, moved)(*padded_batch(config))[0][-1] * FOCUS).sum())

    return (objective(1e-6) - objective(-1e-6)) / 2e-6


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_gradient_of_one_row_is_zero_and_all_else_is_equal(dtype):
    plain_states, plain = outputs_and_gradients(dtype, None)
    states, gradients = outputs_and_gradients(dtype, 0)
    assert np.array_equal(states, plain_states)
    assert np.abs(plain[WORDS][0]).max() > 0.1
    assert not gradients[WORDS][0].any()
    for name, gradient in gradients.items():
        others = slice(1, None) if name == WORDS else slice(None)
        assert np.array_equal(gradient[others], plain[name][others]), name


def test_the_other_rows_have_the_slope_of_numpy():
    _, gradients = outputs_and_gradients("float32", 0)
    direction = np.random.default_rng(9).standard_normal(gradients[WORDS].shape)
    padding = np.zeros_like(direction)
    padding[0] = direction[0]
    along = float((gradients[WORDS].astype(np.float64) * direction).sum())
    assert along == pytest.approx(slope(direction - padding), rel=1e-4)
    assert abs(slope(padding)) > 1  # what the row would have learned


def test_the_token_may_be_another():
    token = int(padded_batch(tiny())[0][0, 0])
    _, plain = outputs_and_gradients("float32", None)
    _, gradients = outputs_and_gradients("float32", token)
    assert np.abs(plain[WORDS][token]).max() > 0.1
    assert not gradients[WORDS][token].any()
    assert np.array_equal(gradients[WORDS][0], plain[WORDS][0])
