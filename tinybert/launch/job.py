"""One host's part of a job: its processes are started, watched, and ended together."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from tinybert.launch.hosts import HostStatus, OtherHosts, StopCheck
from tinybert.launch.msrun import LOG, PAUSE, SCHEDULER, SCHEDULER_LOG, Cluster, Msrun, last_lines
from tinybert.launch.watch import JobFailure, WorkerState, find_failure
from tinybert.run.heartbeat import Heartbeat, HeartbeatListener

EXIT_SECONDS = 3.0
"""How long processes that have reported their end may take to end."""
EXIT_CODE_SECONDS = 2.0
"""How long msrun may take to report how a process ended."""


class Job:
    """The processes of this host, and what is known of those of the other hosts.

    Args:
        cluster: All processes, and this host's among them.
        logs: Folder of this host's logs.
        hosts: The other hosts; closed at the end.
    """

    def __init__(self, cluster: Cluster, logs: Path, hosts: OtherHosts) -> None:
        self._cluster = cluster
        self._logs = logs
        self._hosts = hosts
        self.listener = HeartbeatListener()
        """Where this host's processes send their heartbeats; closed at the end."""
        now = time.monotonic()
        ranks = range(cluster.processes) if hosts.first else cluster.ranks
        self._states = {rank: WorkerState(None, now, now, now) for rank in ranks}
        self._cpu_seconds: dict[int, float] = {}
        self._stopping = False

    def run(
        self,
        worker: Sequence[str],
        variables: Mapping[str, str],
        *,
        stop: StopCheck,
        show: Callable[[Mapping[int, Heartbeat]], None],
    ) -> JobFailure | None:
        """Carry out the job; returns how it failed, or None if all processes ended well.

        Args:
            worker: What every process runs: a Python script and its arguments.
            variables: Environment variables of the processes.
            stop: The signal by which the user asked to stop, if any.
            show: Shows what the processes do.
        """
        with (
            closing(self.listener),
            closing(self._hosts),
            Msrun(self._cluster, worker, variables, self._logs) as msrun,
        ):
            while True:
                self._observe(msrun)  # before the last heartbeats are received
                for heartbeat in [*self.listener.receive(), *self._hosts.receive()]:
                    self._update(heartbeat)
                self._hosts.report(self.heartbeats().values())
                show(self.heartbeats())
                self._forward_stop(stop() or self._hosts.stop, msrun.processes())
                if failure := self._failure(msrun):
                    self._hosts.send(HostStatus(failure=failure))
                    return failure
                if self._all_ended():
                    self._hosts.send(HostStatus(done=True))
                    msrun.wait(EXIT_SECONDS)
                    return None
                time.sleep(PAUSE)

    def heartbeats(self) -> dict[int, Heartbeat]:
        """Return the last heartbeat of every process that sent one."""
        return {rank: s.heartbeat for rank, s in self._states.items() if s.heartbeat}

    def _update(self, heartbeat: Heartbeat) -> None:
        """Update the state of the process that sent a heartbeat."""
        state, now = self._states.get(heartbeat.rank), time.monotonic()
        if state is None:
            return
        last = state.heartbeat
        if last is None or (last.activity, last.step) != (heartbeat.activity, heartbeat.step):
            if last is not None and heartbeat.step > last.step > 0:
                state.longest_step = max(state.longest_step, now - state.since)
            state.since = now
        state.heartbeat, state.heard = heartbeat, now

    def _observe(self, msrun: Msrun) -> None:
        """Look which processes of this host live and use the processor."""
        now, processes = time.monotonic(), msrun.processes()
        for rank in msrun.ended_unseen():
            self._states[rank].gone = True
        for rank, state in self._states.items():
            process = processes.get(rank)
            if process is None:  # msrun has yet to start it, or another host watches it
                state.used_cpu = now
                continue
            try:
                status, times = process.status(), process.cpu_times()
            except psutil.Error:
                state.gone = True
                continue
            state.gone = status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            state.halted = status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
            seconds = times.user + times.system
            if seconds > self._cpu_seconds.get(rank, -1.0) + 0.02:
                self._cpu_seconds[rank], state.used_cpu = seconds, now

    def _forward_stop(self, signum: int | None, processes: Mapping[int, psutil.Process]) -> None:
        """Send a request to stop to one process; all others receive it with its next sums."""
        rank = self._cluster.ranks[0]
        ready = rank in processes and self._states[rank].heartbeat  # it blocks signals by then
        if signum is None or self._stopping or not ready:
            return
        self._stopping = True
        self._hosts.send(HostStatus(stop=signum))
        with suppress(psutil.NoSuchProcess):
            processes[rank].send_signal(signal.Signals(signum))

    def _all_ended(self) -> bool:
        return all(state.ended for state in self._states.values())

    def _failure(self, msrun: Msrun) -> JobFailure | None:
        """Return what made the job fail, if anything did."""
        if failure := self._hosts.failure():
            return failure
        if failure := find_failure(self._states, time.monotonic(), self._cluster.timeout):
            if failure.ended is None and self._states[failure.rank].gone:
                death = msrun.first_death(EXIT_CODE_SECONDS)
                rank, code = death or (failure.rank, None)
                failure = JobFailure(rank, _how_it_ended(code), self._states[rank].step, code)
            lines = last_lines(self._logs / f"worker_{failure.rank}.log")
            return replace(failure, last_lines=lines)
        if self._all_ended():
            return None
        scheduler = msrun.processes().get(SCHEDULER)
        if msrun.returncode not in (None, 0) or (scheduler and _gone(scheduler)):
            lines = last_lines(self._logs / SCHEDULER_LOG) or last_lines(self._logs / LOG)
            what = "lost the processes' scheduler"
            return JobFailure(self._cluster.ranks[0], what, 0, last_lines=lines)
        return None


def _gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return True


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "died"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
