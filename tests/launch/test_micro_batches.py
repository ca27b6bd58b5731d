"""A recipe with micro-batches has one outcome, however many processes and threads compute it."""

import json
import signal
import time

import pytest

from tests.conftest import read_json, settings
from tests.launch.jobs import make_runner, manifest_of, processes, wait_for_step, workers

pytestmark = pytest.mark.slow

MICRO = {"global_batch_size = 16": "global_batch_size = 16\nmicro_batches = 8"}
MICRO_PHASES = {"do_shuffle = true": "do_shuffle = true\nmicro_batches = 8"}
HELD_OUT = (
    'data.eval_data_dir="recipes/tiny/records/*.tfrecord"',
    'data.eval_schema_dir="recipes/tiny/records/schema.json"',
)
HALF = ('network.compute_type="float16"', "loss_scale.loss_scale_value=1099511627776")
PACKED = ('data.packing="blocks"', "data.block_length=64")
SUNK = ("runtime.enable_data_sink=true", "runtime.data_sink_steps=11")
GRAPH = ('runtime.dropout_masks="graph"',)


@pytest.fixture(scope="module")
def recipes(runner, write_recipe):
    """The recipes of all stages by name; the last links to the second."""
    text = {**MICRO, "epoch_size = 4": "epoch_size = 3"}
    teacher = write_recipe("teach", "tiny_finetune", text)
    links = {
        'load_student_ckpt_path = { recipe = "recipes/tiny.toml" }': 'init = "seeded"',
        '"recipes/tiny/tiny_finetune.toml"': json.dumps(str(teacher)),
    }
    return {
        "general_distill": write_recipe(
            "distil_layers", "tiny", {**MICRO, "train_steps = 48": "train_steps = 60"}
        ),
        "finetune": teacher,
        "task_distill": write_recipe("distil", "tiny_task_distill", MICRO_PHASES | links),
    }


@pytest.fixture(scope="module")
def run(runner, recipes):
    """Run a stage's recipe with changes; returns its manifest's path. Equal ones run once."""
    known = {}

    def once(stage, *changes, count=1):
        if stage == "task_distill":
            once("finetune")
        key = (stage, changes, count)
        if key not in known:
            arguments = [*processes(count), *settings(*changes)]
            known[key] = runner.run(recipes[stage], "--fresh", *arguments)
        return known[key]

    return once


def assert_bitwise(runner, a, b):
    code, out, err = runner.ask("diff", a, b)
    assert (code, out.splitlines()[0]) == (0, "bitwise: the outcomes are equal"), out + err


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("stage", ["general_distill", "finetune", "task_distill"])
def test_any_number_of_processes_has_the_outcome_of_one(runner, run, stage, count):
    held_out = HELD_OUT if stage == "general_distill" else ()
    alone, together = run(stage, *held_out), run(stage, *held_out, count=count)
    assert read_json(together)["effective"]["topology"]["processes"] == count
    assert read_json(alone)["outcome"]["steps"] >= 60
    assert_bitwise(runner, alone, together)


@pytest.mark.parametrize("stage", ["general_distill", "finetune", "task_distill"])
def test_two_threads_have_the_outcome_of_one(runner, run, stage):
    held_out = HELD_OUT if stage == "general_distill" else ()
    assert_bitwise(runner, run(stage, *held_out), run(stage, *held_out, "runtime.threads=2"))


@pytest.mark.parametrize("count", [2, 8])
def test_float16_with_overflows_has_one_outcome(runner, run, count):
    alone = run("general_distill", *HALF)
    assert read_json(alone)["outcome"]["overflows"] > 3
    assert_bitwise(runner, alone, run("general_distill", *HALF, count=count))


@pytest.mark.parametrize("stage", ["general_distill", "finetune"])
def test_several_steps_a_call_and_masks_in_the_graph_have_the_same_outcome(runner, run, stage):
    sunk = run(stage, *SUNK, "checkpoints.save_ckpt_step=22", *GRAPH, count=2)
    assert read_json(sunk)["effective"]["runtime"] == {
        "mode": "graph",
        "enable_data_sink": True,
        "micro_batches": 8,
        "data_sink_steps": 11,
        "dropout_masks": "graph",
    }
    assert_bitwise(runner, run(stage, "checkpoints.save_ckpt_step=22"), sunk)


def test_packed_rows_and_a_teacher_cache_have_one_outcome(runner, run):
    finetuned = run("finetune", *PACKED), run("finetune", *PACKED, count=2)
    assert_bitwise(runner, *finetuned)
    changes = ('phase1.distill.padding="ignore"', "runtime.teacher_cache_gib=0.1", *PACKED)
    distilled = [run("task_distill", *changes, count=count) for count in (1, 2, 4)]
    facts = read_json(distilled[2])["effective"]["phases"]
    for phase in facts.values():
        assert phase["teacher_cache"]["digest"]
        assert phase["packing"]["block_length"] == 64
    for other in distilled[1:]:
        assert_bitwise(runner, distilled[0], other)


def test_an_evaluation_packs_the_same_rows_together(runner, run, recipes, write_recipe):
    parent = run("task_distill")
    link = {
        '{ recipe = "recipes/tiny/tiny_task_distill.toml" }': f'{{ manifest = "{parent}" }}',
        "drop_remainder = false": "drop_remainder = false\nmicro_batches = 4",
    }
    recipe = write_recipe("measure", "tiny_evaluate", link)
    runs = [
        runner.run(recipe, "--fresh", *processes(count), *settings(*PACKED)) for count in (1, 2, 4)
    ]
    for other in runs[1:]:
        assert_bitwise(runner, runs[0], other)
    assert read_json(runs[0])["outcome"]["metrics"] == read_json(parent)["outcome"]["best_metrics"]


@pytest.mark.parametrize("counts", [(8, 2), (2, 4), (1, 8)])
def test_a_killed_run_goes_on_with_another_number_of_processes(tmp_path, counts):
    straight = make_runner(tmp_path / "straight", steps=200)
    killed = make_runner(tmp_path / "killed", steps=200)
    micro = settings("data.micro_batches=8")
    expected = read_json(straight.run(straight.free, *micro))
    first, then = counts
    launcher = killed.start(killed.free, "--root", killed.root, *micro, *processes(first))
    wait_for_step(killed.root, 20, launcher)
    if first == 1:
        launcher.kill()
    else:
        time.sleep(1)  # until the processes have reported it
        workers(launcher)[1].send_signal(signal.SIGKILL)
    launcher.communicate()
    path = manifest_of(killed)
    assert read_json(path)["outcome"]["steps"] < 200
    killed.run(killed.free, *micro, *processes(then), "--resume", path)
    assert len(read_json(path)["volatile"]["segments"]) == 2
    assert read_json(path)["digests"]["outcome"] == expected["digests"]["outcome"]
