"""A run that was stopped or killed in any phase ends in the outcome of a straight one."""

import signal

import pytest

from tests.conftest import folder, read_json

pytestmark = pytest.mark.slow

LONG = {"epoch_size = 4": "epoch_size = 10"}
"""Enough steps that a signal comes before the end."""
SEEDED = {
    'load_teacher_ckpt_path = { recipe = "recipes/tiny/tiny_finetune.toml" }': (
        'load_teacher_ckpt_path = "TEACHER"'
    ),
    'load_student_ckpt_path = { recipe = "recipes/tiny.toml" }': 'init = "seeded"',
    "epoch_size = 2": "epoch_size = 10",
}
PACKED = {
    "global_batch_size = 16": """\
global_batch_size = 16
packing = "blocks"
block_length = 64
"""
}


def interrupt(runner, recipe, line, how):
    """Start anew, and send a signal at a line of the log."""
    process = runner.start(recipe, "--root", runner.root, "--fresh")
    for text in process.stderr:
        if line in text:
            break
    process.send_signal(how)
    process.communicate()
    return process.returncode


@pytest.fixture(scope="module")
def finetuned(runner, write_recipe):
    recipe = write_recipe("finetuned", "tiny_finetune", LONG)
    return recipe, runner.run(recipe, "--fresh")


@pytest.fixture(scope="module")
def distilled(runner, write_recipe, finetuned):
    best = folder(finetuned[1]) / "checkpoints" / "best.safetensors"
    teacher = {"TEACHER": str(best)}
    recipe = write_recipe("distilled", "tiny_task_distill", SEEDED | teacher)
    return recipe, runner.run(recipe, "--fresh")


@pytest.fixture(scope="module")
def packed(runner, write_recipe):
    recipe = write_recipe("packed", "tiny_finetune", LONG | PACKED)
    return recipe, runner.run(recipe, "--fresh")


@pytest.mark.parametrize(
    ("run", "line", "how", "code"),
    [
        ("finetuned", "step=1/220", signal.SIGINT, 130),
        ("finetuned", "step=44", signal.SIGKILL, -9),
        ("packed", "step=44", signal.SIGKILL, -9),
        ("distilled", "step=1/440", signal.SIGINT, 130),
        ("distilled", "step=231", signal.SIGINT, 130),
        ("distilled", "step=253", signal.SIGKILL, -9),
    ],
)
def test_a_resumed_run_has_the_outcome_of_a_straight_one(runner, request, run, line, how, code):
    recipe, straight = request.getfixturevalue(run)
    assert interrupt(runner, recipe, line, how) == code
    resumed = read_json(runner.run(recipe))
    assert len(resumed["volatile"]["segments"]) == 2
    assert resumed["outcome"] == read_json(straight)["outcome"]
    assert resumed["effective"] == read_json(straight)["effective"]
