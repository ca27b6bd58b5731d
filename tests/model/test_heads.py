"""Heads against NumPy: pooled or by token, with and without ReLU, dropout, precision."""

import mindspore as ms
import numpy as np
import pytest

from tests.model.networks import random_batch, random_keeps, random_weights, tiny
from tests.model.numpy_bert import NumpyBert
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork, task_sites
from tinybert.model.layers import load_into
from tinybert.model.parameters import head_shapes
from tinybert.recipe.network import HeadConfig

CONFIG = tiny()


def head(task_type="classification", kind="linear", rate=0.0):
    return HeadConfig(task_type, 1 if task_type == "regression" else 3, kind, rate)


def head_weights(config, prefix=""):
    generator = np.random.default_rng(8)
    return {
        prefix + name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in head_shapes(config, head()).items()
    }


def build(config=CONFIG, described=None):
    network = TaskNetwork(BertEncoder(config, "student."), described or head())
    weights = random_weights(config, "student.") | head_weights(config, "student.")
    rows = {"student.classifier.weight": network.classifier.outputs}
    rows |= {"student.classifier.bias": network.classifier.outputs}
    load_into(network, {n: w[: rows.get(n, len(w))] for n, w in weights.items()})
    return network


def by_hand(described, keeps=(None, None), classifier_keep=None):
    weights = random_weights(CONFIG) | head_weights(CONFIG)
    hidden_states, _ = NumpyBert(CONFIG, random_weights(CONFIG))(*random_batch(CONFIG), *keeps)
    x = hidden_states[-1]
    if described.task_type != "ner":
        x = np.tanh(x[:, 0] @ weights["pooler.dense.weight"].T + weights["pooler.dense.bias"])
    if classifier_keep is not None:
        rate = round(described.classifier_dropout_prob * 65536) / 65536
        x = x * classifier_keep / (1 - rate)
    if described.head == "relu_linear":
        x = np.maximum(x, 0)
    logits = x @ weights["classifier.weight"].T + weights["classifier.bias"]
    return logits[..., : described.num_labels]


@pytest.mark.parametrize("kind", ["linear", "relu_linear"])
@pytest.mark.parametrize("task_type", ["classification", "regression", "ner"])
def test_logits_are_those_of_the_formula(task_type, kind):
    described = head(task_type, kind)
    logits = build(described=described)(*map(ms.Tensor, random_batch(CONFIG))).asnumpy()
    expected = by_hand(described)
    assert logits.shape == expected.shape
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_relu_of_the_seed_changes_the_logits():
    linear, relu = by_hand(head()), by_hand(head(kind="relu_linear"))
    assert np.abs(linear - relu).max() > 0.1


@pytest.mark.parametrize(("task_type", "shape"), [("classification", (16,)), ("ner", (8, 16))])
def test_dropout_before_the_head_takes_its_mask(task_type, shape):
    described = head(task_type, rate=0.25)
    (site,) = task_sites(CONFIG, described, 8)
    assert (site.name, site.kind, site.shape, site.rate) == (
        "classifier",
        "classifier",
        shape,
        0.25,
    )
    keep = np.random.default_rng(9).random((3, *shape)) >= 0.25
    tensors = map(ms.Tensor, random_batch(CONFIG))
    logits = build(described=described)(*tensors, *[None] * 5, ms.Tensor(keep[None])).asnumpy()
    np.testing.assert_allclose(logits, by_hand(described, classifier_keep=keep), atol=1e-4)


def test_the_encoder_takes_its_masks():
    config = tiny(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    keeps = random_keeps(config)
    rows, masks = map(ms.Tensor, random_batch(config)), map(ms.Tensor, keeps)
    dropped = build(config)(*rows, None, None, None, *masks).asnumpy()
    plain = build(config)(*map(ms.Tensor, random_batch(config))).asnumpy()
    assert np.abs(dropped - plain).max() > 0.01


def test_sites_of_the_encoder_come_first():
    config = tiny(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    kinds = [site.kind for site in task_sites(config, head(rate=0.1), 8)]
    assert kinds == ["hidden"] * 5 + ["attention"] * 2 + ["classifier"]


@pytest.mark.parametrize(("task_type", "pooler"), [("classification", True), ("ner", False)])
def test_only_what_is_used_is_trained(task_type, pooler):
    network = build(described=head(task_type))
    network.set_trained(True)
    names = [parameter.name for parameter in network.trainable_params()]
    assert ("student.pooler.dense.weight" in names) == pooler
    assert "student.classifier.bias" in names
    network.set_trained(False)
    assert network.trainable_params() == []


def test_the_head_computes_in_the_networks_precision():
    half = build(tiny(compute_type="float16"))(*map(ms.Tensor, random_batch(CONFIG))).asnumpy()
    exact = by_hand(head())
    assert half.dtype == np.float32
    assert 1e-4 < np.abs(half - exact).max() < 0.1
