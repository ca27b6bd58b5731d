"""The model card beside an export for transformers."""

import re

import pytest
import yaml

from tests.export.conftest import finished_run, task_recipe, task_weights
from tests.fake_evaluations import evaluation
from tinybert.export.card import code
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.manifest.document import read_manifest
from tinybert.manifest.model import Parent


@pytest.fixture
def weights(tmp_path):
    return task_weights(task_recipe(tmp_path), 2)


@pytest.fixture
def trained(tmp_path, weights):
    """The manifest of a fine-tuned teacher with two labels."""
    arrays = {f"teacher.{name}": array for name, array in weights.items()}
    return finished_run(tmp_path, task_recipe(tmp_path), arrays, labels=("bad", "go`od|"))


@pytest.fixture
def card(call, tmp_path):
    """Export a run for transformers, and return its card: the metadata, and the text."""

    def card(source):
        output = tmp_path / "out"
        code, text = call("export", source, "--format", "huggingface", "--output", output)
        assert code == 0, text
        _, header, body = (output / "README.md").read_text().split("---\n", 2)
        return yaml.safe_load(header), body

    return card


def test_a_card_has_the_numbers_of_the_newest_evaluation(card, trained, tmp_path):
    outcome = read_manifest(trained).digests.outcome
    parent = Parent(role="teacher", manifest="", stage="finetune", outcome_digest=outcome)
    measured = evaluation(tmp_path, "classification", parents=[parent])
    evaluation(tmp_path, "classification", seed=3)  # of another network
    header, body = card(trained)
    assert (header["library_name"], header["pipeline_tag"]) == (
        "transformers",
        "text-classification",
    )
    (model,) = header["model-index"]
    (result,) = model["results"]
    assert model["name"] == "task"
    assert [each["type"] for each in result["metrics"]] == [
        *("accuracy", "f1", "matthews_correlation", "f1"),
    ]
    accuracy = result["metrics"][0]
    assert accuracy["value"] == float(read_manifest(measured).outcome.metrics["accuracy"])
    assert accuracy["name"] == "Accuracy, 95 % interval 0.08222 to 0.6411 (Wilson)"
    assert "| Accuracy | 0.2857 | 0.08222 to 0.6411 (Wilson) |\n" in body
    assert f"Measured on 7 rows of `recipes/tiny/places/dev` by the run\n`{measured.stem}`." in body
    assert "2 labels to a text: `bad`, `go'od/`." in body


def test_a_card_says_where_the_network_comes_from_and_how_to_check_it(card, trained, weights):
    _, body = card(trained)
    manifest = read_manifest(trained)
    for digest in (
        tensor_digest(tensor_table(weights)),
        manifest.digests.outcome,
        manifest.inputs.recipe.digest,
    ):
        assert f": `{digest}`\n" in body
    assert f"\npython runner.py verify manifests/{trained.name}\n" in body
    assert re.search(r"- this network: fine-tuning by the recipe\s+`\S+task.toml`,\s+seed 1", body)


def test_without_a_run_the_card_says_so(card, call, trained, tmp_path):
    card(trained)
    copy = tmp_path / "copy"
    arguments = ("--to", "huggingface", "--output", copy)
    assert call("convert", tmp_path / "out", *arguments)[0] == 0
    text = " ".join((copy / "README.md").read_text().split())
    assert " # out A BERT of 2 layers" in text
    assert "It was converted from a checkpoint; the run that left it is not known." in text
    assert "outcome" not in text
    assert "model-index" not in text


def test_an_encoder_has_no_dev_set_and_no_intervals(card, student_run):
    header, body = card(student_run)
    assert header["pipeline_tag"] == "feature-extraction"
    assert "model-index" not in header
    assert "95 %" not in body


def test_hugging_face_reads_the_metadata(card, trained, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    outcome = read_manifest(trained).digests.outcome
    parent = Parent(role="teacher", manifest="", stage="finetune", outcome_digest=outcome)
    evaluation(tmp_path, "classification", parents=[parent])
    card(trained)
    data = hub.ModelCard.load(tmp_path / "out" / "README.md").data
    assert data.model_name == "task"
    assert {each.metric_type for each in data.eval_results} == {
        *("accuracy", "f1", "matthews_correlation"),
    }


@pytest.mark.parametrize(
    ("name", "text"), [("a b", "`a b`"), ("a`b", "`a'b`"), ("a|b\nc", "`a/b c`")]
)
def test_names_stay_inside_their_code(name, text):
    assert code(name) == text
