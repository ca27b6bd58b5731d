"""Jobs of several processes, as their users start them."""

import json
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict

import psutil
import pytest

from tests.conftest import ROOT, folder, read_json
from tests.launch.jobs import (
    STEPS,
    Hosts,
    all_gone,
    can_make_hosts,
    family_of,
    make_runner,
    manifest_of,
    processes,
    trace,
    wait_for_step,
    workers,
)
from tinybert.compare.steps import relative_difference
from tinybert.run.heartbeat import Heartbeat, WorkerExit

CLOSE = 1e-5
"""Relative: how far losses of two topologies may be apart, by the rounding of sums."""


def largest_difference(a, b):
    """Return the largest relative difference of a step's loss."""
    return max(
        relative_difference(x["loss_value"], y["loss_value"]) for x, y in zip(a, b, strict=True)
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    runner = make_runner(tmp_path_factory.mktemp("alone"))
    return runner.run(runner.free)


FOREIGN = {
    "DEVICE_ID": "6",
    "MS_DEV_JIT_SYNTAX_LEVEL": "0",
    "MS_ENABLE_RECOVERY": "1",
    "MS_NODE_ID": "5",
    "MS_ROLE": "MS_WORKER",
    "MS_SCHED_HOST": "10.255.255.1",
    "MS_SCHED_PORT": "1",
    "MS_TOPO_TIMEOUT": "1",
    "MS_WORKER_NUM": "7",
    "OMP_DYNAMIC": "true",
    "OMP_NUM_THREADS": "3",
    "RANK_ID": "5",
    "RANK_SIZE": "7",
    "RANK_TABLE_FILE": "/nowhere/table.json",
}
"""As another launcher would set them."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Run two processes where another launcher left its variables."""
    runner = make_runner(tmp_path_factory.mktemp("pair"))
    return runner.run(runner.free, *processes(2), variables=FOREIGN)


def test_two_processes_do_what_one_does(runner, alone, pair):
    code, out, _ = runner.ask("diff", "--across-topology", alone, pair)
    assert code == 0, out
    assert out.startswith("equal: the same samples in the same order, initial weights and masks")
    one, two = trace(alone), trace(pair)
    assert [step["batch_digest"] for step in one] == [step["batch_digest"] for step in two]
    assert largest_difference(one, two) < CLOSE


def test_the_manifest_says_who_took_part(pair):
    manifest = read_json(pair)
    assert manifest["effective"]["topology"] == {"device": "CPU", "processes": 2}
    assert manifest["environment"]["topology"]["processes"] == 2
    assert sorted(manifest["volatile"]["ranks"]) == ["0", "1"]
    ranks = folder(pair) / "ranks"
    fragment = read_json(ranks / "1" / "manifest.json")
    assert fragment["outcome"]["trace_digest"] == manifest["outcome"]["trace_digest"]
    assert fragment["effective"]["initial_weights"] == manifest["effective"]["initial_weights"]
    assert {path.name for path in ranks.glob("*.log")} >= {"worker_0.log", "worker_1.log"}
    assert not list((ranks / "1").rglob("*.safetensors"))
    job_file = ranks / "job.json"
    assert job_file.stat().st_mode & 0o777 == 0o600
    hashed = {file["sha256"] for file in read_json(job_file)["record_digests"]["data"]}
    assert hashed == {file["sha256"] for file in manifest["inputs"]["files"]}


def test_variables_of_another_launcher_do_not_reach_a_job(pair):
    variables = {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert read_json(pair)["environment"]["variables"] == variables


def test_a_master_port_in_use_is_one_line_of_a_table(tmp_path):
    runner = make_runner(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, out, err = runner.ask(
            runner.free, "--root", tmp_path, *processes(2), "--set", f"topology.master_port={port}"
        )
    assert (code, out) == (4, "")
    assert err.startswith("error: this host cannot run its processes:\n  ok  devices  ")
    assert f"--  port     cannot listen on 127.0.0.1:{port}: address already in use; " in err
    assert not list(tmp_path.glob("manifests/free-*"))


def test_a_dry_run_says_who_does_what(tmp_path):
    runner = make_runner(tmp_path)
    code, out, _ = runner.ask(runner.free, "--root", tmp_path, "--dry-run", *processes(4))
    assert code == 0
    assert "processes    4 on 1 host; 0 to 3 on this one, host 0\n" in out
    assert "shards       general_distill: process r takes rows 4 r to 4 r + 4\n" in out
    assert "  ok  memory   about " in out
    assert not list(tmp_path.glob("manifests/free-*"))


IDLE = """
import os
if "MS_NODE_ID" in os.environ:
    from pathlib import Path
    folder = Path(os.environ["PYTHONPATH"].partition(":")[0])
    (folder / f"variables{os.environ['MS_NODE_ID']}").write_text("\\n".join(os.environ))
    from tinybert.run import execute

    execute.execute = lambda *_, **__: True
"""


def test_a_run_that_is_not_finished_is_no_success_whatever_its_processes_report(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(IDLE)
    runner = make_runner(tmp_path / "root")
    variables = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "TINYBERT_JOB_SECRET": "0123456789abcdef"}
    code, out, err = runner(runner.free, "--root", runner.root, *processes(2), variables=variables)
    assert (code, out) == (1, "")
    inherited = [(tmp_path / f"variables{rank}").read_text().split("\n") for rank in range(2)]
    assert all("PYTHONPATH" in names for names in inherited)
    assert not any("TINYBERT_JOB_SECRET" in names for names in inherited)
    assert "error: the processes reported that they ended well, but the run is planned\n" in err
    assert read_json(manifest_of(runner))["outcome"]["status"] == "failed"


@pytest.mark.slow
def test_forged_heartbeats_change_nothing(tmp_path):
    runner = make_runner(tmp_path)
    launcher = runner.start(runner.free, "--root", runner.root, *processes(2))
    forged = [
        json.dumps(asdict(Heartbeat(rank, 1, "h", "ended", 50, ended=WorkerExit(code)))).encode()
        for rank in (0, 1)
        for code in (0, 1)
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        while launcher.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for listening in psutil.Process(launcher.pid).net_connections("udp4"):
                    for content in forged:
                        attacker.sendto(content, listening.laddr)
                        attacker.sendto(bytes(32) + content, listening.laddr)
            time.sleep(0.1)
    assert launcher.communicate()[0].startswith("manifests/free-")
    assert launcher.returncode == 0
    manifest = read_json(manifest_of(runner))
    assert (manifest["outcome"]["status"], manifest["outcome"]["steps"]) == ("finished", STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 8])
def test_more_processes_do_what_one_does(runner, tmp_path, alone, count):
    more = make_runner(tmp_path)
    path = more.run(more.free, *processes(count))
    code, out, _ = runner.ask("diff", "--across-topology", alone, path)
    assert code == 0, out
    assert largest_difference(trace(alone), trace(path)) < CLOSE


@pytest.mark.slow
def test_two_processes_twice_give_equal_bits(runner, tmp_path, pair):
    again = make_runner(tmp_path)
    path = again.run(again.free, *processes(2))
    code, out, _ = runner.ask("diff", pair, path)
    assert (code, out.splitlines()[0]) == (0, "bitwise: the outcomes are equal")


FAULTS = {
    "SIGKILL": (signal.SIGKILL, "process 1 was killed by SIGKILL", -9),
    "SIGSTOP": (
        signal.SIGSTOP,
        "process 1 showed no sign of life for 10 seconds: it is halted by a signal",
        None,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_that_falls_ends_the_job_and_it_goes_on_to_the_same_bits(tmp_path, fault):
    signum, message, exit_code = FAULTS[fault]
    straight = make_runner(tmp_path / "straight", steps=200)
    expected = read_json(straight.run(straight.free, *processes(2)))
    runner = make_runner(tmp_path / "fallen", steps=200)
    launcher = runner.start(runner.free, "--root", runner.root, *processes(2))
    wait_for_step(runner.root, 20, launcher)
    time.sleep(1)  # until the processes have reported it
    family = family_of(launcher)
    workers(launcher)[1].send_signal(signum)
    began = time.monotonic()
    out, err = launcher.communicate()
    assert time.monotonic() - began < 30
    assert (launcher.returncode, out) == (1, "")
    assert f"error: {message}\n  --> " in err
    assert all_gone(family)
    path = manifest_of(runner)
    error = read_json(path)["outcome"]["error"]
    assert (error["rank"], error["exit_code"], error["message"]) == (1, exit_code, message)
    assert error["step"] >= 20
    assert error["last_lines"]
    runner.run(runner.free, *processes(2), "--resume", path)
    assert read_json(path)["digests"]["outcome"] == expected["digests"]["outcome"]


@pytest.mark.slow
def test_a_refused_resume_changes_nothing(tmp_path):
    runner = make_runner(tmp_path, steps=200)
    launcher = runner.start(runner.free, "--root", runner.root, *processes(2))
    wait_for_step(runner.root, 10, launcher)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate()
    path = manifest_of(runner)
    manifest = path.read_bytes()
    assert read_json(path)["outcome"]["status"] == "interrupted"
    newest = max(tmp_path.glob("runs/free/*/checkpoints/step-*.safetensors"))
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, out, err = runner(runner.free, "--root", runner.root, *processes(2))
    assert (code, out) == (4, "")
    assert "error: the checkpoint is not the one that the run recorded: SHA-256 " in err
    assert path.read_bytes() == manifest
    newest.write_bytes(whole)
    runner.run(runner.free, *processes(2))
    assert read_json(path)["outcome"]["status"] == "finished"


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(runner, tmp_path, alone):
    mine = make_runner(tmp_path)
    launcher = mine.start(mine.free, "--root", mine.root, *processes(2))
    wait_for_step(mine.root, 10, launcher)
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate()
    assert (launcher.returncode, out) == (130, "")
    assert "error: stopped, and saved\n" in err
    path = manifest_of(mine)
    mine.run(mine.free, *processes(4), "--resume", path)
    code, out, _ = runner.ask("diff", "--across-topology", alone, path)
    assert code == 0, out
    assert largest_difference(trace(alone), trace(path)) < CLOSE


@pytest.mark.slow
def test_a_signal_to_every_process_of_a_job_saves_it(tmp_path):
    """As Slurm and systemd end a job."""
    runner = make_runner(tmp_path, steps=2000)
    launcher = runner.start(runner.free, "--root", runner.root, *processes(2))
    wait_for_step(runner.root, 10, launcher)
    family = family_of(launcher)
    for process in (launcher, *family):
        process.send_signal(signal.SIGTERM)
    out, err = launcher.communicate()
    assert (launcher.returncode, out) == (143, "")
    assert "error: stopped, and saved\n" in err
    assert all_gone(family)
    assert read_json(manifest_of(runner))["outcome"]["status"] == "interrupted"


@pytest.mark.slow
def test_a_stop_before_the_first_step_leaves_a_run_that_goes_on(tmp_path):
    runner = make_runner(tmp_path)
    launcher = runner.start(runner.free, "--root", runner.root, *processes(2))
    while not workers(launcher):
        assert launcher.poll() is None
        time.sleep(0.05)
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate()
    assert (launcher.returncode, out) == (130, "")
    assert "error: stopped" in err
    path = manifest_of(runner)
    runner.run(runner.free, *processes(2))
    assert manifest_of(runner) == path
    assert read_json(path)["outcome"]["status"] == "finished"


OTHER_WEIGHTS = """
import os
if os.environ.get("MS_NODE_ID") == "1":
    from tinybert import randomness

    seeded = randomness.truncated_normal
    randomness.truncated_normal = lambda seed, *rest: seeded(seed + 1, *rest)
"""


@pytest.mark.slow
def test_a_process_with_other_weights_ends_the_job_before_the_first_step(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(OTHER_WEIGHTS)
    runner = make_runner(tmp_path / "root")
    variables = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    code, out, err = runner(runner.free, "--root", runner.root, *processes(2), variables=variables)
    assert (code, out) == (1, "")
    assert "error: networks and settings differ between process 0 and 1\n" in err
    assert read_json(manifest_of(runner))["outcome"]["steps"] == 0


@pytest.mark.slow
def test_nothing_outlives_a_launcher_that_is_killed(tmp_path):
    runner = make_runner(tmp_path, steps=2000)
    launcher = runner.start(runner.free, "--root", runner.root, *processes(2))
    wait_for_step(runner.root, 10, launcher)
    family = family_of(launcher)
    launcher.kill()
    launcher.communicate()
    assert all_gone(family)
    code, out, _ = runner.ask("show", manifest_of(runner))
    assert code == 0
    assert out.splitlines()[1].split() == ["status", "abandoned"]


@pytest.fixture
def hosts(tmp_path):
    if not can_make_hosts():
        pytest.skip("this machine lets nobody make network namespaces")
    made = Hosts(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_two_hosts_do_what_one_process_does(runner, tmp_path, hosts):
    one = make_runner(tmp_path / "one", steps=200)
    alone = one.run(one.free)
    launchers = [hosts.start(host) for host in (0, 1)]
    answers = [launcher.communicate() for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], answers
    assert "host 1 is done; the manifest of run " in answers[1][0]
    path = manifest_of(hosts.runners[0])
    assert not list(hosts.runners[1].root.glob("manifests/free-*"))
    code, out, _ = runner.ask("diff", "--across-topology", alone, path)
    assert code == 0, out
    assert largest_difference(trace(alone), trace(path)) < CLOSE


@pytest.mark.slow
def test_a_full_disk_on_one_host_ends_the_job_on_both(hosts):
    small = hosts.runners[1].root / "runs"
    small.mkdir()
    hosts.mount(small, "64m")
    launchers = [hosts.start(host) for host in (0, 1)]
    wait_for_step(hosts.runners[0].root, 20, *launchers)
    began = time.monotonic()
    hosts.fill(small)
    answers = [launcher.communicate() for launcher in launchers]
    assert time.monotonic() - began < 30
    assert [launcher.returncode for launcher in launchers] == [4, 4], answers
    assert "error: the system refused: no space left on device\n" in answers[0][1]
    assert "(process 1, step " in answers[0][1]
    error = read_json(manifest_of(hosts.runners[0]))["outcome"]["error"]
    assert (error["rank"], error["type"]) == (1, "InputError")
    assert not hosts.pids()


@pytest.mark.slow
def test_a_host_that_looks_at_a_wrong_port_says_so(hosts):
    first, second = hosts.start(0), hosts.start(1, port=9533)
    answers = [launcher.communicate() for launcher in (first, second)]
    assert [first.returncode, second.returncode] == [4, 4]
    assert "  - no word from host 1 in 60 seconds\n" in answers[0][1]
    place = "10.83.0.1:9534: connection refused"
    assert f"error: cannot reach the first host at {place}\n" in answers[1][1]
    assert not hosts.pids()
