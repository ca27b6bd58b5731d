"""The ONNX graph, run by onnxruntime, against NumPy in float64, under every option."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from tests.model.networks import random_batch, random_weights, tiny
from tests.model.numpy_bert import NumpyBert
from tinybert.export.network import TrainedNetwork
from tinybert.export.onnx_graph import onnx_model
from tinybert.recipe.network import HeadConfig

OPTIONS = {
    "gelu": {},
    "gelu_tanh": {"hidden_act": "gelu_tanh"},
    "relu": {"hidden_act": "relu"},
    "layer norm epsilon": {"layer_norm_eps": 0.1},
    "relative positions": {"use_relative_positions": True, "max_position_embeddings": 40},
}
HEADS = {
    "encoder": None,
    "classes": HeadConfig("classification", 3, "linear", 0.1),
    "relu": HeadConfig("classification", 3, "relu_linear", 0.1),
    "number": HeadConfig("regression", 1, "linear", 0.1),
    "tags": HeadConfig("ner", 5, "linear", 0.1),
    "tags with relu": HeadConfig("ner", 5, "relu_linear", 0.1),
}
TOLERANCE = 1e-5


def network_of(head, **changes):
    """Return a tiny network of random weights."""
    config = tiny(**changes)
    arrays = random_weights(config)
    if head is not None:
        generator = np.random.default_rng(8)
        shapes = {"classifier.weight": (head.num_labels, 16), "classifier.bias": (head.num_labels,)}
        arrays |= {n: generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    return TrainedNetwork(config, head, None, arrays, ())


def run_session(model, batch):
    """Run a model, file or bytes, on (input_ids, segment_ids, input_mask) as transformers does."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = ("input_ids", "token_type_ids", "attention_mask")
    rows = (array.astype(np.int64) for array in batch)
    return session.run(None, dict(zip(names, rows, strict=True)))


def run(network, batch):
    """Return the graph's outputs by name."""
    outputs = run_session(onnx_model(network).SerializeToString(), batch)
    return dict(zip(network.output_names, outputs, strict=True))


def expected(network, batch):
    """Return the same by NumPy."""
    bert = NumpyBert(network.config, network.arrays)
    last = bert(*batch)[0][-1]
    pooled = np.tanh(bert.linear("pooler.dense", last[:, 0]))
    if network.head is None:
        return {"last_hidden_state": last, "pooler_output": pooled}
    x = last if network.head.task_type == "ner" else pooled
    x = np.maximum(x, 0) if network.head.head == "relu_linear" else x
    return {"logits": bert.linear("classifier", x)}


def assert_close(found, wanted):
    assert list(found) == list(wanted)
    for name, array in found.items():
        assert (array.dtype, array.shape) == (np.float32, wanted[name].shape)
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=TOLERANCE)


def test_inputs_have_the_names_types_and_order_of_transformers():
    inputs = onnx_model(network_of(None)).graph.input
    assert [each.name for each in inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert {each.type.tensor_type.elem_type for each in inputs} == {TensorProto.INT64}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_computed(option):
    network = network_of(None, **OPTIONS[option])
    length = 40 if network.config.use_relative_positions else 8  # beyond the farthest distance
    batch = random_batch(network.config, length=length)
    assert_close(run(network, batch), expected(network, batch))


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_computed(head):
    network = network_of(HEADS[head])
    batch = random_batch(network.config)
    assert_close(run(network, batch), expected(network, batch))


@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (4, 3)])
def test_one_graph_takes_any_batch_and_length(shape):
    network = network_of(HEADS["classes"])
    generator = np.random.default_rng(1)
    ids = generator.integers(0, 31, shape).astype(np.int32)
    batch = [ids, np.zeros(shape, np.int32), np.ones(shape, np.int32)]
    assert_close(run(network, batch), expected(network, batch))


def test_a_network_of_tags_without_pooler_is_computed():
    network = network_of(HEADS["tags"])
    for name in ("pooler.dense.weight", "pooler.dense.bias"):
        network.arrays.pop(name)
    batch = random_batch(network.config)
    whole = network_of(HEADS["tags"])
    assert_close(run(network, batch), expected(whole, batch))


@pytest.mark.parametrize("types", [("float32", "float16"), ("float16", "float16")])
def test_half_precision_is_rounded_where_the_network_rounds(types):
    dtype, compute_type = types
    network = network_of(None, dtype=dtype, compute_type=compute_type)
    batch = random_batch(network.config)
    found, wanted = run(network, batch), expected(network, batch)
    difference = np.abs(found["last_hidden_state"] - wanted["last_hidden_state"]).max()
    assert 1e-4 < difference < 2e-2
