"""The command `export`: what it writes, how it checks it, what it refuses."""

import hashlib
import json
import re
from importlib import metadata

import mindspore as ms
import numpy as np
import pytest
from onnx import numpy_helper

from tests.export.conftest import (
    TINY,
    VOCAB,
    finished_run,
    student_weights,
    task_recipe,
    task_weights,
)
from tests.export.test_onnx_graph import network_of, run_session
from tests.model.networks import random_batch
from tests.model.numpy_bert import NumpyBert
from tinybert.errors import ExportError
from tinybert.export import check, formats, onnx_graph
from tinybert.export.check import batches, measure_differences
from tinybert.files import digest_file
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.model.bert import MASKED
from tinybert.recipe.load import load
from tinybert.recipe.network import network

FILES = {"onnx": "model.onnx", "mindir": "model.mindir"}
OFF = re.compile(r"off by at most \S+")


def run_onnx(path, batch):
    return run_session(str(path), batch)


def run_mindir(path, batch):
    outputs = ms.nn.GraphCell(ms.load(str(path)))(*map(ms.Tensor, batch))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [output.asnumpy() for output in outputs]


RUN = {"onnx": run_onnx, "mindir": run_mindir}
HOW = {
    "onnx": "run by onnxruntime on the CPU, against the network in MindSpore",
    "mindir": "run by MindSpore from the file, against the network",
}


@pytest.mark.parametrize("format", FILES)
def test_an_encoder_is_exported_for_any_batch_and_length(format, call, student_run, tmp_path):
    output = tmp_path / "out"
    code, answer = call("export", student_run, "--format", format, "--output", output)
    assert (code, OFF.sub("OFF", answer)) == (
        0,
        "DIR/out: 2 x 24, 39 tensors\n"
        "left out: fit_dense.weight\n"
        f"checked: {HOW[format]}\n"
        "  last_hidden_state of 1 x 32: OFF\n"
        "  pooler_output of 1 x 32: OFF\n"
        "  last_hidden_state of 3 x 16: OFF\n"
        "  pooler_output of 3 x 16: OFF\n",
    )
    weights = student_weights()
    bert = NumpyBert(network(load(TINY).recipe, "student"), weights)
    for rows, length in ((2, 11), (3, 20)):
        batch = random_batch(bert.config, rows, length)
        last, pooled = RUN[format](output / FILES[format], batch)
        wanted = bert(*batch)[0][-1]
        np.testing.assert_allclose(last, wanted, rtol=0, atol=2e-5)
        wanted = np.tanh(bert.linear("pooler.dense", wanted[:, 0]))
        np.testing.assert_allclose(pooled, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("format", FILES)
def test_a_head_with_relu_and_relative_positions_is_exported(format, call, tmp_path):
    recipe = task_recipe(tmp_path, head='"relu_linear"', use_relative_positions="true")
    weights = task_weights(recipe, 2)
    run = finished_run(tmp_path, recipe, {f"teacher.{n}": a for n, a in weights.items()})
    output = tmp_path / "out"
    code, answer = call("export", run, "--format", format, "--output", output)
    assert (code, answer.splitlines()[0]) == (
        0,
        "DIR/out: 2 x 24, classification with 2 labels, 42 tensors",
    )
    bert = NumpyBert(network(load(recipe).recipe, "teacher"), weights)
    batch = random_batch(bert.config, 3, 32)
    pooled = np.tanh(bert.linear("pooler.dense", bert(*batch)[0][-1][:, 0]))
    wanted = bert.linear("classifier", np.maximum(pooled, 0))
    (logits,) = RUN[format](output / FILES[format], batch)
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-4)


def test_the_record_says_what_was_exported_from_what(call, student_run, tmp_path):
    output = tmp_path / "out"
    arguments = ("export", student_run, "--format", "onnx", "--output", output, "--vocab", VOCAB)
    assert call(*arguments)[0] == 0
    record = json.loads((output / "export.json").read_text())
    seal = record.pop("sha256")
    assert seal == digest(record)
    manifest = json.loads(student_run.read_text())
    folder = manifest["volatile"]["directory"]
    checkpoint = f"{folder}/checkpoints/step-00000002.safetensors"
    assert record["source"] == {
        "checkpoint": checkpoint,
        "sha256": digest_file(tmp_path / checkpoint).sha256,
        "tensor_digest": tensor_digest(tensor_table(student_weights())),
        "manifest": f"manifests/{student_run.name}",
        "stage": "general_distill",
        "outcome_digest": manifest["digests"]["outcome"],
    }
    assert record["files"] == [
        {
            "name": name,
            "size": (output / name).stat().st_size,
            "sha256": hashlib.sha256((output / name).read_bytes()).hexdigest(),
        }
        for name in ("model.onnx", "vocab.txt")
    ]
    assert record["inputs"] == {
        name: ["batch", "sequence"] for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    assert (record["format"], record["opset"]) == ("onnx", 20)
    assert record["outputs"] == ["last_hidden_state", "pooler_output"]
    first, *others = record["check"]["differences"]
    value = first["largest_difference"]["value"]
    assert 0 < value <= first["allowed"]
    assert first["largest_difference"]["hex"] == value.hex()
    assert [each["batch"] for each in others] == [1, 3, 3]
    assert set(record["versions"]) == {"mindspore", "numpy", "safetensors", "onnx", "onnxruntime"}
    assert record["versions"]["onnx"] == metadata.version("onnx")
    assert record["network"]["config"]["hidden_size"] == 24
    assert record["network"]["lowercase"] is True


def test_an_export_of_equal_weights_has_equal_bytes(call, student_run, tmp_path):
    for name in ("a", "b"):
        call("export", student_run, "--format", "onnx", "--output", tmp_path / name)
    first, second = ((tmp_path / name / "model.onnx").read_bytes() for name in ("a", "b"))
    assert first == second


def test_an_export_for_transformers_is_read_back(call, student_run, tmp_path):
    output = tmp_path / "out"
    assert call("export", student_run, "--format", "huggingface", "--output", output) == (
        0,
        "DIR/out: 2 x 24, 39 tensors\nleft out: fit_dense.weight\n"
        "checked: read back, every tensor bit for bit\n",
    )
    record = json.loads((output / "export.json").read_text())
    assert [file["name"] for file in record["files"]] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def other_gelu(model):
    for node in model.graph.node:
        if node.op_type == "Gelu":
            del node.attribute[:]  # the default is the exact form


def no_mask(model):
    masked = f"float_{MASKED!r}"
    (constant,) = (x for x in model.graph.initializer if x.name == masked)
    constant.CopyFrom(numpy_helper.from_array(np.float32(0), masked))


@pytest.mark.parametrize("mistake", [other_gelu, no_mask])
def test_a_file_that_computes_something_else_is_not_kept(
    mistake, call, student_run, tmp_path, monkeypatch
):
    def mistaken(network, right=onnx_graph.onnx_model):
        model = right(network)
        mistake(model)
        return model

    monkeypatch.setattr(onnx_graph, "onnx_model", mistaken)
    output = tmp_path / "out"
    output.mkdir()
    (output / "model.onnx").write_bytes(b"an earlier one")
    before = sorted(tmp_path.rglob("*"))
    code, answer = call("export", student_run, "--format", "onnx", "--output", output, "--force")
    assert code == 2
    assert re.fullmatch(
        r"error: the exported file differs from the network by \S+ in last_hidden_state of "
        r"\d rows of \d+ tokens, where \S+ is allowed; nothing was written\n",
        answer,
    )
    assert sorted(tmp_path.rglob("*")) == before
    assert (output / "model.onnx").read_bytes() == b"an earlier one"


def test_air_is_refused_without_an_ascend_device(call, student_run, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "ascend_problems", lambda: ["no card"])
    arguments = ("export", student_run, "--format", "AIR", "--output", tmp_path / "out")
    assert call(*arguments) == (
        2,
        "error: AIR is made by Ascend's compiler, which is not available here:\n  - no card\n"
        "help: export on an Ascend machine, or use --format mindir, which Ascend reads too\n",
    )


def test_a_missing_package_is_named(call, student_run, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    arguments = ("export", student_run, "--format", "onnx", "--output", tmp_path / "out")
    assert call(*arguments) == (
        2,
        "error: the format onnx needs onnx and onnxruntime, which is not installed\n"
        "help: install what is in the lock file: "
        "pip install --require-hashes -r requirements.lock\n",
    )


def test_inputs_of_the_check_are_drawn_from_a_seed():
    config = network_of(None).config
    first, second = list(batches(config, 10)), list(batches(config, 10))
    assert [batch.digest() for batch in first] == [batch.digest() for batch in second]
    assert [batch.input_ids.shape for batch in first] == [(1, 10), (3, 5)]
    for ids, segments, mask, *_ in first:
        assert ids.dtype == segments.dtype == mask.dtype == np.int32
        assert 0 <= ids.min() and ids.max() < 31
        assert set(np.unique(segments)) == {0, 1}
        assert (np.diff(mask, axis=1) <= 0).all() and mask[:, 0].all()
        assert not ids[mask == 0].any()
    assert any(not batch.input_mask.all() for batch in first)


def constant(value, shape=(2, 2)):
    return lambda batch: [np.full(shape, value, np.float32)]


@pytest.mark.parametrize(
    ("types", "name", "reference", "exported", "kept"),
    [
        ("float32", "last_hidden_state", 0.5, 0.500015, True),
        ("float32", "last_hidden_state", 0.5, 0.50003, False),
        ("float32", "last_hidden_state", 10.0, 10.00015, True),
        ("float32", "pooler_output", 0.5, 0.50008, True),
        ("float32", "pooler_output", 0.5, 0.50012, False),
        ("float16", "last_hidden_state", 0.5, 0.515, True),
        ("float16", "last_hidden_state", 0.5, 0.53, False),
        ("float32", "last_hidden_state", 0.5, np.nan, False),
        ("float32", "last_hidden_state", np.nan, 0.5, False),
    ],
)
def test_differences_are_held_to_the_tolerance(types, name, reference, exported, kept):
    network = network_of(None, compute_type=types)
    arguments = (network, [name], constant(reference), constant(exported), 4)
    if kept:
        found = measure_differences(*arguments)
        assert [float(each.largest_difference) for each in found] == pytest.approx(
            [exported - reference] * 2, 0.02
        )
        return
    with pytest.raises(ExportError, match="differs from the network by"):
        measure_differences(*arguments)


def test_another_shape_is_refused():
    with pytest.raises(ExportError) as caught:
        measure_differences(network_of(None), ["logits"], constant(1.0), constant(1.0, (2, 3)), 4)
    assert str(caught.value) == (
        "the exported file gives logits of shape (2, 3), the network (2, 2); nothing was written"
    )
    assert check.TOLERANCE["float32"] < check.POOLED_TOLERANCE < check.TOLERANCE["float16"]
