"""One host's part of a job: its processes are started, watched, and ended together."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import structlog

from tinybert.launch.hosts import Alone, Peers
from tinybert.launch.msrun import LOG, SCHEDULER, SCHEDULER_LOG, Cluster, Msrun, last_lines
from tinybert.launch.watch import JobFailure, Trouble, WorkerState, trouble
from tinybert.run.heartbeat import Heartbeat, HeartbeatListener, WorkerExit

log = structlog.get_logger()

PAUSE = 0.2
"""Seconds between two looks at the processes."""
LAST_SECONDS = 3.0
"""How long processes that have said their last word may take to end."""
WORD_SECONDS = 2.0
"""How long msrun may take to say how a process ended."""


class Job:
    """The processes of this host, and what is known of those of the other hosts.

    Args:
        cluster: All processes, and this host's among them.
        logs: Folder of this host's logs.
        patience: Seconds that processes wait for one that starts, compiles, evaluates or saves.
        peers: The other hosts.
        clock: Seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        logs: Path,
        *,
        patience: float,
        peers: Peers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self._logs = logs
        self._patience = patience
        self._peers = peers or Alone()
        self._clock = clock
        self._lives: dict[int, WorkerState] = {}
        self._used: dict[int, float] = {}
        self._asked = False

    def run(
        self,
        script: Path,
        arguments: Callable[[int], Sequence[str]],
        variables: Mapping[str, str],
        *,
        stop: Callable[[], int | None],
        show: Callable[[Mapping[int, Heartbeat]], None],
    ) -> JobFailure | None:
        """Carry out the job; returns how it fell, or None if all processes ended well.

        Args:
            script: What every process runs.
            arguments: Its arguments, given the port where beats are heard.
            variables: Environment variables of the processes.
            stop: The signal by which the user asked to stop, if any.
            show: Shows what the processes do.
        """
        listener = HeartbeatListener()
        command = self.cluster.command(script, arguments(listener.port), self._logs)
        now = self._clock()
        ranks = range(self.cluster.processes) if self._peers.first else self.cluster.ranks
        self._lives = {rank: WorkerState(None, now, now, now) for rank in ranks}
        try:
            msrun = Msrun(command, variables, self._logs)
        except OSError:
            listener.close()
            self._peers.close()
            raise
        try:
            while True:
                self._look(msrun.processes())  # before what they last said is heard
                for beat in [*listener.heard(), *self._peers.beats()]:
                    self._note(beat)
                self._peers.tell(self.beats().values())
                show(self.beats())
                self._stop(stop() or self._peers.stop(), msrun.processes())
                if fall := self._fall(msrun):
                    self._peers.fell(fall)
                    return fall
                if self._over():
                    self._leave(msrun)
                    return None
                time.sleep(PAUSE)
        finally:
            listener.close()
            msrun.kill()
            self._peers.close()

    def beats(self) -> dict[int, Heartbeat]:
        """Return the last beat of every process that was heard of."""
        return {rank: life.beat for rank, life in self._lives.items() if life.beat}

    def _note(self, beat: Heartbeat) -> None:
        """Take a beat down."""
        life, now = self._lives.get(beat.rank), self._clock()
        if life is None:
            return
        before = life.beat
        if before is None or (before.activity, before.step) != (beat.activity, beat.step):
            if before is not None and beat.step > before.step > 0:
                life.longest_step = max(life.longest_step, now - life.since)
            life.since = now
        life.beat, life.heard = beat, now

    def _look(self, processes: Mapping[int, psutil.Process]) -> None:
        """See which processes of this host live and use the processor."""
        now = self._clock()
        for rank, life in self._lives.items():
            process = processes.get(rank)
            if process is None:  # msrun has yet to start it, or its own host looks after it
                life.moved = now
                continue
            try:
                state, times = process.status(), process.cpu_times()
            except psutil.Error:
                life.gone = True
                continue
            life.gone = state in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            life.halted = state in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
            used = times.user + times.system
            if used > self._used.get(rank, -1.0) + 0.02:
                self._used[rank], life.moved = used, now

    def _stop(self, signum: int | None, processes: Mapping[int, psutil.Process]) -> None:
        """Hand a request to stop on to one process; the sums carry it to all."""
        rank = self.cluster.ranks[0]
        if signum is None or self._asked or rank not in processes:
            return
        self._asked = True
        self._peers.ask(signum)
        try:
            processes[rank].send_signal(signal.Signals(signum))
        except psutil.NoSuchProcess:
            pass

    def _fall(self, msrun: Msrun) -> JobFailure | None:
        """Return what brought the job down, if anything did."""
        if fall := self._peers.fall():
            return fall
        ended = {r: life.beat.ended for r, life in self._lives.items() if life.beat}
        for rank, word in ended.items():
            if word is not None and word.exit_code:
                return self._told(rank, word)
        living = {r: life for r, life in self._lives.items() if ended.get(r) is None}
        found = trouble(living, self._clock(), self._patience)
        if found is not None and living[found.rank].gone:
            return self._died(found, msrun)
        if found is not None:
            return self._account(found.rank, found.what, None, None)
        scheduler = msrun.processes().get(SCHEDULER)
        if msrun.ended() not in (None, 0) or (living and scheduler and _gone(scheduler)):
            lines = last_lines(self._logs / SCHEDULER_LOG) or last_lines(self._logs / LOG)
            rank, step = self.cluster.ranks[0], 0
            return JobFailure(rank, "lost the processes' scheduler", step, last_lines=lines)
        return None

    def _told(self, rank: int, word: WorkerExit) -> JobFailure:
        return self._account(rank, f"failed: {word.message}", word.exit_code, word)

    def _died(self, found: Trouble, msrun: Msrun) -> JobFailure:
        """Wait a moment for msrun's word on how the process ended."""
        pid, code = msrun.processes()[found.rank].pid, None
        until = self._clock() + WORD_SECONDS
        while code is None and self._clock() < until:
            code = msrun.exit_code(pid)
            time.sleep(PAUSE)
        return self._account(found.rank, _how(code), code, None)

    def _account(
        self, rank: int, what: str, code: int | None, ended: WorkerExit | None
    ) -> JobFailure:
        beat = self._lives[rank].beat
        lines = last_lines(self._logs / f"worker_{rank}.log")
        return JobFailure(rank, what, 0 if beat is None else beat.step, code, lines, ended)

    def _over(self) -> bool:
        """Return whether all processes, on the first host those of all hosts, ended well."""
        beats = [life.beat for life in self._lives.values()]
        return all(beat is not None and beat.ended is not None for beat in beats)

    def _leave(self, msrun: Msrun) -> None:
        """Give processes that have said their last word a moment to end by themselves."""
        self._peers.leave()
        until = self._clock() + LAST_SECONDS
        while msrun.ended() is None and self._clock() < until:
            time.sleep(PAUSE)


def _gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return True


def _how(code: int | None) -> str:
    if code is None:
        return "died"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"
