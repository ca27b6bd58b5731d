"""Where masks are made, and how many steps the device runs a call, change no bit of an outcome."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT, read_json, settings
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load as load_recipe
from tinybert.stages.build import mask_form

NARROW = ("teacher.hidden_size=16", "teacher.num_hidden_layers=2", "teacher.intermediate_size=24")
NARROW += ("student.hidden_size=8", "student.num_hidden_layers=1", "student.intermediate_size=16")
SHORT = ("training.train_steps=24", "checkpoints.save_ckpt_step=10")
GRAPH = ('runtime.dropout_masks="graph"',)
HALF = ('network.compute_type="float16"', "loss_scale.loss_scale_value=1099511627776")


def sunk(steps):
    return ("runtime.enable_data_sink=true", f"runtime.data_sink_steps={steps}")


@pytest.fixture(scope="module")
def run(runner):
    """Run the tiny recipe with changes; returns its manifest. Equal changes run once."""
    known = {}

    def once(*changes):
        if changes not in known:
            known[changes] = read_json(runner.run(runner.free, "--fresh", *settings(*changes)))
        return known[changes]

    return once


@pytest.mark.parametrize(
    ("device", "changes", "form"),
    [
        ("CPU", (), "host"),
        ("Ascend", (), "graph"),
        ("CPU", GRAPH, "graph"),
        ("Ascend", ('runtime.dropout_masks="host"',), "host"),
    ],
)
def test_masks_are_made_where_the_recipe_says_or_else_where_it_is_fast(device, changes, form):
    plan, problems = make_plan(load_recipe(ROOT / "recipes" / "tiny.toml", changes, device), ROOT)
    assert problems == []
    assert mask_form(plan) == form


@pytest.mark.slow
def test_masks_from_the_graph_and_sunk_steps_give_the_outcome_of_single_steps(run):
    plain, other = run(*NARROW, *SHORT), run(*NARROW, *SHORT, *GRAPH, *sunk(5))
    assert other["effective"]["runtime"] == {
        "mode": "graph",
        "enable_data_sink": True,
        "data_sink_steps": 5,
        "dropout_masks": "graph",
        "micro_batches": None,
    }
    assert other["outcome"] == plain["outcome"]
    assert (other["outcome"]["steps"], len(other["outcome"]["checkpoints"])) == (24, 2)
    for fact in ("masks", "matrix_products", "initial_weights", "optimizer"):
        assert other["effective"][fact] == plain["effective"][fact]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [GRAPH, sunk(1), sunk(5), sunk(20), sunk(20) + GRAPH],
    ids=["graph", "sink1", "sink5", "sink20", "graph-sink20"],
)
def test_the_shipped_recipe_has_one_outcome_in_every_form(run, changes):
    assert run(*changes)["outcome"] == run()["outcome"]
    assert run()["outcome"]["steps"] == 48  # no multiple of 5, nor of 20


@pytest.mark.slow
def test_float16_with_overflows_has_one_outcome_in_every_form(run):
    plain = run(*HALF)["outcome"]
    assert plain["overflows"] > 3
    assert run(*HALF, *GRAPH, *sunk(10))["outcome"] == plain


@pytest.mark.slow
def test_two_processes_have_one_outcome_in_every_form(run):
    shared = (*NARROW, *SHORT, "topology.devices_per_host=2")
    other = run(*shared, *GRAPH, *sunk(5))
    assert other["effective"]["topology"]["processes"] == 2
    assert other["outcome"] == run(*shared)["outcome"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [7, 25, 40])
def test_a_run_that_was_killed_within_a_call_goes_on_to_the_same_outcome(runner, run, number):
    changes = settings(*SHORT, "training.train_steps=48", *sunk(10))
    straight = run(*SHORT, "training.train_steps=48")["outcome"]
    arguments = ["step", number, 0, "--", runner.free, "--root", runner.root, "--fresh", *changes]
    command = [sys.executable, ROOT / "tools" / "kill_run.py", *arguments]
    killed = subprocess.run(list(map(str, command)), cwd=runner.root, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    resumed = read_json(runner.run(runner.free, *changes))
    assert len(resumed["volatile"]["segments"]) == 2
    assert resumed["outcome"] == straight


@pytest.mark.slow
def test_a_stop_comes_after_a_whole_call(runner, run):
    changes = (*NARROW, "training.train_steps=400", "checkpoints.save_ckpt_step=200")
    recipe = (runner.free, "--root", runner.root, *settings(*changes, *sunk(20)))
    process = runner.start(*recipe, "--fresh")
    for line in process.stderr:
        if "step=1/400" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    manifests = sorted(runner.root.glob("manifests/free-*.json"), key=lambda p: p.stat().st_mtime)
    stopped = read_json(manifests[-1])["outcome"]
    assert stopped["status"] == "interrupted"
    assert stopped["steps"] % 20 == 0
    assert 0 < stopped["steps"] < 400
    assert read_json(runner.run(*recipe[:1], *recipe[3:]))["outcome"] == run(*changes)["outcome"]
