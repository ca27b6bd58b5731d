"""What a host is looked over for, and how that reads."""

from dataclasses import replace

import psutil
import pytest

from tests.conftest import ROOT
from tinybert.errors import DeviceError
from tinybert.launch.msrun import Cluster, last_lines
from tinybert.launch.preflight import (
    BASE,
    FLOAT,
    SCORES,
    Check,
    checks_table,
    parameters,
    preflight,
    process_bytes,
    require,
)
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load

MORE = "topology.devices_per_host=2"


def plan(*overrides):
    made, problems = make_plan(load(ROOT / "recipes" / "tiny.toml", overrides), ROOT)
    assert not problems
    return made


def cluster(per_host=2, host_rank=0, hosts=1):
    return Cluster(hosts, per_host, host_rank, "127.0.0.1", 9, 60, False)


def test_the_table_marks_what_is_wrong():
    checks = [Check("devices", "2 of 2"), Check("port", "free", "in use")]
    assert checks_table(checks) == "  ok  devices  2 of 2\n  --  port     in use"
    require(checks[:1])
    with pytest.raises(DeviceError) as caught:
        require(checks)
    assert caught.value.message == f"this host cannot run its processes:\n{checks_table(checks)}"
    assert caught.value.exit_code == 4


def test_a_host_without_memory_for_the_batch_is_told_before_it_starts(monkeypatch):
    rows = "data.global_batch_size=16"
    checks = {check.name: check for check in preflight(plan(MORE, rows), cluster())}
    assert not checks["memory"].problem
    small = psutil.virtual_memory()._replace(total=1 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    checks = {check.name: check for check in preflight(plan(MORE, rows), cluster())}
    assert checks["memory"].problem.endswith(
        " of 1.0 GiB free: lower the batch size or the number of processes"
    )


def test_memory_grows_with_the_rows_of_a_process_and_not_with_the_global_batch():
    alone, pair = plan("data.global_batch_size=32"), plan(MORE, "data.global_batch_size=64")
    messages = 2 * FLOAT * parameters(pair.networks["student"])
    assert process_bytes(pair) - process_bytes(alone) == messages
    assert process_bytes(plan(MORE, "data.global_batch_size=128")) > process_bytes(pair)
    assert process_bytes(alone) > BASE["CPU"]


def test_memory_has_the_rows_of_one_micro_batch_and_sums_of_gradients():
    rows = "data.global_batch_size=64"
    whole, parts = plan("data.global_batch_size=8"), plan(rows, "data.micro_batches=8")
    sums = 3 * FLOAT * parameters(whole.networks["student"])  # of 1, 2 and 4 parts
    assert process_bytes(parts) - process_bytes(whole) == sums
    pair = plan(MORE, rows, "data.micro_batches=8")
    messages = 2 * FLOAT * parameters(whole.networks["student"])
    assert process_bytes(pair) - process_bytes(whole) == messages + sums * 2 // 3


def test_memory_has_the_scores_of_each_networks_own_heads():
    made = plan()
    student = replace(made.networks["student"], num_attention_heads=2)
    fewer = replace(made, networks={**made.networks, "student": student})
    config, length = made.networks["student"], made.resolved.recipe.data.seq_length
    left_out = SCORES * config.num_hidden_layers * 2 * length**2  # of 4 heads, 2 are left
    assert process_bytes(made) - process_bytes(fewer) == 16 * FLOAT * left_out


@pytest.mark.parametrize(
    "secret, problem", [("", "is not set"), ("short", "is too short: 5 characters"), ("s" * 16, "")]
)
def test_several_hosts_need_a_secret(monkeypatch, secret, problem):
    monkeypatch.setenv("TINYBERT_JOB_SECRET", secret)
    cure = "; give every host of the job the same one, such as `openssl rand -hex 32` prints"
    expected = problem and f"TINYBERT_JOB_SECRET {problem}{cure}"
    for rank in (0, 1):
        checks = preflight(plan(MORE), cluster(1, host_rank=rank, hosts=2))
        (check,) = [check for check in checks if check.name == "secret"]
        assert (check.problem, check.facts) == (expected, "TINYBERT_JOB_SECRET is set")
    assert "secret" not in [check.name for check in preflight(plan(MORE), cluster())]


def test_only_the_first_host_needs_the_ports():
    names = [check.name for check in preflight(plan(MORE), cluster(1, host_rank=1, hosts=2))]
    assert "port" not in names
    names = [check.name for check in preflight(plan(MORE), cluster(1, hosts=2))]
    assert names.count("port") == 2


def test_ranks_of_a_host_follow_those_of_the_host_before():
    assert list(cluster(4, host_rank=2, hosts=3).ranks) == [8, 9, 10, 11]
    assert cluster(4, host_rank=2, hosts=3).processes == 12


def test_the_command_is_the_frameworks_own_launcher(tmp_path):
    command = cluster(2).command([str(ROOT / "runner.py"), "worker", "job.json"], tmp_path)
    assert command[1:3] == ["-m", "mindspore.parallel.cluster.run"]
    assert {"--worker_num=2", "--local_worker_num=2", "--node_rank=0"} <= set(command)
    assert command[-3:] == [str(ROOT / "runner.py"), "worker", "job.json"]


def test_chatter_of_the_framework_is_left_out_of_a_logs_end(tmp_path):
    log = tmp_path / "worker_0.log"
    log.write_text("[INFO] DISTRIBUTED x\n[WARNING] y\n\nerror: the loss is nan\n")
    assert last_lines(log) == ["error: the loss is nan"]
    assert last_lines(tmp_path / "nothing.log") == []
