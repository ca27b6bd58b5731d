"""Heartbeats reach the launcher, and nothing else is taken for one."""

import hmac
import socket
import threading
import time

from tinybert.run.heartbeat import (
    MAX_TEXT,
    Heartbeat,
    HeartbeatListener,
    HeartbeatSender,
    WorkerExit,
    decode_heartbeat,
    encode_heartbeat,
)

TOKEN = b"t" * 32


def receive(listener, wanted, seconds=5.0):
    """Return the first heartbeat that is as wanted."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for heartbeat in listener.receive():
            if wanted(heartbeat):
                return heartbeat
        time.sleep(0.02)
    raise AssertionError("no such heartbeat")


def never():
    raise AssertionError("the launcher is there")


def test_a_process_reports_what_it_does():
    listener = HeartbeatListener()
    with HeartbeatSender(listener.port, listener.token, 3, never) as sender:
        assert receive(listener, lambda heartbeat: True).activity == "starting"
        sender.report_activity("step")
        for step in range(8):  # faster than anybody listens
            sender.on_step(step, 0.5, 1e-3, 16)
        sender.on_step(8, 0.25, 2e-3, 16)
        heartbeat = receive(listener, lambda heartbeat: heartbeat.step == 8)
        assert (heartbeat.rank, heartbeat.activity, heartbeat.loss) == (3, "step", 0.25)
        assert (heartbeat.learning_rate, heartbeat.samples) == (2e-3, 9 * 16)
        sender.end(WorkerExit(4, "InputError", "x" * 2 * MAX_TEXT, "a.toml", "mend it"))
    ended = receive(listener, lambda heartbeat: heartbeat.ended is not None).ended
    assert (ended.exit_code, ended.type, ended.where) == (4, "InputError", "a.toml")
    assert ended.message == "x" * MAX_TEXT
    listener.close()


def test_a_heartbeat_survives_its_datagram():
    ended = WorkerExit(1, "TrainingError", "caf\u00e9 \x1b[31m \udcff")
    heartbeat = Heartbeat(1, 2, "h", "saving", 3, 0.1 + 0.2, float("inf"), 4, ended)
    assert decode_heartbeat(encode_heartbeat(heartbeat, TOKEN), TOKEN) == heartbeat
    assert heartbeat.ended.message == "caf\u00e9 \\u001b[31m \\udcff"


def signed(content):
    return hmac.digest(TOKEN, content, "sha256") + content


def test_datagrams_without_the_token_are_passed_over():
    listener = HeartbeatListener()
    done = Heartbeat(0, 1, "h", "ended", 9, ended=WorkerExit(0))
    genuine = encode_heartbeat(Heartbeat(5, 1, "h"), listener.token)
    forged = encode_heartbeat(done, TOKEN)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for data in (b"", b"{}", b"\xff", forged, forged[32:], genuine[:32] + forged[32:], genuine):
        sender.sendto(data, ("127.0.0.1", listener.port))
    assert receive(listener, lambda heartbeat: True).rank == 5
    sender.close()
    listener.close()


def test_a_signed_datagram_that_is_no_heartbeat_is_passed_over():
    content = encode_heartbeat(Heartbeat(5, 1, "h"), TOKEN)[32:].decode()
    for wrong in (
        "[1]",
        '{"rank":1,"ended":{}}',
        content.replace('"rank":5', '"rank":"5"'),
        content.replace('"starting"', '"\\u001b[2J"'),
        content.replace("}", ',"more":1}'),
    ):
        assert wrong != content
        assert decode_heartbeat(signed(wrong.encode()), TOKEN) is None
    assert decode_heartbeat(signed(content.encode()), TOKEN) is not None


def test_a_process_notices_that_its_launcher_is_gone():
    listener, noticed = HeartbeatListener(), threading.Event()
    with HeartbeatSender(listener.port, listener.token, 0, noticed.set):
        listener.close()
        assert noticed.wait(10)
