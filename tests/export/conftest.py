"""Finished runs, and checkpoints of several families, without any training."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import runner
from tests.conftest import ROOT, SHIPPED
from tests.fake_runs import EFFECTIVE, ENVIRONMENT
from tests.model.networks import random_weights
from tinybert.data.labels import encode_labels
from tinybert.data.sidecar import load_sidecar
from tinybert.files import digest_file
from tinybert.manifest.checkpoints import tensor_table
from tinybert.manifest.model import Code, InputFile, Inputs
from tinybert.manifest.record import RunRecord
from tinybert.recipe.load import load
from tinybert.recipe.network import network
from tinybert.run.resume import recipe_facts

TINY = SHIPPED["tiny"]
RECORDS = ROOT / "recipes" / "tiny" / "records" / "records.json"
VOCAB = ROOT / "recipes" / "tiny" / "vocab.txt"
SIZES = {
    "vocab_size": "800",
    "num_attention_heads": "4",
    "max_position_embeddings": "32",
    "compute_type": '"float32"',
    "hidden_size": "24",
    "num_hidden_layers": "2",
    "intermediate_size": "48",
    "seq_length": "32",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Let no command change the environment of other tests."""
    for name, value in (("OMP_NUM_THREADS", "1"), ("GLOG_v", "3")):
        monkeypatch.setenv(name, os.environ.get(name, value))


@pytest.fixture
def call(capsys, tmp_path):
    """Call the command line in this process; returns exit code and what it said."""

    def call(*arguments):
        code = runner.main([*map(str, arguments), "--root", str(tmp_path)])
        out, err = capsys.readouterr()
        return code, (out + err).replace(str(tmp_path), "DIR").replace(str(ROOT), "ROOT")

    return call


def task_recipe(folder: Path, **changes: str) -> Path:
    """Write a recipe that fine-tunes a tiny teacher."""
    text = SHIPPED["finetune_sst2"].read_text().partition("[expect]")[0]
    for key, value in (SIZES | changes).items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    path = folder / "task.toml"
    path.write_text(text)
    return path


def task_weights(recipe: Path, width: int) -> dict[str, np.ndarray]:
    """Return weights of a task recipe's teacher, head included, by canonical name."""
    config = network(load(recipe).recipe, "teacher")
    generator = np.random.default_rng(8)
    head = {"classifier.weight": (width, config.hidden_size), "classifier.bias": (width,)}
    return random_weights(config) | {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in head.items()
    }


def student_weights() -> dict[str, np.ndarray]:
    """Return weights of the tiny recipe's student by canonical name."""
    return random_weights(network(load(TINY).recipe, "student"))


def prepared_task(folder: Path, **changes) -> Path:
    """Write the records.json of a task's records; returns it."""
    sidecar = load_sidecar(ROOT / "recipes" / "tiny" / "places" / "train")
    task = sidecar.task.model_copy(update=changes)
    (folder / "records.json").write_bytes(sidecar.model_copy(update={"task": task}).to_bytes())
    return folder / "records.json"


def finished_run(
    root: Path, recipe: Path, arrays: dict[str, np.ndarray], labels=None, records=RECORDS
) -> Path:
    """Leave the manifest and the checkpoint of a run that finished; returns the manifest."""
    resolved = load(recipe)
    file = digest_file(records)
    inputs = Inputs(
        stage=resolved.recipe.stage,
        recipe=recipe_facts(resolved),
        code=Code(digest="0" * 64, files={}),
        files=[InputFile(role="sidecar", path=str(records), size=file.size, sha256=file.sha256)],
    )
    with RunRecord.plan(root, inputs) as record:
        record.start(EFFECTIVE, ENVIRONMENT)
        path = record.directory / "checkpoints" / "step-00000002.safetensors"
        path.parent.mkdir()
        state = {f"adam_m.{name}": array for name, array in arrays.items()}
        everything = arrays | state | {"loss_scale": np.ones((), np.float32)}
        save_file(everything, path, metadata=encode_labels(labels))
        record.checkpoint(2, path, tensor_table(everything))
        record.finish(optimizer_steps=2, samples=8, metrics={})
    return record.path


@pytest.fixture
def student_run(tmp_path):
    """The manifest of a general distillation."""
    arrays = {f"student.{name}": array for name, array in student_weights().items()}
    fit = {"fit_dense.weight": np.ones((48, 24), np.float32)}
    return finished_run(tmp_path, TINY, arrays | fit)
