"""A teacher teaches a student with another number of attention heads, from recipe to export."""

import json

import numpy as np
import onnxruntime
import pytest

from tests.conftest import ROOT
from tests.stages.contexts import context_of
from tinybert.manifest.trace import read_trace
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load
from tinybert.stages.layers import build_distiller, layer_training

CHANGES = {
    "num_attention_heads = 4\n": "",
    "[teacher]\n": "[teacher]\nnum_attention_heads = 4\n",
    "[student]\n": "[student]\nnum_attention_heads = 2\n",
    "attention = 1.0": "attention = 0.0",
    "train_steps = 48": "train_steps = 12",
    "schema_dir =": 'eval_data_dir = "recipes/tiny/records/*.tfrecord"\nschema_dir =',
}
PARTS = {"loss", "hidden_loss", "mean_loss", "mean_hidden_loss", "eval_loss", "eval_hidden_loss"}


@pytest.fixture(scope="module")
def recipe(write_recipe):
    return write_recipe("heads", "tiny", CHANGES)


@pytest.fixture(scope="module")
def run(runner, recipe):
    """Return the manifest's path of a finished run."""
    return runner.run(recipe, "--fresh")


def test_the_hidden_loss_alone_is_trained_on_and_reported(runner, run):
    manifest = json.loads(run.read_text())
    metrics = manifest["outcome"]["metrics"]
    assert metrics.keys() == PARTS
    assert metrics["loss"] == metrics["hidden_loss"]
    records = list(read_trace(runner.root / manifest["volatile"]["directory"] / "trace.jsonl"))
    assert [set(record.parts) for record in records] == [{"hidden_loss"}] * 12
    assert records[-1].loss < records[0].loss
    assert manifest["effective"]["num_attention_heads"] == {"teacher": 4, "student": 2}
    code, out, err = runner.ask("verify", run)
    assert code == 0, out + err


@pytest.mark.slow
def test_data_sink_changes_no_bit(runner, recipe, run):
    sink = ("runtime.enable_data_sink=true", "runtime.data_sink_steps=5")
    other = runner.run(recipe, "--fresh", *(part for each in sink for part in ("--set", each)))
    first, second = (json.loads(path.read_text())["digests"]["outcome"] for path in (run, other))
    assert first == second


def test_masks_and_scores_have_the_heads_of_their_network(recipe):
    plan, problems = make_plan(load(recipe), ROOT)
    assert problems == []
    context, table = context_of(plan), plan.resolved.recipe.distill
    distiller = build_distiller(plan, table, context.loaded)
    batch = layer_training(context, plan.phases[0], table, distiller).feed(0).parts[0]
    assert batch.attention_keep.shape == (1, 16, 2, 32, 32)
    for encoder, heads in ((distiller.teacher, 4), (distiller.student, 2)):
        _, scores, _ = encoder(*batch.tensors()[:3])
        assert {score.shape for score in scores} == {(16, heads, 32, 32)}


def test_an_export_has_the_students_heads(runner, run, tmp_path):
    for form in ("huggingface", "onnx"):
        output = tmp_path / form
        code, out, err = runner.ask("export", run, "--format", form, "--output", output)
        assert code == 0, out + err
    config = json.loads((tmp_path / "huggingface" / "config.json").read_text())
    assert config["num_attention_heads"] == 2
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    ones = np.ones((1, 5), np.int64)
    inputs = {given.name: ones for given in session.get_inputs()}
    last, _ = session.run(None, inputs)
    assert np.isfinite(last).all()


def test_an_attention_loss_between_them_is_refused(runner, recipe):
    code, out, err = runner.ask(recipe, "--set", "distill.weights.attention=0.5")
    assert (code, out) == (2, "")
    line = recipe.read_text().splitlines().index("num_attention_heads = 2") + 1
    assert err == (
        "error: `num_attention_heads` is 4 in [teacher] and 2 in [student]\n"
        f"  --> {recipe}:{line}:23\n   |\n{line} | num_attention_heads = 2\n"
        "   |                       ^\n"
        "help: write one number, or `attention = 0.0` in [distill.weights]: "
        "attention is compared head by head\n"
    )
