"""Signals in the first seconds of a run, while Python and the framework load and compile."""

import json
import random
import signal
import time

import pytest

from tests.attack.damage import SEED
from tests.conftest import LONG, Runner

pytestmark = pytest.mark.slow

ALL = 50
FIRST_SECONDS = 4.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize("number", range(ALL))
def test_a_signal_ends_a_run_as_a_signal(tmp_path, table, number):
    dice = random.Random(f"{SEED} signal {number}")
    signum = dice.choice(list(CODES))
    runner = Runner(tmp_path, LONG)
    process = runner.start(runner.free, "--root", tmp_path, "--fresh")
    time.sleep(dice.uniform(0, FIRST_SECONDS))
    process.send_signal(signum)
    sent = time.monotonic()
    out, err = process.communicate(timeout=120)
    name = signal.Signals(signum).name
    # Before Python runs the program, the signal itself ends the process: for a shell, the same.
    code = 128 - process.returncode if process.returncode < 0 else process.returncode
    table.add(name, f"exit {code}", time.monotonic() - sent)
    assert (code, out) == (CODES[signum], "")
    assert "Traceback" not in err
    for manifest in tmp_path.glob("manifests/free-*.json"):
        assert json.loads(manifest.read_text())["outcome"]["status"] != "finished"
