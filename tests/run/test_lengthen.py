"""A finished run goes on to more steps, as a run of its own that has the first as parent."""

import pytest

from tests.conftest import NARROW, SHIPPED, Runner, folder, read_json

CONSTANT = {
    **NARROW,
    "train_steps = 48": "train_steps = 12",
    "save_ckpt_step = 20": "save_ckpt_step = 4",
    "max_ckpt_num = 2": "max_ckpt_num = 3",
    "end_learning_rate = 1e-14": "end_learning_rate = 1e-3",
    "warmup_ratio = 0.1": "warmup_steps = 0",
}
"""A rate that does not depend on the length: a longer run then begins as the shorter one."""
LONGER = ("--set", "training.train_steps=24")
PHASES = {
    **NARROW,
    'load_teacher_ckpt_path = { recipe = "recipes/tiny/tiny_finetune.toml" }': 'init = "seeded"',
    'load_student_ckpt_path = { recipe = "recipes/tiny.toml" }': 'init = "seeded"',
    "epoch_size = 2": "train_steps = 4",
    "save_ckpt_step = 20": "save_ckpt_step = 2",
    "save_ckpt_step = 11": "save_ckpt_step = 2",
    "end_learning_rate = 1e-14": "end_learning_rate = 1e-3",
    "warmup_ratio = 0.1": "warmup_steps = 0",
}
"""Changes of the task distillation."""


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("lengthen"), CONSTANT)


@pytest.fixture(scope="module")
def first(runner):
    return runner.run(runner.free)


@pytest.fixture(scope="module")
def longer(runner, first):
    return runner.run(runner.free, *LONGER, "--continue", first)


def test_the_recipe_says_when_to_save_and_how_many_checkpoints_are_kept(first):
    checkpoints = read_json(first)["outcome"]["checkpoints"]
    assert [kept["step"] for kept in checkpoints] == [4, 8, 12]


def test_it_ends_in_the_bits_of_a_run_that_was_as_long_from_the_start(runner, longer):
    straight = read_json(runner.run(runner.free, *LONGER, "--fresh"))
    again = read_json(longer)
    for fact in ("trace_digest", "steps", "optimizer_steps", "samples", "metrics"):
        assert again["outcome"][fact] == straight["outcome"][fact], fact
    digests = [m["outcome"]["checkpoints"][-1]["tensor_digest"] for m in (again, straight)]
    assert digests[0] == digests[1]


def test_the_first_run_is_its_parent_and_what_it_took_over_is_verified(runner, first, longer):
    manifest = read_json(longer)
    (parent,) = manifest["inputs"]["parents"]
    assert (parent["role"], parent["manifest"]) == ("start", f"manifests/{first.name}")
    assert manifest["inputs"]["begins_with"]["step"] == 12
    code, out, err = runner.ask("verify", longer, "--rehash")
    assert (code, out.splitlines()[0]) == (0, "same: every file is what it was"), out + err
    assert "start: " in runner.ask("lineage", longer)[1]
    assert len((folder(longer) / "trace.jsonl").read_text().splitlines()) == 24


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((), "the run has done 12 steps, and the recipe asks for 12"),
        ((*LONGER, "--set", "seed=2"), "the recipe differs in more than the length and learning"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_cannot_go_on_is_refused(runner, first, changes, message, dry):
    words = (runner.free, "--root", runner.root, *changes, *dry, "--continue", first)
    code, out, err = runner.ask(*words)
    assert (code, out) in ((2, ""), (4, ""))
    assert message in err


@pytest.mark.slow
def test_the_last_phase_of_a_task_distillation_goes_on(runner):
    text = SHIPPED["tiny_task_distill"].read_text().partition("[expect]")[0]
    for old, new in PHASES.items():
        assert old in text
        text = text.replace(old, new)
    recipe = runner.root / "phases.toml"
    recipe.write_text(text)
    first = runner.run(recipe, "--fresh")
    longer = ("--set", "phase2.training.train_steps=8")
    again = runner.run(recipe, *longer, "--continue", first)
    straight = read_json(runner.run(recipe, *longer, "--fresh"))
    manifest = read_json(again)
    for fact in ("trace_digest", "steps", "samples", "metrics", "best_metrics", "best_checkpoint"):
        assert manifest["outcome"][fact] == straight["outcome"][fact], fact
    assert list(manifest["effective"]["phases"]) == ["phase1", "phase2"]
    assert manifest["effective"]["phases"]["phase1"] == straight["effective"]["phases"]["phase1"]
    code, out, err = runner.ask("verify", again, "--rehash")
    assert (code, out.splitlines()[0]) == (0, "same: every file is what it was"), out + err
    phase1 = ("--set", "phase1.training.train_steps=8")
    code, _, err = runner(recipe, "--root", runner.root, *phase1, "--continue", first)
    assert (code, "more than the length and learning rate of phase2:" in err) == (2, True)
