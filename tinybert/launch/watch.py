"""Which process of a job is in trouble: dead, hung, or behind the others.

A process that lives says so twice a second, from a thread of its own. While the framework compiles
it may hold the interpreter for long, so then using the processor counts as living too. Processes
that wait for each other's sums are all in the same step; the one that is not computing it is
behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinybert.run.heartbeat import Heartbeat, WorkerExit

SILENT_SECONDS = 10.0
"""How long a process may show no sign of life."""
BEHIND_SECONDS = 15.0
"""How long others may wait for a process that makes its rows, beyond a few of their steps."""
BEHIND_STEPS = 5
"""That few."""
WAITING = ("step", "compiling")
"""Activities in which a process may be waiting for the others' sums."""
BUSY = ("starting", "compiling", "evaluating", "saving")
"""Activities of which nobody knows how long they take."""


@dataclass
class WorkerState:
    """What is known of a process. Times are seconds on one clock."""

    beat: Heartbeat | None
    """Its last."""
    heard: float
    """When that came, or when the job began."""
    moved: float
    """When it last used the processor."""
    since: float
    """When it began what it is doing, at the step where it is."""
    gone: bool = False
    """Whether there is no such process any more."""
    halted: bool = False
    """Whether it is stopped by a signal or a debugger."""
    longest_step: float = 0.0
    """The longest it took from one step to the next."""


@dataclass(frozen=True)
class Trouble:
    """The process that ends the job, and why."""

    rank: int
    what: str


@dataclass(frozen=True)
class JobFailure:
    """How a process brought the job down."""

    rank: int
    what: str
    """What happened to it, after "process N "."""
    step: int
    """Steps that it had done."""
    exit_code: int | None = None
    """Negative: by that signal; None: it did not end by itself."""
    last_lines: list[str] = field(default_factory=list)
    """The end of its log."""
    ended: WorkerExit | None = None
    """What it said itself."""


def trouble(lives: Mapping[int, WorkerState], now: float, patience: float) -> Trouble | None:
    """Return the first process that is in trouble.

    Args:
        lives: Every process of this host that has not ended well, by rank.
        now: The time.
        patience: Seconds that processes wait for one that starts, compiles, evaluates or saves.
    """
    for rank, life in lives.items():
        if life.gone:
            return Trouble(rank, "died")
    for rank, life in lives.items():
        if now - max(life.heard, _moved(life)) > SILENT_SECONDS:
            seconds = f"{now - life.heard:.0f} seconds"
            why = "it is halted by a signal" if life.halted else "it hangs"
            return Trouble(rank, f"showed no sign of life for {seconds}: {why}")
        if life.beat is None and now - life.since > patience:
            return Trouble(rank, f"did not start in {patience:.0f} seconds")
    return _behind(lives, now, patience)


def _moved(life: WorkerState) -> float:
    """Return when use of the processor last counted as a sign of life."""
    busy = life.beat is None or life.beat.activity in BUSY
    return life.moved if busy and not life.halted else 0.0


def _behind(lives: Mapping[int, WorkerState], now: float, patience: float) -> Trouble | None:
    """Return a process that others wait for, if they have waited too long."""
    doing = {r: life.beat.activity if life.beat else "starting" for r, life in lives.items()}
    waiting = [lives[rank].since for rank in lives if doing[rank] in WAITING]
    if not waiting:
        return None
    longest = max(life.longest_step for life in lives.values())
    for rank, life in lives.items():
        if doing[rank] in WAITING:
            continue
        limit = patience if doing[rank] in BUSY else BEHIND_SECONDS + BEHIND_STEPS * longest
        seconds = now - max(life.since, min(waiting))
        if seconds > limit:
            return Trouble(rank, f"made others wait for {seconds:.0f} seconds: {doing[rank]}")
    still = now - max(life.since for life in lives.values())
    if len(waiting) == len(lives) and still > max(patience, BEHIND_STEPS * longest):
        rank = min(lives, key=lambda rank: lives[rank].since)
        return Trouble(rank, f"and all others finished no step for {still:.0f} seconds")
    return None
