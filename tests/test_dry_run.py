"""Every shipped recipe plans its run, given inputs of the right shape."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tinybert.commands.resume import recipe_facts
from tinybert.data.example import encode_examples
from tinybert.data.tfrecord import write_records
from tinybert.manifest.digests import tensor_table
from tinybert.manifest.identity import code_identity
from tinybert.manifest.record import RunRecord
from tinybert.recipe.load import load

RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
ROWS = 1024


def stand_in_records(root, data):
    """Write the record files that a recipe's `[data]` names, with as few rows as it plans with."""
    length = data["seq_length"]
    columns = {name: np.ones((ROWS, length), np.int64) for name in ("input_ids", "input_mask")}
    columns |= {"segment_ids": np.zeros((ROWS, length), np.int64)}
    columns |= {"label_ids": np.zeros((ROWS, 1), np.int64)}
    described = {
        name: {"type": "int64", "rank": 1, "shape": [values.shape[1]]}
        for name, values in columns.items()
    }
    for key in ("schema_dir", "eval_schema_dir"):
        if key in data:
            schema = root / data[key]
            schema.parent.mkdir(parents=True, exist_ok=True)
            schema.write_text(json.dumps({"datasetType": "TF", "columns": described}))
    for key in ("data_dir", "train_data_dir", "eval_data_dir"):
        if key in data:
            path = root / data[key].replace("*", "part-0")
            path = path if path.suffix else path / "part-0.tfrecord"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                write_records(file, encode_examples(columns))


def stand_in_run(root, recipe):
    """Leave a finished manifest of a recipe, with one checkpoint."""
    resolved = load(recipe)
    inputs = {"recipe": recipe_facts(resolved), "code": code_identity(ROOT).facts}
    with RunRecord.plan(root, resolved.name, resolved.recipe.stage, inputs) as record:
        checkpoint = record.directory / "checkpoints" / "step-00000001.safetensors"
        checkpoint.parent.mkdir()
        checkpoint.write_bytes(b"stand-in")
        record.checkpoint(1, checkpoint, tensor_table({"w": np.zeros(1, np.float32)}))
        record.finish()


def sources(values):
    for which in ("teacher", "student"):
        if source := values.get(which, {}).get(f"load_{which}_ckpt_path"):
            yield source


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_plans_its_run(runner, path, tmp_path):
    values = load(path).values
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    if not values["data"].get("schema_dir", "").startswith("recipes/"):  # those are shipped
        stand_in_records(tmp_path, values["data"])
    for source in sources(values):
        if isinstance(source, str):
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / source).write_bytes(b"stand-in")
        else:
            stand_in_run(tmp_path, tmp_path / source["recipe"])
    recipe = Path("recipes") / path.name
    code, out, err = runner(recipe, "--root", tmp_path, "--dry-run", "--device", "CPU")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["recipe", str(recipe), f"({values['stage']})"]
    assert "rows in 1 file(s)" in out
    assert not list((ROOT / "recipes").rglob("part-0*"))
    assert not list(tmp_path.glob("runs/*/*/trace.jsonl"))
