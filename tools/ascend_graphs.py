"""Compile the graph of every stage from small networks and print its operators as JSON.

`tools.ascend_operators` starts it, with the environment in which the framework saves what it
compiles. Networks are built as they are on Ascend, and compiled on the CPU.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from tinybert.distill.distiller import Distiller, FitDense
from tinybert.distill.normalizers import Padding, layer_normalizers
from tinybert.distill.prediction import LabelTraining, PredictionDistiller
from tinybert.model.bert import BertEncoder
from tinybert.model.cpu_operators import framework_only
from tinybert.model.dropout import dropout_sites
from tinybert.model.graph_masks import GraphMasks, MaskedNetwork, ordinal_words
from tinybert.model.heads import Pooling, TaskNetwork
from tinybert.model.layers import Cell
from tinybert.model.parameters import FitKind
from tinybert.recipe.distill_tables import Distill, LossWeights, Relations, RelationWeights
from tinybert.recipe.network import HeadConfig, NetworkConfig
from tinybert.recipe.schedule import Polynomial
from tinybert.recipe.task_types import TASK_KINDS, TaskType
from tinybert.train.evaluation import Prediction
from tinybert.train.graph import read_graph
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScaleSettings, MultiStep, TrainingStep
from tinybert.train.world import ALONE, World

ROWS, LENGTH, CLASSES = 2, 8, 3
SHARED = World(0, 2)
"""A process with another; the graph that it compiles has the messages between them."""
Options = dict[str, Any]
Inputs = list[Any]
Made = tuple[nn.Cell, Inputs]

SMALL = NetworkConfig(
    vocab_size=31,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=24,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
    max_position_embeddings=LENGTH,
    type_vocab_size=2,
    initializer_range=0.02,
    use_relative_positions=False,
    enable_fused_layernorm=True,
    dtype="float32",
    compute_type="float32",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
# Each value of a network's options is in one of these, so that few graphs show every operator.
PLAIN: Options = {"hidden_act": "relu"}
FULL: Options = {"hidden_act": "gelu", "use_relative_positions": True}
HALF: Options = {
    "compute_type": "float16",
    "hidden_act": "gelu_tanh",
    "enable_fused_layernorm": False,
}
HALF_PARAMETERS: Options = {
    "dtype": "float16",
    "compute_type": "float16",
    "hidden_act": "gelu",
    "use_relative_positions": True,
}
DROPOUT: Options = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


class Compiled(Cell):
    """A network in one graph, as an export has it."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__()
        self.network = network

    @ms.jit
    def construct(self, *inputs):
        """Return the outputs of the network."""
        return self.network(*inputs)


class Planted(Cell):
    """A computation with an operator that Ascend lacks."""

    @ms.jit
    def construct(self, x):
        """Return the Cholesky factor, which Ascend does not have."""
        return ops.cholesky(x)


def layers(
    options: Options,
    *,
    padding: Padding = "include",
    fit: FitKind = "shared",
    drops: bool = True,
    **losses: Any,
) -> Made:
    """Return the network of general distillation, and of phase 1 of a task's."""
    student = replace(SMALL, **options, **(DROPOUT if drops else {}))
    teacher = replace(SMALL, hidden_size=24, **options)
    weights = LossWeights(attention=0.5, hidden=2.0, **losses.pop("weights", {}))
    table = Distill(layer_map=(1,), padding=padding, fit_dense=fit, weights=weights, **losses)
    network = Distiller(
        BertEncoder(teacher, "teacher."),
        BertEncoder(student, "student."),
        FitDense(student, teacher, fit),
        table,
    )
    batch = _batch()
    weights = layer_normalizers(batch[2].sum(1), np.ones(ROWS, bool), LENGTH, padding)
    return network, [*batch, *weights, None, None, *_keeps(student)]


def labels(options: Options, task: TaskType, head: Literal["linear", "relu_linear"]) -> Made:
    """Return the network of a fine-tuning."""
    network, batch, keeps = _with_head(options, task, head, "student.")
    return LabelTraining(network, task), [*batch, *_labels(task), *keeps]


def logits(options: Options, task: TaskType, *, hard_label_weight: float) -> Made:
    """Return the network of phase 2 of a task distillation."""
    student, batch, keeps = _with_head(options, task, "linear", "student.")
    teacher, _, _ = _with_head(options, task, "linear", "teacher.")
    network = PredictionDistiller(
        teacher, student, task, temperature=2.0, hard_label_weight=hard_label_weight
    )
    label_ids, weights = _labels(task)
    return network, [*batch, label_ids, weights, weights, None, *keeps]


def prediction(
    options: Options,
    task: TaskType,
    head: Literal["linear", "relu_linear"],
    world: World = ALONE,
) -> Made:
    """Return the network of an evaluation."""
    network, batch, _ = _with_head(options, task, head, "student.")
    return Prediction(network, world), batch


def held_out(options: Options) -> Made:
    """Return the network of the losses on held-out rows, without dropout and gradient."""
    network, inputs = layers(options, drops=False)
    return Compiled(network), inputs[:8]


def exported(options: Options) -> Made:
    """Return an encoder as it is exported."""
    config = replace(SMALL, **options)
    return Compiled(Pooling(BertEncoder(config, ""))), _batch()[:3]


def trained(made: Made, world: World = ALONE, part_names: tuple[str, ...] = ()) -> Made:
    """Return the step that trains a network."""
    network, inputs = made
    optimizer = AdamWeightDecay(
        network.trainable_params(),
        betas=(0.9, 0.999),
        eps=1e-6,
        weight_decay=0.01,
        no_decay=("layernorm", "bias"),
    )
    step = TrainingStep(
        network,
        optimizer,
        part_names=part_names,
        schedule=Polynomial(0.1, 0.0, 1.0, warmup_steps=2, total_steps=20),
        loss_scale=LossScaleSettings(1024.0, 2.0, 3),
        clip_norm=1.0,
        world=world,
    )
    return step, [*inputs, np.float32(0)]


def masked(made: Made) -> Made:
    """Return the network of `layers` with its masks made in the graph."""
    network, inputs = made
    sites = dropout_sites(network.student.config, LENGTH)
    masks = GraphMasks(1, sites)
    return MaskedNetwork(network, masks), [
        *inputs[:-2],
        *ordinal_words(np.arange(ROWS, dtype=np.uint64)),
    ]


def sunk(made: Made) -> Made:
    """Return two of a step in one call."""
    step, inputs = made
    stacked = [None if array is None else np.stack([array, array]) for array in inputs]
    return MultiStep(step, steps=2), [np.int32(2), *stacked]


def _with_head(
    options: Options, task: TaskType, head: Literal["linear", "relu_linear"], prefix: str
) -> tuple[TaskNetwork, Inputs, Inputs]:
    """Return a network with head, its batch, and its dropout masks."""
    config = replace(SMALL, **options, **DROPOUT)
    classes = TASK_KINDS[task].most_labels or CLASSES
    network = TaskNetwork(BertEncoder(config, prefix), HeadConfig(task, classes, head, 0.1))
    by_token = TASK_KINDS[task].logits_by_token
    width = (LENGTH, config.hidden_size) if by_token else (config.hidden_size,)
    keeps = [*_keeps(config), np.ones((1, ROWS, *width), bool)]
    return network, _batch(), keeps


def _batch() -> Inputs:
    """Return the rows of a batch that is not packed; only their types matter."""
    return [*[np.ones((ROWS, LENGTH), np.int32)] * 3, None, None, None]


def packed(made: Made) -> Made:
    """Return a network with the rows of its batch packed in as many blocks as rows."""
    network, inputs = made
    place = np.zeros((ROWS, LENGTH), np.int32)
    return network, [*inputs[:3], place, place, np.zeros(ROWS, np.int32), *inputs[6:]]


def _keeps(config: NetworkConfig) -> Inputs:
    """Return hidden_keep and attention_keep, each None where the rate is 0."""
    keeps: Inputs = []
    for kind in ("hidden", "attention"):
        shapes = [site.shape for site in dropout_sites(config, LENGTH) if site.kind == kind]
        keeps.append(np.ones((len(shapes), ROWS, *shapes[0]), bool) if shapes else None)
    return keeps


def _labels(task: TaskType) -> Inputs:
    """Return labels and the weight of each."""
    facts = TASK_KINDS[task]
    shape = (ROWS, LENGTH) if facts.labels_by_token else (ROWS,)
    kind = np.float32 if facts.label == "number" else np.int32
    labels = {"classes": (ROWS, CLASSES), "span": (ROWS, 2)}.get(facts.label, shape)
    return [np.zeros(labels, kind), np.full(shape, 1 / ROWS, np.float32)]


ALL_LOSSES: Options = {
    "attention_target": "probs",
    "weights": {"embedding": 1.0, "cosine": 1.0},
    "relations": Relations(
        teacher_layer=1,
        relation_heads=2,
        weights=RelationWeights(
            attention_distribution=1.0, query_query=1.0, key_key=1.0, value_value=1.0
        ),
    ),
}
"""The losses between layers that are not in the presets."""
GRAPHS: dict[str, Callable[[], Made]] = {
    "layer distillation: float32": lambda: trained(
        layers(FULL, padding="ignore", fit="per_layer", drops=False)
    ),
    "layer distillation: float16 as the presets": lambda: sunk(
        trained(masked(layers(HALF)), part_names=("attention_loss", "hidden_loss"))
    ),
    "layer distillation: packed": lambda: trained(masked(packed(layers(HALF, padding="ignore")))),
    "layer distillation: float16 parameters": lambda: trained(layers(HALF_PARAMETERS)),
    "layer distillation: relations, cosines and probabilities": lambda: trained(
        packed(layers(HALF, padding="ignore", **ALL_LOSSES))
    ),
    "held-out losses": lambda: held_out(HALF),
    "fine-tuning: classes": lambda: trained(labels(HALF, "classification", "relu_linear")),
    "fine-tuning: packed classes": lambda: trained(
        packed(labels(HALF, "classification", "linear"))
    ),
    "fine-tuning: a number": lambda: trained(labels(PLAIN, "regression", "linear")),
    "fine-tuning: answers": lambda: trained(packed(labels(HALF, "question_answering", "linear"))),
    "fine-tuning: tags of several processes": lambda: trained(
        labels(HALF, "ner", "linear"), SHARED
    ),
    "prediction distillation: classes": lambda: trained(
        logits(HALF, "classification", hard_label_weight=0.5)
    ),
    "prediction distillation: a number": lambda: trained(
        logits(PLAIN, "regression", hard_label_weight=0.0)
    ),
    "prediction distillation: tags": lambda: trained(
        logits(HALF_PARAMETERS, "ner", hard_label_weight=0.0)
    ),
    "evaluation: classes": lambda: prediction(HALF, "classification", "relu_linear"),
    "evaluation: tags of several processes": lambda: prediction(
        HALF_PARAMETERS, "ner", "linear", SHARED
    ),
    "export": lambda: exported(FULL),
}
"""What is compiled, by `stage` or `stage: variant`."""
PLANTED = "planted"
"""A graph of no stage, for the test that the audit finds what Ascend lacks."""


def operators(make: Callable[[], Made], saved: Path) -> list[str]:
    """Build a network as on Ascend, compile it, and return the names of its operators."""
    with patch.object(ms, "get_context", return_value="Ascend"):
        cell, inputs = make()
    try:
        cell.compile(*(None if array is None else ms.Tensor(array) for array in inputs))
    except RuntimeError as error:
        if "world_group" not in str(error):  # no other process here: the graph is saved by then
            raise
    graph = read_graph(saved, type(cell).__name__)
    shutil.rmtree(saved)
    return sorted({operator.name for operator in graph.operators})


def main(names: Sequence[str]) -> None:
    """Print the operators of each graph; those of all of them without names."""
    ms.set_device("CPU")
    saved = Path(os.environ["MS_DEV_SAVE_GRAPHS_PATH"])
    known = {**GRAPHS, PLANTED: lambda: (Planted(), [np.eye(3, dtype=np.float32)])}
    with framework_only():
        print(json.dumps({name: operators(known[name], saved) for name in names or GRAPHS}))


if __name__ == "__main__":
    main(sys.argv[1:])
