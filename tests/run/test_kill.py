"""A run that is killed at any moment goes on to the very outcome of one that was not."""

import random
import subprocess
import sys

import pytest

from tests.conftest import LONG, ROOT, Runner, read_json

TRIALS = 6
"""Of each kind of moment."""


def trials():
    """Return kind, number and delay of every kill, the same each time; the first is fast."""
    dice = random.Random(20)
    yield "step", 30, 0.0
    for _ in range(TRIALS):
        yield "compile", 1, round(dice.uniform(0, 4), 2)
        yield "step", dice.randint(1, 199), 0.0
        yield "checkpoint", dice.randint(1, 40), round(dice.choice([0, dice.uniform(0, 2e-3)]), 5)
        yield "manifest", dice.randint(1, 24), round(dice.choice([0, dice.uniform(0, 2e-3)]), 5)
        yield "store", dice.randint(1, 8), round(dice.choice([0, dice.uniform(0, 2e-3)]), 5)


FIRST, *REST = trials()


def outcome(path):
    return read_json(path)["digests"]["outcome"]


@pytest.mark.parametrize(
    ("moment", "number", "delay"),
    [FIRST, *(pytest.param(*trial, marks=pytest.mark.slow) for trial in REST)],
)
def test_a_killed_run_goes_on_to_the_same_outcome(tmp_path, straight, moment, number, delay):
    runner = Runner(tmp_path, LONG)
    arguments = [moment, number, delay, "--", runner.free, "--root", tmp_path]
    command = [sys.executable, ROOT / "tools" / "kill_run.py", *arguments]
    killed = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    for manifest in tmp_path.glob("manifests/free-*.json"):
        _, shown, _ = runner.ask("show", manifest)
        assert shown.splitlines()[1].split() == ["status", "abandoned"]
    assert outcome(runner.run(runner.free)) == outcome(straight)
    (manifest,) = tmp_path.glob("manifests/free-*.json")
    assert outcome(manifest) == outcome(straight)
