"""The label order of a checkpoint is read where the file says it."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tinybert.model.label_names import encode_labels, recorded_labels

ARRAYS = {"x": np.zeros(2, np.float32)}


def test_a_runs_checkpoint_says_its_labels(tmp_path):
    path = tmp_path / "best.safetensors"
    save_file(ARRAYS, path, metadata=encode_labels(("yes", "nö")))
    assert recorded_labels(path) == ("yes", "nö")


def test_a_checkpoint_without_labels_says_nothing(tmp_path):
    save_file(ARRAYS, tmp_path / "a.safetensors", metadata=encode_labels(None))
    assert recorded_labels(tmp_path / "a.safetensors") is None
    (tmp_path / "b.ckpt").write_bytes(b"")
    assert recorded_labels(tmp_path / "b.ckpt") is None
    assert recorded_labels(tmp_path / "missing.safetensors") is None


@pytest.mark.parametrize(
    ("id2label", "expected"),
    [
        ({"1": "b", "0": "a"}, ("a", "b")),
        ({"0": "LABEL_0", "1": "LABEL_1"}, None),
        ({"0": "a", "2": "b"}, None),
        ({"zero": "a"}, None),
        (None, None),
        (["a", "b"], None),
    ],
)
def test_hugging_faces_description_says_them_where_they_are_names(tmp_path, id2label, expected):
    save_file(ARRAYS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": id2label}))
    assert recorded_labels(tmp_path) == expected
    assert recorded_labels(tmp_path / "model.safetensors") == expected


def test_a_damaged_description_says_nothing(tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert recorded_labels(tmp_path) is None
