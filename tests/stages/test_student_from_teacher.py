"""A student that begins as layers of the teacher, from recipe to manifest."""

import json

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.stages.contexts import context_of
from tinybert.manifest.built import TrainingFacts
from tinybert.plan.plan import describe, make_plan
from tinybert.recipe.load import load
from tinybert.recipe.network import HeadConfig
from tinybert.stages.build import first_weights
from tinybert.stages.layers import build_distiller, layer_training
from tinybert.train.effective import with_networks

WIDE = {
    "hidden_size = 16\nnum_hidden_layers = 2": "hidden_size = 16\nnum_hidden_layers = 4",
    "hidden_size = 8\nnum_hidden_layers = 1\nintermediate_size = 16": (
        "hidden_size = 16\nnum_hidden_layers = 2\nintermediate_size = 24"
    ),
    '[student]\ninit = "seeded"': '[student]\ninit = "teacher"',
}
"""Changes of the narrow recipe: two layers of the width of the teacher's four."""
SHORT = {"train_steps = 48": "train_steps = 4", "save_ckpt_step = 20": "save_ckpt_step = 4"}


@pytest.fixture(scope="module")
def recipe(write_recipe):
    return write_recipe("copied", "tiny", WIDE | SHORT)


def plan_of(recipe, *changes):
    plan, problems = make_plan(load(recipe, changes), ROOT)
    assert problems == []
    return plan


def distiller_of(plan):
    return build_distiller(plan, plan.resolved.recipe.distill, {})


def layer(values, name):
    prefix = f"{name}."
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}


@pytest.mark.parametrize(
    ("layer_map", "layers"), [('"uniform"', (2, 4)), ('"top"', (3, 4)), ("[4, 1]", (4, 1))]
)
def test_each_layer_is_the_one_it_learns_from(recipe, layer_map, layers):
    plan = plan_of(recipe, f"distill.layer_map={layer_map}")
    values = {p.name: p.asnumpy() for p in distiller_of(plan).get_parameters()}
    student, teacher = layer(values, "student"), layer(values, "teacher")
    for part in ("embeddings", "pooler"):
        for name, value in layer(student, part).items():
            assert np.array_equal(value, layer(teacher, part)[name])
    for number, taken in enumerate(layers):
        own, theirs = (
            layer(student, f"encoder.layer.{number}"),
            layer(teacher, f"encoder.layer.{taken - 1}"),
        )
        assert own.keys() == theirs.keys()
        for name, value in own.items():
            assert np.array_equal(value, theirs[name])
    assert not np.array_equal(
        teacher["encoder.layer.1.output.dense.weight"],
        teacher["encoder.layer.3.output.dense.weight"],
    )
    assert f"from layers {layers[0]}, {layers[1]} of the teacher" in describe(plan)


def test_what_was_copied_is_read_from_the_weights(recipe):
    def facts(*changes):
        plan = plan_of(recipe, *changes)
        distiller = distiller_of(plan)
        groups = {
            role: list(getattr(distiller, role).get_parameters()) for role in ("teacher", "student")
        }
        return with_networks(TrainingFacts(), groups, 16).layers_from_teacher

    assert facts('distill.layer_map="top"') == [3, 4]
    assert facts('network.compute_type="float16"', 'student.init="seeded"') == []


def test_the_head_of_a_student_begins_from_the_seed(recipe):
    plan = plan_of(recipe)
    head = HeadConfig("classification", 2, "linear", 0.1)
    weights = first_weights(plan, "student", {}, head)
    seeded = first_weights(plan_of(recipe, 'student.init="seeded"'), "student", {}, head)
    name = "student.classifier.weight"
    assert np.array_equal(weights[name], seeded[name])


def test_without_projection_a_copy_of_all_layers_has_no_loss(recipe):
    whole = ("student.num_hidden_layers=4", 'distill.fit_dense="none"')
    changes = (
        *whole,
        "student.hidden_dropout_prob=0.0",
        "student.attention_probs_dropout_prob=0.0",
    )
    plan = plan_of(recipe, *changes)
    distiller = distiller_of(plan)
    table = plan.resolved.recipe.distill
    feed = layer_training(context_of(plan), plan.phases[0], table, distiller).feed
    losses = [float(x.asnumpy()) for x in distiller(*feed(0).parts[0].tensors())]
    assert losses == [0.0] * 3


@pytest.mark.slow
def test_a_run_says_which_layers_its_student_began_as(runner, recipe):
    manifest = json.loads(runner.run(recipe, "--fresh").read_text())
    assert manifest["effective"]["layers_from_teacher"] == [2, 4]
    assert manifest["inputs"]["recipe"]["values"]["student"]["init"] == "teacher"
