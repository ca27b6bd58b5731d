"""Which process makes a job fail, by hand-made states."""

import pytest

from tinybert.launch.watch import (
    BEHIND_SECONDS,
    SILENT_SECONDS,
    JobFailure,
    WorkerState,
    find_failure,
)
from tinybert.run.heartbeat import Heartbeat

NOW = 1000.0
TIMEOUT = 600.0


def state(rank=0, activity="step", step=10, *, silent=0.0, idle=0.0, since=1.0, **facts):
    heartbeat = None if activity is None else Heartbeat(rank, 100 + rank, "here", activity, step)
    return WorkerState(heartbeat, NOW - silent, NOW - idle, NOW - since, **facts)


def failure(*states):
    return find_failure(dict(enumerate(states)), NOW, TIMEOUT)


def test_processes_that_step_together_are_no_failure():
    assert failure(state(), state(1)) is None


def test_a_process_that_is_gone_died():
    assert failure(state(), state(1, gone=True)) == JobFailure(1, "died", 10)


@pytest.mark.parametrize("halted", [True, False])
def test_silence_in_a_step_is_a_hang_even_if_the_processor_is_used(halted):
    why = "it is halted by a signal" if halted else "it hangs"
    answer = JobFailure(1, f"showed no sign of life for 11 seconds: {why}", 10)
    assert failure(state(), state(1, silent=SILENT_SECONDS + 1, halted=halted)) == answer
    assert failure(state(), state(1, silent=SILENT_SECONDS - 1, halted=halted)) is None


@pytest.mark.parametrize("activity", [None, "starting", "compiling", "evaluating", "saving"])
def test_while_the_framework_holds_the_interpreter_use_of_the_processor_is_life(activity):
    silent = {"silent": 300.0, "idle": 2.0}
    assert failure(state(0, "compiling"), state(1, activity, **silent)) is None
    assert failure(state(0, "compiling"), state(1, activity, silent=300.0, idle=30.0)).rank == 1


def test_a_halted_process_that_compiles_is_not_taken_for_busy():
    assert failure(state(1, "compiling", silent=20.0, idle=1.0, halted=True)).rank == 0


def test_one_that_makes_its_rows_while_others_wait_is_behind():
    waiting = state(0, "step", since=40.0, longest_step=2.0)
    late = BEHIND_SECONDS + 5 * 2.0
    assert failure(waiting, state(1, "rows", since=late - 1)) is None
    assert failure(waiting, state(1, "rows", since=late + 1)) == JobFailure(
        1, "made others wait for 26 seconds: rows", 10
    )


def test_a_process_that_does_not_start_is_waited_for_until_the_timeout():
    assert failure(state(0, None, silent=TIMEOUT - 1, since=TIMEOUT - 1)) is None
    late = state(0, None, silent=TIMEOUT + 1, since=TIMEOUT + 1)
    assert failure(late) == JobFailure(0, "did not start in 600 seconds", 0)


def test_a_step_that_no_process_finishes_is_given_up_in_the_end():
    assert failure(state(0, since=TIMEOUT - 1), state(1, since=TIMEOUT - 2)) is None
    answer = JobFailure(1, "and all others finished no step for 601 seconds", 10)
    assert failure(state(0, since=TIMEOUT + 1), state(1, since=TIMEOUT + 2)) == answer


def test_nobody_is_behind_where_nobody_waits():
    assert failure(state(0, "evaluating", since=9e3), state(1, "evaluating", since=9e3)) is None


def test_saving_may_take_until_the_timeout():
    waiting = state(1, "step", since=9e3)
    assert failure(state(0, "saving", since=TIMEOUT - 1), waiting) is None
    assert failure(state(0, "saving", since=TIMEOUT + 1), waiting).rank == 0
