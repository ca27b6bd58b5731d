"""Carrying out a run of several processes: start them, show them, and say how it went."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tinybert import errors
from tinybert.commands.ranks import RankProgress
from tinybert.commands.worker import PROGRAM, RANKS
from tinybert.data.importing import import_records
from tinybert.errors import StoppedError, TinybertError, TrainingError
from tinybert.launch.beats import Ended
from tinybert.launch.job import Job
from tinybert.launch.msrun import Cluster
from tinybert.launch.stop import StopRequest
from tinybert.launch.watch import Fall
from tinybert.manifest.identity import CodeIdentity
from tinybert.manifest.record import RunRecord
from tinybert.plan import Plan
from tinybert.recipe.tables import Topology

if TYPE_CHECKING:
    from tinybert.commands.run import RunOptions

log = structlog.get_logger()

LOOPBACK = "127.0.0.1"
PATIENCE = 600
"""Seconds that processes wait for each other, where `timeout_seconds` does not say."""


def cluster_of(topology: Topology, host_rank: int = 0) -> Cluster:
    """Return the processes that a recipe's `[topology]` asks for."""
    return Cluster(
        hosts=topology.hosts,
        per_host=topology.devices_per_host,
        host_rank=host_rank,
        address=topology.master_address or LOOPBACK,
        port=topology.master_port or _free_port(),
        timeout=topology.timeout_seconds or PATIENCE,
        bind_core=bool(topology.bind_core),
    )


def launch(
    options: "RunOptions", plan: Plan, code: CodeIdentity, record: RunRecord, stop: StopRequest
) -> None:
    """Carry out a run by several processes, the first of which writes the manifest.

    Raises:
        TinybertError: What a process raised, or how it ended.
        StoppedError: The user stopped the run.
    """
    _import(plan)
    cluster = cluster_of(plan.resolved.recipe.topology)
    logs = record.directory / RANKS
    logs.mkdir(exist_ok=True)
    job = Job(cluster, logs, patience=cluster.timeout)
    total_steps = sum(phase.total_steps for phase in plan.phases)
    with RankProgress(total_steps) as progress, stop.waiting():
        fall = job.run(
            PROGRAM / "runner.py",
            lambda port: _arguments(options, plan, code, record, port),
            cluster.variables(plan.resolved.recipe.topology.device),
            stop=lambda: stop.signum if stop.requested() else None,
            show=progress.show,
        )
    record.reload()
    if fall is not None:
        raise _fallen(fall, record)
    if record.manifest.outcome.status == "interrupted":
        assert stop.signum is not None
        raise StoppedError("stopped, and saved", signum=stop.signum)


def _import(plan: Plan) -> None:
    """Import the records, so that processes do not wait for one of them to do it."""
    from tinybert.stages.build import STORES

    for records in plan.records.values():
        import_records(records.source, plan.root / STORES)


def _arguments(
    options: "RunOptions", plan: Plan, code: CodeIdentity, record: RunRecord, port: int
) -> Sequence[str]:
    """Return the command line of every process, after runner.py."""
    device = ["--device", options.device] if options.device else []
    return [
        "worker",
        options.recipe,
        *(part for override in options.overrides for part in ("--set", override)),
        *device,
        f"--root={options.root}",
        f"--run-id={record.manifest.volatile.run_id}",
        f"--manifest={record.path}",
        f"--launcher={port}",
        f"--recipe-digest={plan.resolved.digest}",
        f"--code-digest={code.facts['digest']}",
    ]


def _fallen(fall: Fall, record: RunRecord) -> TinybertError:
    """Write down how a run fell, and return it as an error."""
    word = fall.ended
    kind = _error_class(word)
    log_file = record.directory / RANKS / f"worker_{fall.rank}.log"
    cure = word.cure if word and word.cure else f"`--resume {_shown(record)}` goes on from there"
    message = word.message if word and kind else f"process {fall.rank} {fall.what}"
    error = (kind or TrainingError)(message, cure=cure)
    error.where = f"process {fall.rank} at step {fall.step}, {log_file}"
    record.fail(
        error,
        rank=fall.rank,
        step=fall.step,
        exit_code=fall.exit_code,
        last_lines=fall.last_lines,
    )
    return error


def _error_class(word: Ended | None) -> type[TinybertError] | None:
    """Return the class of the error that a process spoke of, if it is one of the program's."""
    found = getattr(errors, word.type, None) if word and word.type else None
    known = isinstance(found, type) and issubclass(found, TinybertError)
    return found if known and found is not StoppedError else None


def _shown(record: RunRecord) -> Path:
    return record.path.relative_to(record.root) if record.path.is_absolute() else record.path


def _free_port() -> int:
    """Return a TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
