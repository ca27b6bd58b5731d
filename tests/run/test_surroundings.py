"""Runs where the terminal, the working directory, the memory or the time are hostile."""

import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import LONG, NARROW, ROOT, Runner
from tinybert.manifest.document import Run

PROGRAM = f"'{sys.executable}' '{ROOT / 'runner.py'}'"


def shell(command, folder):
    """Return exit code, standard output and standard error of a command line."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "ending",
    [
        "2>&1 >/dev/null | true",
        pytest.param("2>&-", marks=pytest.mark.slow),
        pytest.param("2>/dev/full", marks=pytest.mark.slow),
    ],
)
def test_a_run_needs_nobody_who_reads_its_log(tmp_path, ending):
    runner = Runner(tmp_path / "root", NARROW)
    command = f"{PROGRAM} {runner.free} --root {runner.root} --set training.train_steps=2"
    code, *_ = shell(f"{command} {ending}; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert code == 0
    (path,) = runner.root.glob("manifests/free-*.json")
    assert Run.load(path).status == "finished"


@pytest.mark.parametrize("arguments", ["run recipes/tiny.toml --dry-run", "run recipes/tiny.toml"])
def test_a_working_directory_that_was_deleted_is_one_message(tmp_path, arguments):
    code, out, err = shell(f"mkdir d && cd d && rmdir ../d && {PROGRAM} {arguments}", tmp_path)
    assert (code, out) == (4, "")
    assert err.endswith(
        "error: the working directory was deleted\nhelp: change to a directory that exists\n"
    )
    assert err.count("error") == err.count("Traceback") + 1


@pytest.mark.parametrize(
    ("command", "kib"),
    [
        ("run {}", 100_000),
        ("run {}", 2_500_000),
        ("run {} --dry-run", 2_500_000),
        ("predict {} --text a", 1_000_000),
    ],
)
def test_too_few_addresses_are_one_message(tmp_path, command, kib):
    runner = Runner(tmp_path / "root", NARROW)
    words = f"{command.format(runner.free)} --root {runner.root}"
    code, out, err = shell(f"ulimit -v {kib}; {PROGRAM} {words}", tmp_path)
    assert (code, out) == (4 if command.startswith("run") else 2, "")
    message, cure = err.splitlines()
    assert message.startswith(
        f"error: this process may have {kib / (1 << 20):.1f} GiB of addresses"
    )
    assert cure == "help: raise the limit: `ulimit -v unlimited`"
    assert not list(runner.root.glob("manifests/free-*"))


STARTED = """
import os, pathlib
if "STARTED" in os.environ:
    pathlib.Path(os.environ.pop("STARTED")).touch()
"""


def take_signals():
    """Undo that a shell makes processes in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_signals_while_the_program_loads_leave_a_run_that_goes_on(tmp_path, processes):
    """50 signals in the first four seconds, to a run that each time begins or goes on."""
    runner, choose = Runner(tmp_path / "root", LONG), random.Random(processes)
    topology = ("--set", f"topology.devices_per_host={processes}")
    (tmp_path / "sitecustomize.py").write_text(STARTED)
    started, ends = tmp_path / "started", []
    variables = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "STARTED": str(started)}
    for _ in range(50):
        signum = choose.choice([signal.SIGINT, signal.SIGTERM])
        process = runner.start(
            *(runner.free, "--root", runner.root, *topology),
            variables=variables,
            preexec_fn=take_signals,
        )
        while not started.exists():
            time.sleep(0.001)
        started.unlink()
        time.sleep(choose.uniform(0.02, 4))
        process.send_signal(signum)
        out, err = process.communicate(timeout=300)
        ends.append((signum.name, process.returncode, out))
        assert "Fatal Python error" not in err, err
    # Where the program did not hold signals yet, they end it by themselves, as shells report too.
    allowed = {("SIGINT", 130), ("SIGINT", -2), ("SIGTERM", 143), ("SIGTERM", -15)}
    assert set(ends) <= {(*end, "") for end in allowed}
    paths = list(runner.root.glob("manifests/free-*.json"))
    assert all(Run.load(p).status in ("abandoned", "interrupted") for p in paths)
    assert runner.run(runner.free, *topology) in paths
    assert len(paths) == 1
