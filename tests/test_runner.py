"""The program as its users call it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import folder, read_json
from tests.fake_runs import EFFECTIVE, ENVIRONMENT

ROOT = Path(__file__).parents[1]
TINY = "recipes/tiny.toml"


@pytest.fixture(scope="module")
def first(runner):
    return runner.run(TINY, "--fresh")


def test_manifest_says_what_ran(first):
    manifest = read_json(first)
    outcome, effective = manifest["outcome"], manifest["effective"]
    assert (outcome["status"], outcome["steps"], outcome["samples"]) == ("finished", 48, 768)
    assert [kept["step"] for kept in outcome["checkpoints"]] == [40, 48]
    assert effective["matrix_products"] == {"teacher": {"Float32": 24}, "student": {"Float32": 12}}
    assert effective["runtime"] == {
        "mode": "graph",
        "enable_data_sink": False,
        "data_sink_steps": 1,
        "dropout_masks": "host",
        "micro_batches": None,
    }
    assert len(effective["graph_digest"]) == len(effective["masks"]["step 0"]) == 64
    roles = [file["role"] for file in manifest["inputs"]["files"]]
    assert roles == ["data", "schema", "sidecar"]
    assert manifest["environment"]["mindspore"]["version"] == "2.10.0"
    losses = [outcome["metrics"][name]["value"] for name in ("loss", "mean_loss")]
    assert losses[0] < losses[1]  # the last step's is below the mean of all


def test_trace_has_a_record_a_step(first):
    manifest = read_json(first)
    lines = (folder(first) / "trace.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["global_step"] for record in records] == list(range(48))
    assert records[-1]["chain"] == manifest["outcome"]["trace_digest"]
    assert sorted(path.name for path in (folder(first) / "checkpoints").iterdir()) == [
        "step-00000040.safetensors",
        "step-00000040.safetensors.tensors.json",
        "step-00000048.safetensors",
        "step-00000048.safetensors.tensors.json",
    ]


def test_verify_has_one_answer_for_a_user_and_for_tests(runner, first):
    code, out, err = runner("verify", first)
    assert (code, out.splitlines()[0]) == (0, "same: every file is what it was")
    assert runner.ask("verify", first) == (code, out, err)


def test_ctrl_c_saves_and_the_same_command_goes_on(narrow, straight):
    process = narrow.start(narrow.free, "--root", narrow.root, "--fresh")
    for line in process.stderr:
        if "step=1/200" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert "error: stopped, and saved\n  --> manifests/free-" in err
    assert err.endswith("help: the same command goes on from here\n")
    manifest = read_json(narrow.run(narrow.free))
    assert [part["first_step"] > 0 for part in manifest["volatile"]["segments"]] == [False, True]
    assert manifest["digests"]["outcome"] == read_json(straight)["digests"]["outcome"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            [TINY, "--set", "data.data_dir=nowhere"],
            4,
            "error: no such file or directory\n  --> ROOT/nowhere\n"
            "help: let the recipe name a record file, a directory of them, or a glob\n",
        ),
        (
            ["recipes/nothing.toml"],
            2,
            "error: no such recipe\n  --> recipes/nothing.toml\n",
        ),
        (
            [TINY, "--set", "training.train_steps=0"],
            2,
            "error: expected at least 1 for `train_steps`, got 0\n"
            "  --> --set training.train_steps=0\n",
        ),
        (
            ["diff", "manifests/a.json", "manifests/b.json"],
            2,
            "error: cannot read the manifest: no such file or directory\n  --> manifests/a.json\n",
        ),
    ],
)
def test_errors_are_one_message_and_an_exit_code(runner, arguments, code, message):
    found, out, err = runner(*arguments)
    assert (found, out, err) == (code, "", message.replace("ROOT", str(ROOT)))


def test_without_ascend_the_answer_names_what_is_missing_and_the_way_out(runner):
    code, out, err = runner("recipes/gd_bert_base_8p.toml")
    assert (code, out) == (4, "")
    assert "this recipe runs on Ascend, which is not available here:\n" in err
    assert "  - no device file /dev/davinci*" in err
    assert "add `--device CPU` to run on the CPU" in err
    assert not list(runner.root.glob("manifests/gd_*"))


def test_another_recipe_does_not_go_on_with_a_run(narrow, straight, tmp_path):
    other = tmp_path / "free.toml"
    other.write_text(narrow.free.read_text().replace("weight_decay = 1e-4", "weight_decay = 0.5"))
    options = ("--root", narrow.root, "--resume", straight)
    code, out, err = narrow.ask(other, *options)
    assert (code, out) == (2, "")
    assert err == (
        "error: the recipe is not the one that this run began with:\n"
        "  - optimizer.weight_decay: 0.0001 then, 0.5 now\n"
        f"  --> {straight}\n"
        "help: undo the changes, or name each on the command line with `--set`\n"
    )
    code, _, err = narrow.ask(narrow.free, *options)
    assert (code, err) == (2, f"error: this run is finished\n  --> {straight}\n")


def test_rerun_repeats_what_a_manifest_says(runner, first):
    code, out, _ = runner("rerun", first)
    assert (code, out.splitlines()[0]) == (0, "bitwise: the outcomes are equal")


CHANGED = ("--set", "training.train_steps=2")
DROP = (
    "help: where --set makes it another run, --set expect.KEY= removes what no longer holds: "
    "expect.steps, expect.metrics, expect.reference\n"
)


@pytest.mark.parametrize(("changed", "cure"), [((), ""), (CHANGED, DROP)])
def test_a_missed_expectation_has_its_own_exit_code(narrow, tmp_path, monkeypatch, changed, cure):
    def finish(plan, record, stop, **options):
        record.start(EFFECTIVE, ENVIRONMENT)
        record.finish(metrics={"loss": 1.95})
        return True

    monkeypatch.setattr("tinybert.commands.run.execute", finish)
    monkeypatch.setattr("tinybert.run.logs.FileCopy.open", lambda copy, path: None)
    strict = tmp_path / "strict.toml"
    bounds = "[expect]\nmetrics = { loss = { max = 0.5 } }\n"
    strict.write_text(narrow.free.read_text() + bounds)
    code, out, err = narrow.ask(strict, "--root", narrow.root, *changed)
    assert (code, out) == (3, "")
    message = "the run finished, but not as its [expect] says:\n  - loss is 1.95, above 0.5\n"
    assert f"error: {message}  --> manifests/strict-" in err
    assert err.partition(".json\n")[2] == cure


SILENT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import runner
from tinybert.run import execute

select = execute.select

def overridden(*arguments):
    settings = select(*arguments)
    from tinybert.model import layers
    layers.FLOATS["float16"] = layers.FLOATS["float32"]
    return settings

execute.select = overridden
sys.exit(runner.main())
"""


def test_a_silent_change_of_precision_ends_the_run(narrow):
    half = 'network.compute_type="float16"'
    arguments = [ROOT, narrow.free, "--root", narrow.root, "--set", half]
    command = [sys.executable, "-c", SILENT, *map(str, arguments)]
    done = subprocess.run(command, cwd=narrow.root, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: what was built is not what the recipe asks for:\n" in done.stderr
    assert "  - student: requested ['Float16'], built ['Float32']\n" in done.stderr
    manifest = read_json(sorted(narrow.root.glob("manifests/free-*.json"))[-1])
    assert manifest["outcome"]["status"] == "failed"
    assert manifest["outcome"]["error"]["type"] == "TrainingError"


def test_a_python_without_the_packages_is_told_how_to_get_them():
    command = [sys.executable, "-S", "runner.py", "runs"]  # -S: without the environment's packages
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    error, cure = ran.stderr.splitlines()
    assert error.startswith(f"error: {sys.executable} has no package `")
    assert cure == "help: run `make setup` once, then `source .venv/bin/activate`"
