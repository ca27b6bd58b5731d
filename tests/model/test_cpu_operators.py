"""A network of our own operators computes what one of the framework's does."""

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest

from tinybert.kernels import threads
from tinybert.model import cpu_operators
from tinybert.model.bert import BertEncoder
from tinybert.model.cpu_operators import framework_only
from tinybert.model.layers import Cell, load_into
from tinybert.recipe.network import NetworkConfig

CONFIG = NetworkConfig(
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=1,
    num_attention_heads=3,
    intermediate_size=40,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
    max_position_embeddings=16,
    type_vocab_size=2,
    initializer_range=0.02,
    use_relative_positions=False,
    enable_fused_layernorm=False,
    dtype="float32",
    compute_type="float32",
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
)


class Losses(Cell):
    """A loss that every output of the encoder takes part in."""

    def __init__(self, config):
        super().__init__()
        self.encoder = BertEncoder(config, "")

    def construct(self, *inputs):
        hidden, scores, _ = self.encoder(*inputs)
        visible = ms.ops.clamp(scores[-1], -100, 100)  # not -10000, beside which all else is small
        return ms.ops.square(hidden[-1]).mean() + ms.ops.sin(hidden[1]).sum() + visible.sum()


def gradients(config, inputs):
    """Return loss and gradients by name, from weights that are the same in every call."""
    cell = Losses(config)
    generator = np.random.default_rng(2)
    arrays = {
        p.name: generator.normal(0, 0.3, p.shape).astype(np.float32) for p in cell.get_parameters()
    }
    load_into(cell, arrays)
    weights = cell.trainable_params()
    step = ms.jit(ms.value_and_grad(cell, None, weights))
    loss, found = step(*inputs)
    names = (p.name for p in weights)
    return loss.asnumpy(), dict(zip(names, (g.asnumpy() for g in found), strict=True))


def inputs_of(config, drops, packed):
    generator = np.random.default_rng(1)
    draw = generator.integers
    ids = [draw(0, 50, (2, 16)), draw(0, 2, (2, 16)), np.arange(16) < [[16], [11]]]
    rows = [None, None]
    if packed:
        rows = [np.repeat([[0] * 5 + [1] * 6 + [2] * 5], 2, 0), np.repeat([[*range(8)] * 2], 2, 0)]
    keeps = [None, None]
    if drops:
        layers = config.num_hidden_layers
        shapes = (1 + 2 * layers, 2, 16, 24), (layers, 2, 3, 16, 16)
        keeps = [generator.random(shape) > 0.1 for shape in shapes]
    arrays = [*ids, *rows]
    arrays = [None if a is None else a.astype(np.int32) for a in arrays] + keeps
    return [None if a is None else ms.Tensor(a) for a in arrays]


@pytest.mark.parametrize(
    ("options", "drops", "packed"),
    [
        ({}, False, False),
        ({"num_hidden_layers": 2}, True, True),
        ({"hidden_act": "gelu_tanh"}, True, False),
        ({"hidden_act": "relu", "use_relative_positions": True}, True, False),
        ({"enable_fused_layernorm": True}, True, False),
        ({"dtype": "float16", "compute_type": "float16"}, True, False),
    ],
)
def test_loss_and_gradients_are_those_of_the_framework(options, drops, packed):
    config = replace(CONFIG, **options)
    inputs = inputs_of(config, drops, packed)
    loss, found = gradients(config, inputs)
    with framework_only():
        wanted_loss, wanted = gradients(config, inputs)
    share = 1e-5 if config.dtype == "float32" else 2e-2
    assert loss == pytest.approx(wanted_loss, rel=share)
    largest = max(np.abs(gradient).max() for gradient in wanted.values())
    for name, gradient in wanted.items():
        # that of a key's bias is 0 but for rounding
        allowed = share * max(np.abs(gradient).max(), largest / 100)
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=allowed, err_msg=name)


def test_gradients_have_the_same_bits_on_two_threads(monkeypatch):
    config = replace(CONFIG, num_hidden_layers=2)
    inputs = inputs_of(config, drops=True, packed=True)
    alone = gradients(config, inputs)
    monkeypatch.setattr(threads, "LEAST", 0)
    ranges, share = set(), threads.THREADS.map
    monkeypatch.setattr(
        threads.THREADS, "map", lambda loop, each: ranges.add(len(each)) or share(loop, each)
    )
    threads.THREADS.use(2)
    try:
        shared = gradients(config, inputs)
    finally:
        threads.THREADS.use(1)
    assert ranges == {2}
    assert shared[0].tobytes() == alone[0].tobytes()
    assert {n: g.tobytes() for n, g in shared[1].items()} == {
        n: g.tobytes() for n, g in alone[1].items()
    }


def test_they_are_used_on_the_cpu_alone_unless_a_network_must_go_elsewhere():
    assert cpu_operators.used()
    with framework_only():
        assert not cpu_operators.used()
    assert cpu_operators.used()
