"""A network as an ONNX graph of any batch and sequence length.

The arithmetic is the network's own, operator by operator: ONNX has LayerNormalization and both
forms of Gelu. MindSpore's exporter fixes shapes and knows no Erf.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinybert.export.network import TRANSFORMERS_INPUTS, TrainedNetwork
from tinybert.model.bert import MASKED
from tinybert.model.names import head_name
from tinybert.model.parameters import MAX_RELATIVE_POSITION, Array, layer_name
from tinybert.recipe.network import NetworkConfig

OPSET = 20
"""The first with Gelu."""
IR_VERSION = 9
"""Of the file: what belongs to the opset."""


def onnx_model(network: TrainedNetwork) -> onnx.ModelProto:
    """Return the ONNX model of a network.

    Its inputs are `TRANSFORMERS_INPUTS`, (B, S) int64, its outputs the network's `output_names`.
    """
    graph = _Graph(network.without_pretraining(), network.config)
    results = _outputs(graph, network)
    for result, name in zip(results, network.output_names, strict=True):
        graph.nodes.append(helper.make_node("Identity", [result], [name]))
    axes = ["batch", "sequence"]
    config, head = network.config, network.head
    shapes: list[list[str | int]] = [[*axes, config.hidden_size], ["batch", config.hidden_size]]
    if head is not None:
        by_token = head.kind.logits_by_token
        shapes = [[*(axes if by_token else axes[:1]), head.num_labels]]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "bert",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, axes)
                for name in TRANSFORMERS_INPUTS
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in zip(network.output_names, shapes, strict=True)
            ],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tinybert",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and initializers as they are added; a value is known by its name."""

    def __init__(self, arrays: Mapping[str, Array], config: NetworkConfig) -> None:
        self.arrays = arrays
        self.config = config
        self.half = config.compute_type == "float16"
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its output."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        """Return an initializer of any values, added once."""
        if name not in self._names:
            self._names.add(name)
            array = np.array(value, dtype, order="C")
            self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def number(self, value: float) -> str:
        """Return a float32 scalar."""
        return self.constant(f"float_{value!r}", value, np.float32)

    def integers(self, *values: int) -> str:
        """Return an int64 vector."""
        return self.constant(f"int_{'_'.join(map(str, values))}", values, np.int64)

    def parameter(self, name: str) -> str:
        """Return a parameter as float32, rounded to the network's type."""
        rounded = self.arrays[name].astype(self.config.dtype)
        return self.constant(name, rounded, np.float32)

    def product(self, left: str, right: str) -> str:
        """Return the matrix product of inputs in `compute_type`, in float32."""
        if not self.half:
            return self.add("MatMul", left, right)
        halves = [self.add("Cast", x, to=TensorProto.FLOAT16) for x in (left, right)]
        return self.add("Cast", self.add("MatMul", *halves), to=TensorProto.FLOAT)

    def linear(self, x: str, name: str) -> str:
        """Return x times the transposed weight plus the bias."""
        weight = self.arrays[f"{name}.weight"].astype(self.config.dtype).T
        transposed = self.constant(f"{name}.weight.transposed", weight, np.float32)
        return self.add("Add", self.product(x, transposed), self.parameter(f"{name}.bias"))

    def layer_norm(self, x: str, name: str) -> str:
        """Return the layer norm over the last axis."""
        weight, bias = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        return self.add(
            "LayerNormalization", x, weight, bias, axis=-1, epsilon=self.config.layer_norm_eps
        )

    def activation(self, x: str) -> str:
        """Return the feed-forward part's activation."""
        if self.config.hidden_act == "relu":
            return self.add("Relu", x)
        approximate = "tanh" if self.config.hidden_act == "gelu_tanh" else "none"
        return self.add("Gelu", x, approximate=approximate)


def _outputs(graph: _Graph, network: TrainedNetwork) -> list[str]:
    """Add the whole network; return its outputs."""
    input_ids, input_mask, segment_ids = TRANSFORMERS_INPUTS
    length = graph.add("Gather", graph.add("Shape", input_ids), graph.integers(1), axis=0)
    x = _embeddings(graph, input_ids, segment_ids, length)
    unmasked = graph.add("Cast", input_mask, to=TensorProto.FLOAT)
    unmasked = graph.add("Unsqueeze", unmasked, graph.integers(1, 2))  # (B, 1, 1, S)
    masked = graph.add("Sub", graph.number(1.0), unmasked)
    bias = graph.add("Mul", masked, graph.number(MASKED))
    distances = _distances(graph, length) if graph.config.use_relative_positions else ""
    for index in range(graph.config.num_hidden_layers):
        x = _layer(graph, x, bias, distances, layer_name(index))
    if network.head is not None and network.head.kind.logits_by_token:
        pooled = x
    else:
        first = graph.add("Gather", x, graph.constant("first", 0, np.int64), axis=1)  # (B, H)
        pooled = graph.add("Tanh", graph.linear(first, "pooler.dense"))
    if network.head is None:
        return [x, pooled]
    if network.head.head == "relu_linear":
        pooled = graph.add("Relu", pooled)
    return [graph.linear(pooled, head_name(network.head.task_type))]


def _embeddings(graph: _Graph, input_ids: str, segment_ids: str, length: str) -> str:
    """Add the embeddings (B, S, H)."""
    table = "embeddings.{}_embeddings.weight"
    x = graph.add("Gather", graph.parameter(table.format("word")), input_ids)
    segment = graph.add("Gather", graph.parameter(table.format("token_type")), segment_ids)
    x = graph.add("Add", x, segment)
    if not graph.config.use_relative_positions:
        positions = graph.parameter(table.format("position"))
        begin, axis = graph.integers(0), graph.integers(0)
        x = graph.add("Add", x, graph.add("Slice", positions, begin, length, axis))
    return graph.layer_norm(x, "embeddings.LayerNorm")


def _layer(graph: _Graph, x: str, bias: str, distances: str, name: str) -> str:
    """Add a layer: hidden states (B, S, H) to hidden states."""
    context = _attention(graph, x, bias, distances, f"{name}.attention.self")
    attended = graph.linear(context, f"{name}.attention.output.dense")
    x = graph.layer_norm(graph.add("Add", attended, x), f"{name}.attention.output.LayerNorm")
    inner = graph.activation(graph.linear(x, f"{name}.intermediate.dense"))
    outer = graph.linear(inner, f"{name}.output.dense")
    return graph.layer_norm(graph.add("Add", outer, x), f"{name}.output.LayerNorm")


def _attention(graph: _Graph, x: str, bias: str, distances: str, name: str) -> str:
    """Add self-attention: hidden states (B, S, H) to the context (B, S, H)."""
    config = graph.config
    size = config.hidden_size // config.num_attention_heads
    split = graph.integers(0, 0, config.num_attention_heads, size)

    def heads(part: str, order: list[int], scale: float | None = None) -> str:
        y = graph.linear(x, f"{name}.{part}")
        if scale is not None:
            y = graph.add("Mul", y, graph.number(scale))
        return graph.add("Transpose", graph.add("Reshape", y, split), perm=order)

    query = heads("query", [0, 2, 1, 3], 1.0 / math.sqrt(size))  # (B, A, S, D)
    scores = graph.product(query, heads("key", [0, 2, 3, 1]))  # (B, A, S, S)
    table = ""
    if distances:
        rows = graph.parameter(f"{name}.relative_positions.weight")
        table = graph.add("Gather", rows, distances)  # (S, S, D)
        transposed = graph.add("Transpose", table, perm=[0, 2, 1])
        scores = graph.add("Add", scores, _by_row(graph, query, transposed))
    probs = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    context = graph.product(probs, heads("value", [0, 2, 1, 3]))  # (B, A, S, D)
    if distances:
        context = graph.add("Add", context, _by_row(graph, probs, table))
    context = graph.add("Transpose", context, perm=[0, 2, 1, 3])
    return graph.add("Reshape", context, graph.integers(0, 0, config.hidden_size))


def _by_row(graph: _Graph, x: str, tables: str) -> str:
    """Add the product of row i of x (B, A, S, N) with tables (S, N, M), for every i."""
    axis = graph.integers(3)
    rows = graph.add("Unsqueeze", x, axis)  # (B, A, S, 1, N)
    return graph.add("Squeeze", graph.product(rows, tables), axis)


def _distances(graph: _Graph, length: str) -> str:
    """Add the row (S, S) of the relative positions' table for every query and key."""
    stop = graph.add("Squeeze", length, graph.integers(0))
    zero, one = (graph.constant(f"int_scalar_{n}", n, np.int64) for n in (0, 1))
    places = graph.add("Range", zero, stop, one)
    keys = graph.add("Unsqueeze", places, graph.integers(0))
    queries = graph.add("Unsqueeze", places, graph.integers(1))
    distance = graph.add("Sub", keys, queries)
    limits = [
        graph.constant(f"int_scalar_{n}", n, np.int64)
        for n in (-MAX_RELATIVE_POSITION, MAX_RELATIVE_POSITION)
    ]
    clipped = graph.add("Clip", distance, *limits)
    return graph.add("Add", clipped, limits[1])
