"""Who is in trouble, by hand-made lives."""

import pytest

from tinybert.launch.watch import BEHIND_SECONDS, SILENT_SECONDS, Trouble, WorkerState, trouble
from tinybert.run.heartbeat import Heartbeat

NOW = 1000.0
PATIENCE = 600.0


def life(rank=0, activity="step", step=10, *, silent=0.0, idle=0.0, since=1.0, **facts):
    beat = None if activity is None else Heartbeat(rank, 100 + rank, "here", activity, step)
    return WorkerState(beat, NOW - silent, NOW - idle, NOW - since, **facts)


def found(*lives):
    return trouble(dict(enumerate(lives)), NOW, PATIENCE)


def test_processes_that_step_together_are_in_no_trouble():
    assert found(life(), life(1)) is None


def test_a_process_that_is_gone_died():
    assert found(life(), life(1, gone=True)) == Trouble(1, "died")


@pytest.mark.parametrize("halted", [True, False])
def test_silence_in_a_step_is_a_hang_even_if_the_processor_is_used(halted):
    why = "it is halted by a signal" if halted else "it hangs"
    answer = Trouble(1, f"showed no sign of life for 11 seconds: {why}")
    assert found(life(), life(1, silent=SILENT_SECONDS + 1, halted=halted)) == answer
    assert found(life(), life(1, silent=SILENT_SECONDS - 1, halted=halted)) is None


@pytest.mark.parametrize("activity", [None, "starting", "compiling", "evaluating", "saving"])
def test_while_the_framework_holds_the_interpreter_use_of_the_processor_is_life(activity):
    silent = {"silent": 300.0, "idle": 2.0}
    assert found(life(0, "compiling"), life(1, activity, **silent)) is None
    assert found(life(0, "compiling"), life(1, activity, silent=300.0, idle=30.0)).rank == 1


def test_a_halted_process_that_compiles_is_not_taken_for_busy():
    assert found(life(1, "compiling", silent=20.0, idle=1.0, halted=True)).rank == 0


def test_one_that_makes_its_rows_while_others_wait_is_behind():
    waiting = life(0, "step", since=40.0, longest_step=2.0)
    late = BEHIND_SECONDS + 5 * 2.0
    assert found(waiting, life(1, "rows", since=late - 1)) is None
    assert found(waiting, life(1, "rows", since=late + 1)) == Trouble(
        1, "made others wait for 26 seconds: rows"
    )


def test_a_process_that_does_not_start_is_waited_for_as_long_as_patience_says():
    assert found(life(0, None, silent=PATIENCE - 1, since=PATIENCE - 1)) is None
    late = life(0, None, silent=PATIENCE + 1, since=PATIENCE + 1)
    assert found(late) == Trouble(0, "did not start in 600 seconds")


def test_a_step_that_no_process_finishes_is_given_up_in_the_end():
    assert found(life(0, since=PATIENCE - 1), life(1, since=PATIENCE - 2)) is None
    answer = Trouble(1, "and all others finished no step for 601 seconds")
    assert found(life(0, since=PATIENCE + 1), life(1, since=PATIENCE + 2)) == answer


def test_nobody_is_behind_where_nobody_waits():
    assert found(life(0, "evaluating", since=9e3), life(1, "evaluating", since=9e3)) is None


def test_saving_may_take_as_long_as_patience_says():
    waiting = life(1, "step", since=9e3)
    assert found(life(0, "saving", since=PATIENCE - 1), waiting) is None
    assert found(life(0, "saving", since=PATIENCE + 1), waiting).rank == 0
