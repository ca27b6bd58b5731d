"""Which process makes a job fail: one that failed, died, hangs, or is behind the others.

A process sends a heartbeat twice a second, from a thread of its own. While the framework compiles
it may hold the interpreter for long, so then using the processor counts as a sign of life too.
Processes that wait for each other's sums are all in the same step; the one that is not computing
it is behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic.dataclasses import dataclass as message

from tinybert.run.heartbeat import MESSAGE, Heartbeat, ShortText, WorkerExit

SILENT_SECONDS = 10.0
"""How long a process may show no sign of life."""
BEHIND_SECONDS = 15.0
"""How long others may wait for a process that makes its rows, beyond `BEHIND_STEPS` steps."""
BEHIND_STEPS = 5
"""Of the longest steps so far."""
WAITING = ("step", "compiling")
"""Activities in which a process may be waiting for the others' sums."""
BUSY = ("starting", "teacher", "compiling", "evaluating", "saving")
"""Activities that may take any time."""


@dataclass
class WorkerState:
    """What is known of a process. Times are seconds on one clock."""

    heartbeat: Heartbeat | None
    """Its last."""
    heard: float
    """When that came, or when the job began."""
    used_cpu: float
    """When it last used the processor."""
    since: float
    """When it began its activity, at the step where it is."""
    gone: bool = False
    """Whether there is no such process any more."""
    halted: bool = False
    """Whether it is stopped by a signal or a debugger."""
    longest_step: float = 0.0
    """The longest time from one step to the next."""

    @property
    def activity(self) -> str:
        """Its activity, by its last heartbeat."""
        return self.heartbeat.activity if self.heartbeat else "starting"

    @property
    def step(self) -> int:
        """Steps that it had done, by its last heartbeat."""
        return self.heartbeat.step if self.heartbeat else 0

    @property
    def ended(self) -> WorkerExit | None:
        """How it ended, if it reported that."""
        return self.heartbeat.ended if self.heartbeat else None

    def last_sign_of_life(self) -> float:
        """Return when it last showed a sign of life."""
        busy = self.activity in BUSY and not self.halted
        return max(self.heard, self.used_cpu) if busy else self.heard


@message(frozen=True, config=MESSAGE)
class JobFailure:
    """How a process made the job fail."""

    rank: int
    what: ShortText
    """What happened to it, after "process N "."""
    step: int
    """Steps that it had done."""
    exit_code: int | None = None
    """Negative: by that signal; None: it did not end by itself."""
    last_lines: list[ShortText] = field(default_factory=list)
    """The end of its log."""
    ended: WorkerExit | None = None
    """What it reported itself."""


def find_failure(
    states: Mapping[int, WorkerState], now: float, timeout: float
) -> JobFailure | None:
    """Return the first process that failed, died, hangs or is behind the others, if one is.

    Args:
        states: Every process, by rank.
        now: The time, on the clock of the states.
        timeout: Seconds that processes wait for one in a `BUSY` activity.
    """
    for rank, state in states.items():
        if state.ended and state.ended.exit_code:
            what, code = f"failed: {state.ended.message}", state.ended.exit_code
            return JobFailure(rank, what, state.step, code, ended=state.ended)
    states = {rank: state for rank, state in states.items() if not state.ended}
    for rank, state in states.items():
        if state.gone:
            return JobFailure(rank, "died", state.step)
    for rank, state in states.items():
        if now - state.last_sign_of_life() > SILENT_SECONDS:
            seconds = f"{now - state.heard:.0f} seconds"
            why = "it is halted by a signal" if state.halted else "it hangs"
            what = f"showed no sign of life for {seconds}: {why}"
            return JobFailure(rank, what, state.step)
        if state.heartbeat is None and now - state.since > timeout:
            return JobFailure(rank, f"did not start in {timeout:.0f} seconds", 0)
    return _behind(states, now, timeout)


def _behind(states: Mapping[int, WorkerState], now: float, timeout: float) -> JobFailure | None:
    """Return a process that others wait for, if they have waited too long."""
    waiting = [state.since for state in states.values() if state.activity in WAITING]
    if not waiting:
        return None
    longest = max(state.longest_step for state in states.values())
    for rank, state in states.items():
        if state.activity in WAITING:
            continue
        limit = timeout if state.activity in BUSY else BEHIND_SECONDS + BEHIND_STEPS * longest
        seconds = now - max(state.since, min(waiting))
        if seconds > limit:
            what = f"made others wait for {seconds:.0f} seconds: {state.activity}"
            return JobFailure(rank, what, state.step)
    idle = now - max(state.since for state in states.values())
    if len(waiting) == len(states) and idle > max(timeout, BEHIND_STEPS * longest):
        rank = min(states, key=lambda rank: states[rank].since)
        what = f"and all others finished no step for {idle:.0f} seconds"
        return JobFailure(rank, what, states[rank].step)
    return None
