"""Carrying out a run of several processes: start them, show them, and say how it went."""

import platform
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from signal import SIGTERM

import structlog

from tinybert import errors
from tinybert.atomic import write_bytes
from tinybert.data.importing import STORES, import_records
from tinybert.errors import StoppedError, TinybertError, TrainingError
from tinybert.files import PROGRAM, relative_to
from tinybert.launch.hosts import Alone, Peers, gather, join
from tinybert.launch.job import Job
from tinybert.launch.msrun import Cluster
from tinybert.launch.preflight import checks_table, preflight
from tinybert.launch.view import RankProgress
from tinybert.launch.watch import JobFailure
from tinybert.launch.worker import DIGESTS, OUR_BUG, RANKS, RECORD_DIGESTS, RecordDigests
from tinybert.manifest.model import Code, RankFacts
from tinybert.manifest.record import RunRecord
from tinybert.plan.plan import Plan
from tinybert.recipe.tables import Topology
from tinybert.run.heartbeat import Heartbeat, WorkerExit
from tinybert.run.options import RunOptions
from tinybert.signals import StopRequest

log = structlog.get_logger()

NOT_HERE = "-"
"""Stands for the manifest on hosts that are not the first."""
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


def run_first_host(
    options: RunOptions,
    plan: Plan,
    code: Code,
    cluster: Cluster,
    record: RunRecord,
    stop: StopRequest,
) -> None:
    """Carry out a run by several processes, the first of which writes the manifest.

    Raises:
        TinybertError: What a process raised, or how it ended.
        StoppedError: The user stopped the run.
    """
    digests = _import(plan)
    run_id = record.manifest.volatile.run_id
    peers: Peers = Alone()
    with stop.waiting():
        if cluster.hosts > 1:
            facts = _facts(plan, code)
            peers = gather(cluster, facts, {"run_id": run_id}, stop=lambda: _asked(stop))
        part = HostJob(options, plan, code, cluster, digests, run_id, record.path)
        fall, beats = part.carry_out(stop, peers)
    record.reload()
    ranks = {str(rank): RankFacts(pid=beat.pid, host=beat.host) for rank, beat in beats.items()}
    with suppress(OSError):  # the disk may be what failed
        record.update(volatile=replace(record.manifest.volatile, ranks=ranks))
    if fall is not None and fall.ended and fall.ended.type == "StoppedError":
        signum = fall.ended.exit_code - 128
        raise StoppedError("stopped before there was anything to save", signum=signum)
    if fall is not None:
        raise _fallen(fall, record)
    if record.manifest.outcome.status == "interrupted":
        raise StoppedError("stopped, and saved", signum=peers.stop() or stop.signum or SIGTERM)


def run_other_host(
    options: RunOptions, plan: Plan, code: Code, cluster: Cluster, stop: StopRequest
) -> str:
    """Carry out the part of a host that is not the first; returns what to tell the user.

    Raises:
        TinybertError: How the job fell; the first host's manifest says so too.
        StoppedError: The user stopped the run.
    """
    digests = _import(plan)
    with stop.waiting():
        peers, told = join(cluster, _facts(plan, code), stop=lambda: _asked(stop))
        log.info("run", recipe=options.recipe, run_id=told["run_id"], host_rank=cluster.host_rank)
        part = HostJob(options, plan, code, cluster, digests, told["run_id"], Path(NOT_HERE))
        fall, _ = part.carry_out(stop, peers)
    if fall is not None:
        error = _error_of(fall, cure="see the manifest on the first host")
        error.where = error.where or str(part.logs / f"worker_{fall.rank}.log")
        raise error
    if signum := peers.stop() or stop.signum:
        raise StoppedError("stopped; the first host saved", signum=signum)
    done = f"host {cluster.host_rank} is done"
    return f"{done}; the manifest of run {told['run_id']} is on the first host"


@dataclass(frozen=True)
class HostJob:
    """What one host does of a run."""

    options: RunOptions
    plan: Plan
    code: Code
    cluster: Cluster
    digests: RecordDigests
    run_id: str
    manifest: Path
    """The run's, on the first host."""

    @property
    def logs(self) -> Path:
        """Folder of this host's logs, and of records of its processes."""
        return self.options.root / "runs" / self.plan.resolved.name / self.run_id / RANKS

    def carry_out(
        self, stop: StopRequest, peers: Peers
    ) -> tuple[JobFailure | None, dict[int, Heartbeat]]:
        """Start and watch this host's processes; returns how the job fell, and their last beats."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for old in self.logs.glob("*.log"):  # of an earlier segment of the run
            segment = len(list(self.logs.glob(f"{old.stem}.log.*"))) + 1
            old.rename(f"{old}.{segment}")
        write_bytes(self.logs / DIGESTS, RECORD_DIGESTS.dump_json(self.digests, indent=2))
        job = Job(self.cluster, self.logs, patience=self.cluster.timeout, peers=peers)
        total_steps = sum(phase.total_steps for phase in self.plan.phases)
        with RankProgress(total_steps, self.logs / "worker_0.log") as progress:
            fall = job.run(
                PROGRAM / "runner.py",
                self.arguments,
                self.cluster.variables(self.plan.resolved.recipe.topology.device),
                stop=lambda: _asked(stop),
                show=progress.show,
            )
        return fall, job.beats()

    def arguments(self, port: int) -> list[str]:
        """Return the command line of every process, after runner.py.

        Args:
            port: Where this host's launcher hears beats.
        """
        options = self.options
        return [
            "worker",
            options.recipe,
            *(part for override in options.overrides for part in ("--set", override)),
            *(["--device", options.device] if options.device else []),
            *([f"--profile={options.profile}"] if options.profile else []),
            f"--root={options.root}",
            f"--run-id={self.run_id}",
            f"--manifest={self.manifest}",
            f"--launcher={port}",
            f"--recipe-digest={self.plan.resolved.digest}",
            f"--code-digest={self.code.digest}",
        ]


def describe_job(plan: Plan, cluster: Cluster) -> str:
    """Return the plan's processes for people, and what this host has for them."""
    first, last = cluster.ranks[0], cluster.ranks[-1]
    topology = plan.resolved.recipe.topology
    variables = {n: v for n, v in cluster.variables(topology.device).items() if n != "PATH"}
    lines = [
        f"processes    {cluster.processes} on {cluster.hosts} host(s); {first} to {last} on this "
        f"one, host {cluster.host_rank}",
        f"meeting at   {cluster.address}:{cluster.port}",
        f"environment  {' '.join(f'{name}={value}' for name, value in variables.items())}",
    ]
    for phase in plan.phases:
        rows = phase.global_batch_size // cluster.processes
        lines.append(
            f"shards       {phase.name}: process r takes rows {rows} r to {rows} r + {rows}"
        )
    lines += ["this host", checks_table(preflight(plan, cluster))]
    return "\n".join(lines)


def _facts(plan: Plan, code: Code) -> dict[str, str | None]:
    """Return what must be the same on every host."""
    return {
        "recipe": plan.resolved.digest,
        "program": code.digest,
        "Python": platform.python_version(),
        "MindSpore": version("mindspore"),
        "NumPy": version("numpy"),
    }


def _asked(stop: StopRequest) -> int | None:
    return stop.signum if stop.requested() else None


def _import(plan: Plan) -> RecordDigests:
    """Import the records, which the processes then need not do; returns the digests of files."""
    return {
        role: import_records(records.source, plan.root / STORES).files
        for role, records in plan.records.items()
    }


def _fallen(fall: JobFailure, record: RunRecord) -> TinybertError:
    """Write down how a run fell, and return it as an error."""
    error = _error_of(
        fall, f"`--resume {relative_to(record.path, Path.cwd())}` goes on from the last checkpoint"
    )
    place = error.where or str(record.directory / RANKS / f"worker_{fall.rank}.log")
    error.where = f"{place} (process {fall.rank}, step {fall.step})"
    with suppress(OSError):  # the disk may be what failed
        record.fail(
            error,
            rank=fall.rank,
            step=fall.step,
            exit_code=fall.exit_code,
            last_lines=fall.last_lines,
        )
    return error


def _error_of(fall: JobFailure, cure: str) -> TinybertError:
    """Return how a job fell as the error that its process raised, or as one of training."""
    word, kind = fall.ended, _error_class(fall.ended)
    if word and kind:
        return kind(word.message, where=word.where, cure=word.cure or cure)
    error = TrainingError(f"process {fall.rank} {fall.what}", cure=cure)
    if word:
        error.cure = "this is a defect of the program; please report it with that log"
        error.exit_code = OUR_BUG
    return error


def _error_class(word: WorkerExit | None) -> type[TinybertError] | None:
    """Return the class of the error that a process spoke of, if it is one of the program's."""
    found = getattr(errors, word.type, None) if word and word.type else None
    known = isinstance(found, type) and issubclass(found, TinybertError)
    return found if known and found is not StoppedError else None


def _free_port() -> int:
    """Return a TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
