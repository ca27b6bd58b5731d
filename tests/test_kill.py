"""A run that is killed at any moment goes on to the very outcome of one that was not."""

import json
import random
import subprocess
import sys

import pytest

from tests.conftest import ROOT, Runner

TRIALS = 6
"""Of each kind of moment."""
SMALLER = {
    "hidden_size = 48\nnum_hidden_layers = 4": "hidden_size = 16\nnum_hidden_layers = 2",
    "hidden_size = 24\nnum_hidden_layers = 2": "hidden_size = 8\nnum_hidden_layers = 1",
    "train_steps = 48": "train_steps = 40",
    "save_ckpt_step = 20": "save_ckpt_step = 10",
}


def trials():
    """Return kind, number and delay of every kill; a function of nothing."""
    dice = random.Random(20)
    for _ in range(TRIALS):
        yield "compile", 1, round(dice.uniform(0, 4), 2)
        yield "step", dice.randint(1, 39), 0.0
        yield "checkpoint", dice.randint(1, 16), round(dice.choice([0, dice.uniform(0, 2e-3)]), 5)
        yield "manifest", dice.randint(1, 24), round(dice.choice([0, dice.uniform(0, 2e-3)]), 5)
        yield "store", dice.randint(1, 8), round(dice.choice([0, dice.uniform(0, 2e-3)]), 5)


def make_runner(folder):
    runner = Runner(folder)
    text = runner.free.read_text()
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    runner.free.write_text(text)
    return runner


def outcome(path):
    return json.loads(path.read_text())["digests"]["outcome"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    runner = make_runner(tmp_path_factory.mktemp("straight"))
    return outcome(runner.run(runner.free))


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "number", "delay"), list(trials()))
def test_a_killed_run_goes_on_to_the_same_outcome(tmp_path, straight, moment, number, delay):
    runner = make_runner(tmp_path)
    arguments = [moment, number, delay, "--", runner.free, "--root", tmp_path]
    command = [sys.executable, ROOT / "tools" / "kill_run.py", *arguments]
    killed = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    for manifest in tmp_path.glob("manifests/free-*.json"):
        _, shown, _ = runner("show", manifest)
        assert shown.splitlines()[1].split() == ["status", "abandoned"]
    assert outcome(runner.run(runner.free)) == straight
    (manifest,) = tmp_path.glob("manifests/free-*.json")
    assert outcome(manifest) == straight
