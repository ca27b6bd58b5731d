"""Checks of a host before its processes start: one table, a line for each."""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import psutil

from tinybert.data.teacher_outputs import LayersShape
from tinybert.device import GIB, ascend_problems
from tinybert.errors import DeviceError
from tinybert.launch.hosts import SECRET
from tinybert.launch.msrun import Cluster
from tinybert.model.parameters import encoder_shapes
from tinybert.plan.plan import Plan
from tinybert.recipe.model import TaskDistill
from tinybert.recipe.network import NetworkConfig
from tinybert.recipe.tables import device_count
from tinybert.recipe.task_types import TASK_KINDS

SECRET_LENGTH = 16
"""Characters of a job's secret at least."""
FLOAT = 4
"""Bytes of a number; activations are float32 whatever the products' inputs are."""
BASE = {"CPU": 1 << 30, "Ascend": 2 << 30}
"""Bytes of interpreter, framework and compiled graph. CPU: what recipes/tiny.toml takes, whose
networks are next to nothing; Ascend: a guess."""
COPIES = 6
"""Numbers for each that is trained: weight, gradient, clipped gradient, two moments, one spare."""
HELD, INNER, SCORES = 40, 12, 20
"""Numbers that a trained layer holds for its gradient, for each of a hidden state, of the inside of
the feed-forward part, and of the scores. Fitted to two runs on a CPU: 6 x 384 fine-tuned on 32 rows
of 56 tokens, and 3 x 312 distilled on 8 rows of 128; the estimate is within a third of both."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    facts: str
    """What there is."""
    problem: str = ""
    """What is wrong with it; empty where nothing is."""


def preflight(plan: Plan, cluster: Cluster) -> list[Check]:
    """Check what this host has for its processes."""
    topology = plan.resolved.recipe.topology
    checks = [_devices(plan, cluster)]
    if topology.device == "Ascend":
        checks.append(_driver())
    checks += [_memory(plan, cluster), _disk(plan)]
    checks += [_secret()] if cluster.hosts > 1 else []
    checks += _ports(cluster) if cluster.host_rank == 0 and cluster.processes > 1 else []
    return checks


def require(checks: list[Check]) -> None:
    """Raise a DeviceError with the table of all checks if one found a problem."""
    if any(check.problem for check in checks):
        raise DeviceError("this host cannot run its processes:\n" + checks_table(checks))


def checks_table(checks: list[Check]) -> str:
    """Return the checks as lines: `ok` or `--`, name, what was found, what is wrong."""
    width = max(len(check.name) for check in checks)
    return "\n".join(
        f"  {'--' if check.problem else 'ok'}  {check.name:<{width}}  "
        + (check.problem or check.facts)
        for check in checks
    )


def _devices(plan: Plan, cluster: Cluster) -> Check:
    topology, wanted = plan.resolved.recipe.topology, cluster.per_host
    if topology.device == "CPU":
        threads = plan.resolved.recipe.runtime.threads
        facts = f"{os.cpu_count()} processors for processes x threads: {wanted} x {threads}"
        return Check("devices", facts)
    count = len(list(Path("/dev").glob("davinci[0-9]*")))
    facts = f"{count} Ascend devices for {wanted} processes"
    largest = max(topology.device_ids or (wanted - 1,))
    return Check("devices", facts, "" if largest < count else f"{facts}: too few")


def _driver() -> Check:
    problems = ascend_problems()
    return Check("CANN and driver", "installed", "; ".join(problems))


def _memory(plan: Plan, cluster: Cluster) -> Check:
    """Compare the estimate with the host's memory; a device checks its own."""
    memory = psutil.virtual_memory()
    needed = process_bytes(plan) * cluster.per_host
    facts = f"about {_gib(needed)} needed, {_gib(memory.available)} of {_gib(memory.total)} free"
    on_host = plan.resolved.recipe.topology.device == "CPU"
    cure = ": lower the batch size or the number of processes"
    return Check("memory", facts, facts + cure if on_host and needed > memory.total else "")


def process_bytes(plan: Plan) -> int:
    """Return an estimate of the bytes that one process of a run needs at once.

    Weights of all networks, what training needs for each, with other processes a message of
    gradients and its answer, sums of the gradients of micro-batches, and for every row that is
    computed at once what the layers hold.
    """
    recipe = plan.resolved.recipe
    processes = device_count(recipe.topology)
    parts = plan.micro_batches or processes
    sums = (parts // processes).bit_length() - 1
    rows = max((phase.global_batch_size // parts for phase in plan.phases), default=1)
    numbers = 0
    for config in plan.networks.values():
        trained = bool(plan.phases) and config is _trained(plan)
        copies = COPIES + 2 * (processes > 1) + sums if trained else 1
        numbers += parameters(config) * copies
        numbers += rows * _row(config, recipe.data.seq_length, trained)
    return BASE[recipe.topology.device] + numbers * FLOAT


def parameters(config: NetworkConfig) -> int:
    """Return the numbers of an encoder."""
    return sum(prod(shape) for shape in encoder_shapes(config).values())


def _row(config: NetworkConfig, length: int, trained: bool) -> int:
    """Return the numbers that are held for one row."""
    hidden = length * config.hidden_size
    scores = config.num_attention_heads * length * length
    if not trained:  # hidden states and scores that a student learns from
        return config.num_hidden_layers * (hidden + scores)
    inner = length * config.intermediate_size
    return config.num_hidden_layers * (HELD * hidden + INNER * inner + SCORES * scores)


def _trained(plan: Plan) -> NetworkConfig:
    return plan.networks.get("student") or plan.networks["teacher"]


def require_space(plan: Plan) -> None:
    """Raise a DeviceError if the disk has too little space for what a run writes."""
    if problem := _disk(plan).problem:
        cure = "free some, see `prune`; or keep fewer checkpoints"
        raise DeviceError(f"the disk is too small: {problem}", cure=cure)


def _disk(plan: Plan) -> Check:
    """Compare the size of a run's checkpoints, and of a teacher's outputs, with what is free."""
    kept = sum(
        phase.checkpoints.max_ckpt_num + 2 for phase in plan.phases
    )  # the best, one being written
    needed = 3 * FLOAT * parameters(_trained(plan)) * kept  # weights and two moments
    needed += _teacher_outputs(plan)
    folder = next(path for path in (plan.root, *plan.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    what = "checkpoints" + " and the teacher's outputs" * bool(_teacher_outputs(plan))
    facts = f"about {_gib(needed)} needed for {what}, {_gib(free)} free"
    return Check("disk", facts, "" if needed < free else f"{facts} below {plan.root}")


def _teacher_outputs(plan: Plan) -> int:
    """Return an estimate of the bytes that the recipe lets a teacher's outputs take."""
    recipe, records = plan.resolved.recipe, plan.records.get("data")
    limit = int((recipe.runtime.teacher_cache_gib or 0) * GIB)
    if not isinstance(recipe, TaskDistill) or records is None or limit == 0:
        return 0
    teacher, student = plan.networks["teacher"], plan.networks["student"]
    length = records.mean_length or recipe.data.seq_length
    sizes = []
    if recipe.phase1 and recipe.phase1.distill.padding == "ignore":
        shape = LayersShape.of(recipe.phase1.distill, teacher, student)
        sizes.append(shape.size(np.array([length])))
    if recipe.phase2:
        positions = length if TASK_KINDS[recipe.task.task_type].logits_by_token else 1
        sizes.append(FLOAT * recipe.task.num_labels * positions)
    whole = [records.rows * size for size in sizes]
    return sum(size for size in whole if size <= limit)


def _secret() -> Check:
    length = len(os.environ.get(SECRET, ""))
    problem = "is not set" if length == 0 else f"is too short: {length} characters"
    cure = "give every host of the job the same one, such as `openssl rand -hex 32` prints"
    missing = length < SECRET_LENGTH
    return Check("secret", f"{SECRET} is set", f"{SECRET} {problem}; {cure}" if missing else "")


def _ports(cluster: Cluster) -> Iterator[Check]:
    ports = [cluster.port] if cluster.hosts == 1 else [cluster.port, cluster.port + 1]
    for port in ports:
        place = f"{cluster.address}:{port}"
        try:
            with socket.create_server((cluster.address, port)):
                yield Check("port", f"{place} is free")
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            cure = "write another master_port, and this host's own master_address"
            yield Check("port", place, f"cannot listen on {place}: {reason}; {cure}")


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / (1 << 20):.1f} MiB"
