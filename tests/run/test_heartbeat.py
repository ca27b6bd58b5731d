"""Signs of life reach the launcher, and nothing else is taken for one."""

import socket
import threading
import time

from tinybert.run.heartbeat import (
    LONGEST,
    Heartbeat,
    HeartbeatListener,
    HeartbeatSender,
    WorkerExit,
    decode_heartbeat,
)


def hear(listener, wanted, seconds=5.0):
    """Return the first beat that is as wanted."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for beat in listener.heard():
            if wanted(beat):
                return beat
        time.sleep(0.02)
    raise AssertionError("no such beat")


def never():
    raise AssertionError("the launcher is there")


def test_a_process_tells_what_it_does():
    listener = HeartbeatListener()
    with HeartbeatSender(listener.port, 3, never) as heart:
        assert hear(listener, lambda beat: True).activity == "starting"
        heart.report_activity("step")
        for step in range(8):  # faster than anybody listens
            heart.on_step(step, 0.5, 1e-3, 16)
        heart.on_step(8, 0.25, 2e-3, 16)
        beat = hear(listener, lambda beat: beat.step == 8)
        assert (beat.rank, beat.activity, beat.loss) == (3, "step", 0.25)
        assert (beat.learning_rate, beat.samples) == (2e-3, 9 * 16)
        heart.end(WorkerExit(4, "InputError", "x" * 2 * LONGEST, "a.toml", "mend it"))
    word = hear(listener, lambda beat: beat.ended is not None).ended
    assert (word.exit_code, word.type, word.where) == (4, "InputError", "a.toml")
    assert word.message == "x" * LONGEST
    listener.close()


def test_a_beat_survives_its_datagram():
    beat = Heartbeat(
        1, 2, "h", "saving", 3, 0.1 + 0.2, 1e-5, 4, WorkerExit(1, "TrainingError", "so")
    )
    assert decode_heartbeat(beat.encode()) == beat


def test_other_datagrams_are_passed_over():
    listener = HeartbeatListener()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for data in (
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"rank":1,"ended":{}}',
        Heartbeat(5, 1, "h").encode(),
    ):
        sender.sendto(data, ("127.0.0.1", listener.port))
    assert hear(listener, lambda beat: True).rank == 5
    sender.close()
    listener.close()


def test_a_process_notices_that_its_launcher_is_gone():
    listener, noticed = HeartbeatListener(), threading.Event()
    with HeartbeatSender(listener.port, 0, noticed.set):
        listener.close()
        assert noticed.wait(10)
