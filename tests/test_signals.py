"""Signals: noted during a training, raised outside of it, and never waited for."""

import os
import signal
import subprocess
import sys
import time

import pytest
import structlog

from tests.conftest import ROOT
from tinybert.errors import StoppedError
from tinybert.signals import StopRequest


class Interrupted:
    """A stream whose first line of the log is interrupted while it holds the log's lock."""

    def __init__(self, signum):
        self.signum, self.lines = signum, []

    def write(self, text):
        self.lines.append(text)
        if len(self.lines) == 1:
            os.kill(os.getpid(), self.signum)

    def flush(self):
        pass


def out_of_time(signum, frame):
    raise TimeoutError("the handler waits for the line that it interrupted")


@pytest.fixture
def time_limit():
    """Fail instead of hanging, and leave the log as it was."""
    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    structlog.reset_defaults()


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_line_of_the_log_does_not_wait_for_itself(time_limit, signum):
    stream = Interrupted(signum)
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=stream))
    with StopRequest() as stop, stop.waiting():
        structlog.get_logger().info("step")
        until(lambda: stop.signum == signum)
        assert len(stream.lines) == 1
        assert stop.requested()
        assert stop.requested()
    assert "stopping after this step" in stream.lines[1]
    assert len(stream.lines) == 2


def test_a_signal_outside_of_a_training_raises():
    with StopRequest(), pytest.raises(StoppedError, match="stopped by SIGINT"):
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: False)


@pytest.mark.parametrize("how", ["cause", "context"])
def test_a_stop_that_a_library_answers_by_another_error_is_a_stop(how):
    with pytest.raises(StoppedError, match="SIGTERM") as stopped, StopRequest():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except StoppedError as error:
            if how == "cause":
                raise RuntimeError("error calling __set_name__") from error
            raise ImportError("cannot import name")  # noqa: B904
    assert stopped.value.exit_code == 143


def test_an_error_that_is_no_stop_stays_itself():
    with pytest.raises(ZeroDivisionError), StopRequest():
        raise ZeroDivisionError


def test_a_noted_signal_raises_where_it_is_asked_for():
    with StopRequest() as stop:
        stop.check()
        with stop.waiting():
            os.kill(os.getpid(), signal.SIGTERM)
            until(lambda: stop.signum == signal.SIGTERM)
        with pytest.raises(StoppedError, match="stopped by SIGTERM") as caught:
            stop.check()
    assert caught.value.exit_code == 143


SECOND = """
import os, signal, sys, time
from tinybert.signals import StopRequest, hold_signals

hold_signals()
with StopRequest() as stop, stop.waiting():
    for pause in map(float, sys.argv[1:]):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(pause)
print("went on")
"""


@pytest.mark.parametrize(
    ("pauses", "code", "out", "err"),
    [
        (("1.5", "9"), 143, "", "error: stopped at once, by a second signal\n"),
        (("0.2", "0.2"), 0, "went on\n", ""),  # as `timeout` sends them
    ],
)
def test_a_second_signal_ends_a_process_whatever_it_does(pauses, code, out, err):
    command = [sys.executable, "-c", SECOND, *pauses]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


OVERWRITTEN = """
import os, signal, time
from tinybert.signals import StopRequest, hold_signals

hold_signals()
import numpy  # starts threads

heard = []
with StopRequest() as stop, stop.waiting():
    signal.signal(signal.SIGINT, lambda *_: heard.append("the framework"))
    os.kill(os.getpid(), signal.SIGINT)
    end = time.monotonic() + 10
    while not stop.requested() and time.monotonic() < end:
        time.sleep(0.01)
print(stop.signum, heard)
"""


def test_a_handler_that_the_framework_puts_over_ours_does_not_hear():
    command = [sys.executable, "-c", OVERWRITTEN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{signal.SIGINT.value} []"


def test_the_signals_are_as_before_at_the_end():
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with StopRequest():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGINT, signal.SIGTERM}
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked


def test_a_process_of_a_job_takes_a_signal_twice():
    with StopRequest(ignore_repeats=True) as stop, stop.waiting():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)
        assert stop.requested()
