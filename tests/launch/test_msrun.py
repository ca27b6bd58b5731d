"""Which processes are taken for those of a job, by a stand-in for msrun that starts helpers too."""

import json
import time

import psutil
import pytest

from tinybert.launch.hosts import OtherHosts
from tinybert.launch.job import Job
from tinybert.launch.msrun import SCHEDULER, Cluster, Msrun

STAND_IN = """
import json, os, subprocess, sys, time

worker = sys.argv[sys.argv.index("--tail_worker_log=-2") + 1 :]

def start(command, **variables):
    os.environ.update(variables)
    return subprocess.Popen(command).pid

helper = [sys.executable, "-c", "import time; time.sleep(60)"]
pids = {
    "before": start(helper, MS_ROLE="MS_WORKER"),  # as in the environment of another launcher
    "-1": start([sys.executable, *worker], MS_ROLE="MS_SCHED"),
    "0": start([sys.executable, *worker], MS_ROLE="MS_WORKER", MS_NODE_ID="0"),
    "1": start([sys.executable, *worker], MS_NODE_ID="1"),
    "after": start(helper),  # with the rank of the last
}
with open(sys.argv[0] + ".part", "w") as file:
    json.dump(pids, file)
os.rename(file.name, sys.argv[0] + ".pids")  # whole or absent for the test that waits for it
time.sleep(60)
"""


SHORT_LIVED = """
import subprocess, sys, time

worker = sys.argv[sys.argv.index("--tail_worker_log=-2") + 1 :]
started = []
for rank in range(2):
    print(f"Start worker process with rank id:{rank}, log file:x.", flush=True)
    started.append(subprocess.Popen([sys.executable, *worker], env={"MS_NODE_ID": str(rank)}))
time.sleep(1)  # as between two looks of msrun
code = started[1].wait()
if code:
    print(f"Worker process {started[1].pid} exit with exception. Error code: {code}.", flush=True)
    started[0].kill()
time.sleep(60)
"""
"""A stand-in whose second process ends before anybody looks."""
KILLED = (
    "import os, time; os.environ['MS_NODE_ID'] == '1' and os.kill(os.getpid(), 9); time.sleep(60)"
)
SCRIPT = "import os, sys, time; os.environ['MS_NODE_ID'] == '1' and os._exit({}); time.sleep(60)"


def make_stand_in(folder, text=STAND_IN):
    """Write a module that Python finds before that of the framework; return its file."""
    package = folder / "mindspore" / "parallel" / "cluster"
    package.mkdir(parents=True)
    for place in (package, package.parent, package.parent.parent):
        (place / "__init__.py").touch()
    (package / "run.py").write_text(text)
    return package / "run.py"


def test_processes_are_known_by_the_command_that_they_were_given(tmp_path):
    stand_in = make_stand_in(tmp_path)
    script = tmp_path / "script.py"
    script.write_text("import time; time.sleep(60)")
    cluster = Cluster(1, 2, 0, "127.0.0.1", 9, 60, False)
    variables = {"PYTHONPATH": str(tmp_path), "MS_ROLE": "MS_WORKER"}
    with Msrun(cluster, [str(script), "worker", "job.json"], variables, tmp_path) as msrun:
        pids_file, end = stand_in.with_name("run.py.pids"), time.monotonic() + 20
        while len(msrun.processes()) < 3 or not pids_file.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        pids = json.loads(pids_file.read_text())
        assert {rank: process.pid for rank, process in msrun.processes().items()} == {
            rank: pids[str(rank)] for rank in (SCHEDULER, 0, 1)
        }
        msrun.processes()[0].kill()
        assert msrun.processes().keys() == {SCHEDULER, 0, 1}
        assert msrun.returncode is None
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


@pytest.mark.parametrize(
    ("code", "what"), [(7, "ended with exit code 7"), (-9, "was killed by SIGKILL"), (0, "died")]
)
def test_a_process_that_ends_before_it_is_seen_is_noticed_within_seconds(tmp_path, code, what):
    make_stand_in(tmp_path, SHORT_LIVED)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(code) if code >= 0 else KILLED)
    cluster = Cluster(1, 2, 0, "127.0.0.1", 9, 60, False)
    job = Job(cluster, tmp_path, OtherHosts(cluster))
    began = time.monotonic()
    failure = job.run(
        [str(script), "worker"],
        {"PYTHONPATH": str(tmp_path)},
        stop=lambda: None,
        show=lambda heartbeats: None,
    )
    assert time.monotonic() - began < 10
    assert (failure.rank, failure.what) == (1, what)
    assert failure.exit_code == (code or None)
