"""A silent override in anything that is built is caught before it can train."""

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest

from tests.train.test_step import CLIP, build
from tinybert.errors import TrainingError
from tinybert.manifest.built import TrainingFacts, TrainingRuntimeFacts
from tinybert.model.graph_masks import GraphMasks, MaskedNetwork
from tinybert.recipe.schedule import Polynomial
from tinybert.train.effective import (
    read_runtime,
    read_step,
    require_as_requested,
    sampled_steps,
    with_graph,
)
from tinybert.train.graph import CompiledGraph, Operator
from tinybert.train.step import MultiStep


def override_rate(step):
    rates = step.learning_rates.asnumpy().copy()
    rates[9] *= 2  # of the sampled steps 0, 1, 2, 4, 9, 14 and 19
    step.learning_rates = ms.Tensor(rates)


def override_length(step):
    step.learning_rates = ms.Tensor(step.learning_rates.asnumpy()[:10])


def override_decay(step):
    step.optimizer.decay = (0.01, 0.01)


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        (override_rate, "learning_rates.9: requested"),
        (override_length, "total_steps: requested 20, built 10"),
        (override_decay, "optimizer.decay_groups.0.0: requested ['layernorm.bias'], built None"),
        (
            lambda step: setattr(step, "schedule", Polynomial(0.1, 0.0, 1.0, 3, 20)),
            "warmup_steps: requested 2, built 3",
        ),
        (
            lambda step: setattr(step, "schedule", Polynomial(0.1, 0.0, 1.0, 2, 20, 2)),
            "decay_start: requested 0, built 2",
        ),
        (
            lambda step: setattr(step, "scale_factor", 4.0),
            "loss_scale.scale_factor: requested 2.0, built 4.0",
        ),
        (
            lambda step: setattr(step, "scale_window", 9),
            "loss_scale.scale_window: requested 3, built 9",
        ),
        (
            lambda step: step.loss_scale.set_data(ms.Tensor(1.0, ms.float32)),
            "loss_scale.loss_scale_value: requested 1024.0, built 1.0",
        ),
        (
            lambda step: setattr(step, "clip_norm", 5.0),
            f"optimizer.clip_norm: requested {CLIP}, built 5.0",
        ),
        (
            lambda step: setattr(step, "clip_by", "global_norm"),
            "optimizer.clip_by: requested 'norm', built 'global_norm'",
        ),
        (
            lambda step: setattr(step.optimizer, "corrections", ms.Tensor(np.ones((20, 2)))),
            "optimizer.bias_correction: requested False, built True",
        ),
        (
            lambda step: setattr(step.optimizer, "eps", 1e-8),
            "optimizer.eps: requested 1e-06, built 1e-08",
        ),
        (
            lambda step: setattr(step.optimizer, "betas", (0.8, 0.999)),
            "optimizer.betas: requested [0.9, 0.999], built [0.8, 0.999]",
        ),
    ],
)
def test_an_override_is_named(override, difference):
    step = build()
    requested = read_step(step)
    require_as_requested(requested, read_step(step))
    override(step)
    with pytest.raises(TrainingError) as caught:
        require_as_requested(requested, read_step(step))
    assert caught.value.message.startswith("what was built is not what the recipe asks for:\n")
    assert difference in caught.value.message


def test_precision_is_that_of_the_compiled_products():
    def product(scope, *types):
        return Operator("MatMul", scope, types)

    graph = CompiledGraph(
        (
            product("Default/network-Distiller/teacher-BertEncoder/x", "Float16", "Float16"),
            product("Default/network-Distiller/student-BertEncoder/x", "Float16", "Float16"),
            product("Default/network-Distiller/student-BertEncoder/y", "Float32", "Float32"),
            product("Default/network-Distiller/loss", "Float32", "Float32"),
        ),
        "digest",
    )
    scopes = {"teacher": "/teacher-BertEncoder/", "student": "/student-BertEncoder/"}
    assert with_graph(TrainingFacts(total_steps=9), graph, scopes) == TrainingFacts(
        total_steps=9,
        graph_digest="digest",
        matrix_products={"teacher": {"Float16": 1}, "student": {"Float16": 1, "Float32": 1}},
    )


def test_sampled_steps_hold_ends_quarters_and_the_end_of_the_warmup():
    assert sampled_steps(20, 2) == [0, 1, 2, 4, 9, 14, 19]
    assert sampled_steps(1, 0) == [0]
    assert np.all(np.diff(sampled_steps(1000, 100)) > 0)


def test_the_runtime_is_that_of_the_cells_that_were_built():
    step = build()
    facts = TrainingRuntimeFacts(
        mode="graph", enable_data_sink=False, data_sink_steps=1, dropout_masks="host"
    )
    assert read_runtime(step) == facts
    step.network = MaskedNetwork(step.network, GraphMasks(1, ()))
    facts = replace(facts, dropout_masks="graph")
    assert read_runtime(step) == facts
    facts = replace(facts, enable_data_sink=True, data_sink_steps=7)
    assert read_runtime(MultiStep(step, steps=7)) == facts
