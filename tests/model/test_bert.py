"""The compiled encoder against NumPy in float64, under every option.

Each option's expected numbers differ from those of the plain network by far more than the
tolerance, so that an option which the encoder ignores fails its test.
"""

import mindspore as ms
import numpy as np
import pytest

from tests.model.networks import random_batch, random_keeps, random_weights, tiny
from tests.model.numpy_bert import NumpyBert
from tinybert.model.bert import BertEncoder
from tinybert.model.layers import MatMul, load_into

DROPOUT = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
OPTIONS = {
    "gelu_tanh": {"hidden_act": "gelu_tanh"},
    "relu": {"hidden_act": "relu"},
    "layer norm epsilon": {"layer_norm_eps": 0.1},
    "relative positions": {"use_relative_positions": True},
    "dropout": DROPOUT,
    "hidden dropout alone": {"hidden_dropout_prob": 0.3},
    "attention dropout alone": {"attention_probs_dropout_prob": 0.2},
}
TOLERANCE = 2e-5


def tensors(arrays):
    return [None if array is None else ms.Tensor(array) for array in arrays]


def compiled(config):
    """Return a compiled encoder with the random weights."""
    encoder = BertEncoder(config, "student.")
    load_into(encoder, random_weights(config, "student."))

    @ms.jit
    def run(input_ids, segment_ids, input_mask, hidden_keep, attention_keep):
        packed = None, None
        return encoder(input_ids, segment_ids, input_mask, *packed, hidden_keep, attention_keep)[:2]

    return lambda batch, keeps: run(*tensors(batch), *tensors(keeps))


def distance(ours, theirs, input_mask) -> float:
    """Return the largest difference of hidden states and of scores of unmasked keys."""
    keys = input_mask[:, None, None, :]
    hidden = max(np.abs(np.asarray(a) - b).max() for a, b in zip(ours[0], theirs[0], strict=True))
    scores = max(
        np.abs((np.asarray(a) - b) * keys).max() for a, b in zip(ours[1], theirs[1], strict=True)
    )
    return float(max(hidden, scores))


def arrays(outputs):
    return [[x.asnumpy() for x in part] for part in outputs]


def expected(config, weights=None):
    """Return what NumPy makes of the random batch and masks."""
    model = NumpyBert(config, weights or random_weights(config))
    return model(*random_batch(config), *random_keeps(config))


@pytest.fixture(scope="module")
def plain():
    return compiled(tiny())


def test_outputs_are_all_hidden_states_and_all_scores_in_float32(plain):
    hidden, scores = plain(random_batch(tiny()), [None, None])
    assert [(x.shape, x.dtype) for x in hidden] == [((3, 8, 16), ms.float32)] * 3
    assert [(x.shape, x.dtype) for x in scores] == [((3, 4, 8, 8), ms.float32)] * 2


def test_the_plain_network_equals_numpy(plain):
    batch = random_batch(tiny())
    assert distance(arrays(plain(batch, [None, None])), expected(tiny()), batch[2]) < TOLERANCE


def test_scores_of_masked_keys_carry_the_mask(plain):
    batch = random_batch(tiny())
    _, scores = arrays(plain(batch, [None, None]))
    masked = np.broadcast_to(batch[2][:, None, None, :] == 0, scores[0].shape)
    for layer in scores:
        assert (layer[masked] < -9900).all()
        assert (layer[~masked] > -100).all()


def test_padding_has_no_influence_on_tokens(plain):
    input_ids, segment_ids, input_mask = random_batch(tiny())
    other = np.where(input_mask == 1, input_ids, 1 + input_ids % 7)
    assert (other != input_ids).any()
    outputs = [
        arrays(plain([ids, segment_ids, input_mask], [None, None]))[0] for ids in (input_ids, other)
    ]
    for one, two in zip(*outputs, strict=True):
        assert (one[input_mask == 1] == two[input_mask == 1]).all()


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_the_network_as_numpy_says(option):
    config = tiny(**OPTIONS[option])
    batch = random_batch(config)
    theirs = expected(config)
    assert distance(expected(tiny()), theirs, batch[2]) > 100 * TOLERANCE
    ours = arrays(compiled(config)(batch, random_keeps(config)))
    assert distance(ours, theirs, batch[2]) < TOLERANCE


def test_distances_beyond_16_share_a_relative_position():
    config = tiny(use_relative_positions=True, max_position_embeddings=40, num_hidden_layers=1)
    batch = random_batch(config, length=40)
    theirs = NumpyBert(config, random_weights(config))(*batch)
    assert distance(arrays(compiled(config)(batch, [None, None])), theirs, batch[2]) < TOLERANCE


def test_layer_norm_step_by_step_equals_numpy():
    config = tiny(enable_fused_layernorm=True)
    batch = random_batch(config)
    ours = arrays(compiled(config)(batch, [None, None]))
    assert distance(ours, expected(config), batch[2]) < TOLERANCE


def test_half_precision_parameters_are_rounded_once():
    config = tiny(dtype="float16")
    batch = random_batch(config)
    rounded = {name: value.astype(np.float16) for name, value in random_weights(config).items()}
    theirs = expected(config, rounded)
    assert distance(expected(tiny()), theirs, batch[2]) > 10 * TOLERANCE
    assert distance(arrays(compiled(config)(batch, [None, None])), theirs, batch[2]) < TOLERANCE


def test_half_precision_products_round_their_inputs():
    config = tiny(compute_type="float16")
    batch = random_batch(config)
    away = distance(arrays(compiled(config)(batch, [None, None])), expected(config), batch[2])
    assert 10 * TOLERANCE < away < 0.1


@pytest.mark.parametrize(
    ("name", "compute_type"), [("float32", ms.float32), ("float16", ms.float16)]
)
@pytest.mark.parametrize("relative", [False, True])
def test_every_product_has_the_compute_type(name, compute_type, relative):
    config = tiny(compute_type=name, use_relative_positions=relative)
    encoder = BertEncoder(config, "student.")
    products = [cell for _, cell in encoder.cells_and_names() if isinstance(cell, MatMul)]
    assert len(products) == (10 if relative else 8) * config.num_hidden_layers + 1
    assert {product.input_type for product in products} == {compute_type}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_equal_the_slope_of_numpy_under_all_options(dtype):
    changes = {"use_relative_positions": True, "enable_fused_layernorm": True, "dtype": dtype}
    config = tiny(num_hidden_layers=1, hidden_act="gelu_tanh", **changes, **DROPOUT)
    encoder = BertEncoder(config, "student.")
    weights = {k: v.astype(dtype) for k, v in random_weights(config).items()}
    load_into(encoder, {f"student.{name}": value for name, value in weights.items()})
    batch, keeps = random_batch(config), random_keeps(config)
    generator = np.random.default_rng(8)
    focus = generator.standard_normal((3, 8, 16)).astype(np.float32)
    trained = [p for p in encoder.get_parameters() if "pooler" not in p.name]

    def objective(input_ids, segment_ids, input_mask, hidden_keep, attention_keep):
        hidden, _, _ = encoder(
            input_ids, segment_ids, input_mask, None, None, hidden_keep, attention_keep
        )
        return (hidden[-1] * ms.Tensor(focus)).sum()

    gradient = ms.grad(objective, None, trained)

    @ms.jit
    def run(*inputs):
        return gradient(*inputs)

    gradients = run(*tensors(batch), *tensors(keeps))
    assert {str(g.dtype).lower() for g in gradients} == {dtype}
    directions = {p.name: generator.standard_normal(p.shape) for p in trained}
    slope = sum(
        float((g.asnumpy().astype(np.float64) * directions[p.name]).sum())
        for p, g in zip(trained, gradients, strict=True)
    )

    def shifted(step):
        moved = {
            name: value + step * directions.get(f"student.{name}", 0)
            for name, value in weights.items()
        }
        return float((NumpyBert(config, moved)(*batch, *keeps)[0][-1] * focus).sum())

    exact = (shifted(1e-6) - shifted(-1e-6)) / 2e-6
    assert slope == pytest.approx(exact, rel=1e-4 if dtype == "float32" else 1e-2)


def test_pooled_output_is_the_tanh_of_the_first_tokens_projection():
    config = tiny()
    encoder = BertEncoder(config, "student.")
    load_into(encoder, random_weights(config, "student."))
    states = np.random.default_rng(9).standard_normal((3, 8, 16)).astype(np.float32) * 3
    weights = random_weights(config)
    projected = states[:, 0] @ weights["pooler.dense.weight"].T + weights["pooler.dense.bias"]
    assert np.abs(projected).max() > 4.5  # where the framework's own tanh is off
    pooled = encoder.pooled(ms.Tensor(states)).asnumpy()
    assert np.abs(pooled - np.tanh(projected.astype(np.float64))).max() < 5e-6
