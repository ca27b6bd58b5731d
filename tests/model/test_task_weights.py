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


def test_a_projection_is_returned_beside_the_weights_and_its_moments_are_not(tmp_path, values):
    weights, _ = values
    fit = {
        "fit_dense.weight": np.ones((4, 2), np.float32),
        "fit_dense.bias": np.ones(4, np.float32),
    }
    slots = {"adam_m.fit_dense.bias": np.zeros(4, np.float32)}
    student = {f"student.{name}": value for name, value in weights.items()}
    save_file(student | fit | slots, tmp_path / "a.safetensors")
    loaded = read(tmp_path / "a.safetensors", fit_dense=True)
    assert set(loaded.fit_dense) == set(fit)
    assert loaded.dropped == ("adam_m.fit_dense.bias",)
    assert read(tmp_path / "a.safetensors").fit_dense == {}
