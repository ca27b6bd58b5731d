"""The framework's own launcher, `msrun`, as a child that cannot outlive this process."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil

MODULE = "mindspore.parallel.cluster.run"
"""What the command `msrun` runs."""
LOG = "msrun.log"
SCHEDULER_LOG = "scheduler.log"
_PR_SET_PDEATHSIG = 1
SCHEDULER = -1
"""Stands for the rank of the scheduler, which msrun starts on the first host."""
PAUSE = 0.2
"""Seconds between two looks at whatever is waited for."""
START_SECONDS = 2.0
"""How long a process that msrun has announced may take until it is seen, or was there unseen."""
_ANNOUNCED = re.compile(r"^Start worker process with rank id:(\d+),", re.MULTILINE)
_FAILED = re.compile(r"Worker process (\d+) exit with exception\. Error code: (-?\d+)")
_NOISE = re.compile(r"^\[(INFO|WARNING)\]|^- C\+\+ Call Stack|^mindspore/ccsrc|^-+$|^\s*$")


@dataclass(frozen=True)
class Cluster:
    """The processes of a job, and where they meet."""

    hosts: int
    per_host: int
    """Processes a host, one a device."""
    host_rank: int
    """This host, from 0."""
    address: str
    """Of the first host."""
    port: int
    """TCP port there."""
    timeout: int
    """Seconds that processes wait for each other at the start."""
    bind_core: bool
    """Whether every process keeps to cores of its own."""

    @property
    def processes(self) -> int:
        """All processes of the job."""
        return self.hosts * self.per_host

    @property
    def ranks(self) -> range:
        """The processes of this host."""
        return range(self.host_rank * self.per_host, (self.host_rank + 1) * self.per_host)

    def command(self, worker: Sequence[str], logs: Path) -> list[str]:
        """Return the command line by which `Msrun` starts this host's processes."""
        return [
            sys.executable,
            "-m",
            MODULE,
            f"--worker_num={self.processes}",
            f"--local_worker_num={self.per_host}",
            f"--node_rank={self.host_rank}",
            f"--master_addr={self.address}",
            f"--master_port={self.port}",
            f"--cluster_time_out={self.timeout}",
            f"--bind_core={self.bind_core}",
            f"--log_dir={logs}",
            "--join=True",
            "--tail_worker_log=-2",
            *worker,
        ]

    def variables(self, device: str) -> dict[str, str]:
        """Return the environment variables of the processes."""
        # msrun starts `python`, so this interpreter comes first.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        variables = {"PATH": path, "GLOG_v": os.environ.get("GLOG_v", "3")}
        if device == "Ascend":
            variables["HCCL_CONNECT_TIMEOUT"] = str(self.timeout)
        return variables


class Msrun:
    """`msrun` and everything it started; a context manager that leaves none of it.

    Args:
        cluster: The processes of the job.
        worker: What every process runs: a Python script and its arguments.
        variables: Environment variables of the processes.
        logs: Folder of the logs, `worker_<rank>.log` among them.
    """

    def __init__(
        self, cluster: Cluster, worker: Sequence[str], variables: Mapping[str, str], logs: Path
    ) -> None:
        self._worker = list(worker)
        self._log = logs / LOG
        with self._log.open("wb") as log:
            self._process = psutil.Popen(
                cluster.command(worker, logs),
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._started: dict[int, psutil.Process] = {}
        self._announced: dict[int, float] = {}
        """When msrun was seen to announce the start of a rank."""

    def __enter__(self) -> "Msrun":
        return self

    def __exit__(self, *_: object) -> None:
        everyone = {*self._started.values(), *self._children(recursive=True), self._process}
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everyone, timeout=10)

    @property
    def returncode(self) -> int | None:
        """Msrun's exit code once it has ended."""
        return cast(int | None, self._process.poll())

    def wait(self, seconds: float) -> None:
        """Wait until msrun and all its processes have ended, but no longer than so."""
        with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def processes(self) -> dict[int, psutil.Process]:
        """Return the processes by rank, as far as they were started.

        A process of the job is a child of msrun with the command line that every process is given;
        helpers of msrun inherit its variables, but have other command lines.
        """
        for child in self._children():
            with suppress(psutil.Error):
                command = child.cmdline()  # until it is replaced, that of msrun itself
                if command[-len(self._worker) :] == self._worker and MODULE not in command:
                    variables = child.environ()
                    scheduler = variables.get("MS_ROLE") == "MS_SCHED"
                    rank = SCHEDULER if scheduler else int(variables["MS_NODE_ID"])
                    self._started.setdefault(rank, child)
        return self._started

    def _children(self, *, recursive: bool = False) -> list[psutil.Process]:
        try:
            return cast(list[psutil.Process], self._process.children(recursive=recursive))
        except psutil.NoSuchProcess:
            return []

    def ended_unseen(self) -> list[int]:
        """Return the ranks that msrun started, and that ended before `processes` saw them."""
        now = time.monotonic()
        for rank in map(int, _ANNOUNCED.findall(_text(self._log))):
            self._announced.setdefault(rank, now)
        unseen = [rank for rank in self._announced if rank not in self._started]
        if not unseen or any(map(_starting, self._children())):
            return []
        return [rank for rank in unseen if now - self._announced[rank] > START_SECONDS]

    def first_death(self, seconds: float) -> tuple[int, int] | None:
        """Return the rank and the exit code of the process that failed first, if msrun reports it.

        When one fails, msrun reports it and kills all others.

        Args:
            seconds: How long to wait for the report.
        """
        until = time.monotonic() + seconds
        while not (reports := _FAILED.findall(_text(self._log))):
            if time.monotonic() > until:
                return None
            time.sleep(PAUSE)
        pid, code = map(int, reports[0])
        unseen = [rank for rank in self._announced if rank not in self._started]
        ranks = [rank for rank, process in self._started.items() if process.pid == pid] or unseen
        return (ranks[0], code) if ranks else None


def _starting(process: psutil.Process) -> bool:
    """Return whether a child of msrun has yet to become what it was started as."""
    try:
        return MODULE in process.cmdline()
    except psutil.Error:
        return False


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def last_lines(log: Path) -> list[str]:
    """Return the last 20 lines of a process's log without the framework's chatter."""
    lines = [line for line in _text(log).splitlines() if not _NOISE.match(line)]
    return [line[:400] for line in lines[-20:]]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
