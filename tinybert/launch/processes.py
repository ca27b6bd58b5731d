"""Carrying out a run of several processes: start and show them, and report how it ended."""

import platform
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from signal import SIGTERM

import structlog

from tinybert.data.importing import STORES, import_records
from tinybert.errors import OUR_BUG, StoppedError, TinybertError, TrainingError, counted
from tinybert.files import PROGRAM, relative_to_cwd
from tinybert.launch.hosts import OtherHosts, gather, join, take_secret
from tinybert.launch.job import Job
from tinybert.launch.msrun import Cluster
from tinybert.launch.preflight import checks_table, preflight
from tinybert.launch.view import RankProgress
from tinybert.launch.watch import JobFailure
from tinybert.launch.worker import RANKS, RecordDigests, WorkerJob
from tinybert.manifest.model import Code, RankFacts
from tinybert.manifest.record import RunRecord
from tinybert.plan.plan import Plan
from tinybert.recipe.tables import Topology
from tinybert.run.execute import RunOptions
from tinybert.run.heartbeat import LOOPBACK, Heartbeat
from tinybert.signals import StopRequest

log = structlog.get_logger()

TIMEOUT = 600
"""Seconds that processes wait for each other, where `timeout_seconds` is not written."""


def cluster_of(topology: Topology, host_rank: int = 0) -> Cluster:
    """Return the processes that a recipe's `[topology]` asks for."""
    return Cluster(
        hosts=topology.hosts,
        per_host=topology.devices_per_host,
        host_rank=host_rank,
        address=topology.master_address or LOOPBACK,
        port=topology.master_port or _free_port(),
        timeout=topology.timeout_seconds or TIMEOUT,
        bind_core=bool(topology.bind_core),
    )


@dataclass(frozen=True)
class HostJob:
    """What one host does of a run by several processes."""

    options: RunOptions
    plan: Plan
    code: Code
    cluster: Cluster
    stop: StopRequest

    def run_first(self, record: RunRecord) -> None:
        """Carry out the part of the first host, where a process writes the manifest.

        Raises:
            TinybertError: What a process raised, or how it ended.
            StoppedError: The user stopped the run.
        """
        run_id, hosts = record.manifest.volatile.run_id, OtherHosts(self.cluster)
        secret = take_secret()
        digests = self._import_records()
        with self.stop.waiting():
            if self.cluster.hosts > 1:
                stopped = self.stop.poll
                hosts = gather(self.cluster, secret, self._facts(), run_id, stop=stopped)
            failure, heartbeats = self._carry_out(run_id, record.path, digests, hosts)
        record.reload()
        ranks = {str(rank): RankFacts(pid=h.pid, host=h.host) for rank, h in heartbeats.items()}
        with suppress(OSError):  # the disk may be what failed
            record.update(volatile=replace(record.manifest.volatile, ranks=ranks))
        if failure is not None and failure.ended and failure.ended.type == StoppedError.__name__:
            signum = failure.ended.exit_code - 128
            raise StoppedError("stopped before there was anything to save", signum=signum)
        if failure is not None:
            raise _recorded(failure, record)
        status = record.manifest.outcome.status
        if status == "interrupted":
            signum = hosts.stop or self.stop.signum or SIGTERM
            raise StoppedError("stopped, and saved", signum=signum)
        if status != "finished":
            message = f"the processes reported that they ended well, but the run is {status}"
            raise TrainingError(message, where=str(record.directory / RANKS))

    def run_other(self) -> str:
        """Carry out the part of a host that is not the first; returns what to print.

        Raises:
            TinybertError: How the job failed; it is in the first host's manifest, too.
            StoppedError: The user stopped the run.
        """
        secret = take_secret()
        digests = self._import_records()
        with self.stop.waiting():
            hosts, run_id = join(self.cluster, secret, self._facts(), stop=self.stop.poll)
            rank = self.cluster.host_rank
            log.info("run", recipe=self.options.recipe, run_id=run_id, host_rank=rank)
            failure, _ = self._carry_out(run_id, None, digests, hosts)
        if failure is not None:
            error = _error_of(failure, cure="see the manifest on the first host")
            error.where = error.where or str(self._logs(run_id) / f"worker_{failure.rank}.log")
            raise error
        if signum := hosts.stop or self.stop.signum:
            raise StoppedError("stopped; the first host saved", signum=signum)
        return f"host {rank} is done; the manifest of run {run_id} is on the first host"

    def _carry_out(
        self, run_id: str, manifest: Path | None, digests: RecordDigests, hosts: OtherHosts
    ) -> tuple[JobFailure | None, dict[int, Heartbeat]]:
        """Start and watch this host's processes.

        Returns:
            How the job failed, if it did, and the last heartbeat of every process.
        """
        logs, recipe = self._logs(run_id), self.plan.resolved
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log"):  # of an earlier segment of the run
            segment = len(list(logs.glob(f"{old.stem}.log.*"))) + 1
            old.rename(f"{old}.{segment}")
        job = Job(self.cluster, logs, hosts)
        worker_job = WorkerJob(
            options=self.options,
            run_id=run_id,
            manifest=manifest,
            recipe_digest=recipe.digest,
            code_digest=self.code.digest,
            record_digests=digests,
            port=job.listener.port,
            token=job.listener.token,
        )
        worker_job.write(logs / "job.json")
        total_steps = sum(phase.total_steps for phase in self.plan.phases)
        with RankProgress(total_steps, logs / "worker_0.log") as progress:
            failure = job.run(
                [str(PROGRAM / "runner.py"), "worker", str(logs / "job.json")],
                self.cluster.variables(recipe.recipe.topology.device),
                stop=self.stop.poll,
                show=progress.show,
            )
        return failure, job.heartbeats()

    def _logs(self, run_id: str) -> Path:
        """Return the folder of this host's logs, and of records of its processes."""
        return self.options.root / "runs" / self.plan.resolved.name / run_id / RANKS

    def _import_records(self) -> RecordDigests:
        """Import the records, which the processes then need not do; returns digests of files."""
        return {
            role: import_records(records.source, self.plan.root / STORES).files
            for role, records in self.plan.records.items()
        }

    def _facts(self) -> dict[str, str]:
        """Return what must be the same on every host."""
        return {
            "recipe": self.plan.resolved.digest,
            "program": self.code.digest,
            "Python": platform.python_version(),
            "MindSpore": version("mindspore"),
            "NumPy": version("numpy"),
        }


def describe_job(plan: Plan, cluster: Cluster) -> str:
    """Return the plan's processes for people, if there are several, and what this host has."""
    checks = ["this host", checks_table(preflight(plan, cluster))]
    if cluster.processes == 1:
        return "\n".join(checks)
    first, last = cluster.ranks[0], cluster.ranks[-1]
    topology = plan.resolved.recipe.topology
    variables = {n: v for n, v in cluster.variables(topology.device).items() if n != "PATH"}
    lines = [
        f"processes    {cluster.processes} on {counted(cluster.hosts, 'host')}; {first} to {last} "
        f"on this one, host {cluster.host_rank}",
        f"meeting at   {cluster.address}:{cluster.port}",
        f"environment  {' '.join(f'{name}={value}' for name, value in variables.items())}",
    ]
    for phase in plan.phases:
        rows = phase.global_batch_size // cluster.processes
        lines.append(
            f"shards       {phase.name}: process r takes rows {rows} r to {rows} r + {rows}"
        )
    return "\n".join([*lines, *checks])


def _recorded(failure: JobFailure, record: RunRecord) -> TinybertError:
    """Record how a run failed, and return it as an error."""
    manifest = relative_to_cwd(record.path)
    error = _error_of(failure, f"`--resume {manifest}` goes on from the last checkpoint")
    place = error.where or str(record.directory / RANKS / f"worker_{failure.rank}.log")
    error.where = f"{place} (process {failure.rank}, step {failure.step})"
    with suppress(OSError):  # the disk may be what failed
        record.fail(
            error,
            rank=failure.rank,
            step=failure.step,
            exit_code=failure.exit_code,
            last_lines=failure.last_lines,
        )
    return error


def _error_of(failure: JobFailure, cure: str) -> TinybertError:
    """Return how a job failed as the error that its process raised, or as one of training."""
    ended = failure.ended
    kinds = {kind.__name__: kind for kind in TinybertError.__subclasses__()}
    if ended and ended.type in kinds.keys() - {StoppedError.__name__}:
        return kinds[ended.type](ended.message, where=ended.where, cure=ended.cure or cure)
    error = TrainingError(f"process {failure.rank} {failure.what}", cure=cure)
    if ended:
        error.cure = "this is a defect of the program; please report it with that log"
        error.exit_code = OUR_BUG
    return error


def _free_port() -> int:
    """Return a TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
