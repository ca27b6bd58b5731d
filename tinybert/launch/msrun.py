"""The framework's own launcher, `msrun`, as a child that cannot outlive this process."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LOG = "msrun.log"
SCHEDULER_LOG = "scheduler.log"
_PR_SET_PDEATHSIG = 1
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

    def command(self, script: Path, arguments: Sequence[str], logs: Path) -> list[str]:
        """Return the command line that starts this host's processes."""
        return [
            sys.executable,
            "-m",
            "mindspore.parallel.cluster.run",  # msrun
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
            str(script),
            *arguments,
        ]

    def variables(self, device: str) -> dict[str, str]:
        """Return the environment variables of the processes."""
        # msrun starts `python`, so this interpreter comes first.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        found = {"PATH": path, "GLOG_v": os.environ.get("GLOG_v", "3")}
        if device == "Ascend":
            found["HCCL_CONNECT_TIMEOUT"] = str(self.timeout)
        return found


class Msrun:
    """`msrun` and everything it started; `kill` leaves none of it.

    Args:
        command: Its command line.
        variables: Environment variables of the processes.
        logs: Folder of the logs, `worker_<rank>.log` among them.
    """

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], logs: Path) -> None:
        self.logs = logs
        with (logs / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._started: dict[int, psutil.Process] = {}

    def ended(self) -> int | None:
        """Return msrun's exit code once it has ended."""
        return self._process.poll()

    def processes(self) -> dict[int, psutil.Process]:
        """Return the processes by rank, as far as they were started."""
        try:
            children = psutil.Process(self._process.pid).children()
        except psutil.NoSuchProcess:
            return self._started
        for child in children:
            try:
                variables = child.environ()
            except psutil.Error:
                continue
            if variables.get("MS_ROLE") == "MS_WORKER":
                self._started.setdefault(int(variables["MS_NODE_ID"]), child)
            elif variables.get("MS_ROLE") == "MS_SCHED":
                self._started.setdefault(SCHEDULER, child)
        return self._started

    def exit_code(self, pid: int) -> int | None:
        """Return how a process ended, if msrun has said so."""
        for found, code in _FAILED.findall(_text(self.logs / LOG)):
            if int(found) == pid:
                return int(code)
        return None

    def kill(self) -> None:
        """End msrun and all its processes at once, and wait until they are gone."""
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        everyone = {process.pid: process for process in (*family, *self._started.values())}
        for process in everyone.values():
            _kill(process)
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(list(everyone.values()), timeout=10)


SCHEDULER = -1
"""Stands for the rank of the scheduler, which msrun starts on the first host."""


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def last_lines(log: Path, count: int = 20) -> list[str]:
    """Return the end of a process's log without the framework's chatter."""
    lines = [line for line in _text(log).splitlines() if not _NOISE.match(line)]
    return [line[:400] for line in lines[-count:]]


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
