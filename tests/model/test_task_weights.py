"""A head and a projection are read under the names that each family has for them."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.model.networks import random_weights, tiny
from tinybert.errors import InputError
from tinybert.model.weights import read_weights
from tinybert.recipe.network import HeadConfig

HEAD = HeadConfig("classification", 3, "linear", 0.1)
SHAPES = {"classifier.weight": (3, 16), "classifier.bias": (3,)}


@pytest.fixture
def values():
    generator = np.random.default_rng(2)
    head = {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()
    }
    return random_weights(tiny()), head


def read(path, **options):
    return read_weights(path, tiny(), "teacher.", **options)


@pytest.mark.parametrize(
    ("encoder", "head"), [("bert.", ""), ("teacher.", "teacher."), ("", "bert.dense_1.")]
)
def test_a_head_is_read_where_it_is_asked_for(tmp_path, values, encoder, head):
    weights, classifier = values
    found = {
        (head + name.split(".")[1] if head.endswith("dense_1.") else head + name): value
        for name, value in classifier.items()
    }
    path = tmp_path / "a.safetensors"
    save_file({encoder + name: value for name, value in weights.items()} | found, path)
    loaded = read(path, head=HEAD)
    assert loaded.dropped == ()
    for name, value in classifier.items():
        assert np.array_equal(loaded.arrays[f"teacher.{name}"], value)
    without = read(path)
    assert without.dropped == tuple(sorted(found))
    assert "teacher.classifier.weight" not in without.arrays


def test_a_head_of_another_width_is_refused(tmp_path, values):
    weights, classifier = values
    save_file(weights | classifier, tmp_path / "a.safetensors")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.safetensors", head=replace(HEAD, num_labels=2))
    assert caught.value.message == (
        "the weights do not fit the network:\n"
        "  shape: classifier.weight is (3, 16), not (2, 16)\n"
        "  shape: classifier.bias is (3,), not (2,)"
    )


def test_two_heads_are_refused(tmp_path, values):
    weights, classifier = values
    second = {"a.classifier.weight": classifier["classifier.weight"]}
    save_file(weights | classifier | second, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"are both classifier\.weight"):
        read(tmp_path / "a.safetensors", head=HEAD)


SHARED = {"fit_dense.weight": (4, 2), "fit_dense.bias": (4,)}
PER_LAYER = {
    f"fit_dense.{n}.{x}": s for n in range(3) for x, s in (("weight", (4, 2)), ("bias", (4,)))
}


def save_student(path, weights, **extra):
    student = {f"student.{name}": value for name, value in weights.items()}
    save_file(student | extra, path)
    return path


def test_a_projection_is_returned_beside_the_weights_and_its_moments_are_not(tmp_path, values):
    fit = {name: np.ones(shape, np.float32) for name, shape in SHARED.items()}
    slots = {"adam_m.fit_dense.bias": np.zeros(4, np.float32)}
    path = save_student(tmp_path / "a.safetensors", values[0], **fit, **slots)
    loaded = read(path, fit_dense=SHARED)
    assert set(loaded.fit_dense) == set(fit)
    assert "teacher.fit_dense.bias" not in loaded.arrays
    assert loaded.dropped == ("adam_m.fit_dense.bias",)
    assert read(path).fit_dense == {}


def test_projections_of_published_tinybert_are_those_of_the_layers(tmp_path, values):
    fit = {
        name.replace("fit_dense.", "fit_denses."): np.full(shape, place, np.float32)
        for place, (name, shape) in enumerate(PER_LAYER.items())
    }
    path = save_student(tmp_path / "a.safetensors", values[0], **fit)
    loaded = read(path, fit_dense=PER_LAYER)
    assert {n: (a.shape, a.mean()) for n, a in loaded.fit_dense.items()} == {
        name: (shape, place) for place, (name, shape) in enumerate(PER_LAYER.items())
    }
    assert loaded.dropped == ()


def test_projections_of_another_kind_are_left_out_and_named(tmp_path, values):
    fit = {name: np.ones(shape, np.float32) for name, shape in PER_LAYER.items()}
    path = save_student(tmp_path / "a.safetensors", values[0], **fit)
    loaded = read(path, fit_dense=SHARED)
    assert (loaded.fit_dense, loaded.dropped) == ({}, tuple(sorted(fit)))


def test_a_projection_of_other_widths_is_refused(tmp_path, values):
    fit = {name: np.ones(shape, np.float32) for name, shape in SHARED.items()}
    path = save_student(tmp_path / "a.safetensors", values[0], **fit)
    with pytest.raises(InputError) as caught:
        read(path, fit_dense=SHARED | {"fit_dense.bias": (5,)})
    assert "  shape: fit_dense.bias is (4,), not (5,)" in str(caught.value)


def test_a_trained_head_needs_the_pooler_that_it_was_trained_with(tmp_path, values):
    weights, classifier = values
    without = {n: value for n, value in weights.items() if not n.startswith("pooler.")}
    save_file(without | classifier, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"missing: pooler\.dense\.weight"):
        read(tmp_path / "a.safetensors", head=HEAD)
    loaded = read(tmp_path / "a.safetensors", head=replace(HEAD, task_type="ner"))
    assert loaded.absent == ("teacher.pooler.dense.weight", "teacher.pooler.dense.bias")
