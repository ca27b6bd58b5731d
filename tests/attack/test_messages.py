"""Messages of strangers, and of peers that went mad: nobody else is heard, and nothing ends."""

import random
import socket
import time
from contextlib import suppress
from multiprocessing.connection import Client

import pytest

from tests.attack.answers import patience
from tests.attack.damage import BYTES, SEED, change_json, place
from tests.launch.test_hosts import (
    FACTS,
    RUN,
    SECRET,
    FirstHost,
    connect,
    free_port,
    join,
    until,
)
from tinybert.launch import hosts
from tinybert.launch.hosts import Hello, HostStatus
from tinybert.launch.watch import JobFailure
from tinybert.run.heartbeat import Heartbeat, HeartbeatListener, WorkerExit, encode_heartbeat

pytestmark = pytest.mark.slow

DATAGRAMS, STRANGERS, STATUSES = 50, 25, 25
LARGEST = 60_000
"""Bytes of a datagram."""
DONE = Heartbeat(0, 1, "h", "ended", 9, 0.5, 1e-3, 16, WorkerExit(0, "", "all is well"))
KINDS = [kind for kind in BYTES if kind is not place]


def damaged(dice, content, *kinds):
    return dice.choice([*KINDS, *kinds])(dice, content)


def test_no_forged_datagram_is_a_heartbeat(table):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(DATAGRAMS):
        dice = random.Random(f"{SEED} datagram {number}")
        listener = HeartbeatListener()
        genuine = encode_heartbeat(DONE, listener.token)
        forged = dice.choice(
            [
                encode_heartbeat(DONE, dice.randbytes(32)),
                damaged(dice, genuine),
                genuine[:32] + damaged(dice, genuine[32:], *[change_json] * 10),
            ]
        )[:LARGEST]
        sender.sendto(forged, ("127.0.0.1", listener.port))
        sender.sendto(genuine, ("127.0.0.1", listener.port))
        with patience():
            heard = until(listener.receive)
        listener.close()
        assert heard == [DONE] or forged == genuine, (number, forged)
        table.add("datagram", "refused")
    sender.close()


def test_no_stranger_keeps_a_host_out_or_is_taken_for_one(table):
    port = free_port()
    first = FirstHost(port, timeout=60)
    hello = Hello(host=7, facts=FACTS).model_dump_json().encode()  # of 2
    framed = len(hello).to_bytes(4, "big") + hello
    for number in range(STRANGERS):
        dice = random.Random(f"{SEED} stranger {number}")
        if dice.random() < 0.5:
            with until(lambda: connect(port)) as peer, suppress(ConnectionError):
                peer.sendall(damaged(dice, framed))
        else:
            message = damaged(dice, hello, *[change_json] * 10)
            with suppress(ConnectionError), Client(("127.0.0.1", port + 1), authkey=SECRET) as peer:
                peer.send_bytes(message[: 1 << 20])
        table.add("connection", "refused")
    began = time.monotonic()
    with patience():
        second, run_id = join(port)
        met = first.result()
    assert run_id == RUN
    assert time.monotonic() - began < hosts.HELLO_SECONDS
    assert met.failure() is None
    second.close()
    met.close()


def test_a_host_that_sends_nonsense_is_lost_and_ends_nothing_in_silence(table):
    status = HostStatus(heartbeats=[Heartbeat(2, 9, "there", "step", 4, 0.5)], done=False)
    whole = status.model_dump_json().encode()
    lost = JobFailure(2, "is lost: host 1 is gone or silent", 0)
    for number in range(STATUSES):
        dice = random.Random(f"{SEED} status {number}")
        content = damaged(dice, whole, *[change_json] * 10)[: 1 << 20]
        port = free_port()
        first = FirstHost(port)
        until(lambda port=port: connect(port)).close()
        with patience(), Client(("127.0.0.1", port + 1), authkey=SECRET) as peer:
            peer.send_bytes(Hello(host=1, facts=FACTS).model_dump_json().encode())
            peer.recv_bytes()
            met = first.result()
            peer.send_bytes(content)
        heard = []
        until(lambda met=met, heard=heard: heard.extend(met.receive()) or met.failure())
        assert met.failure() == lost or b"failure" in content, (number, content)
        assert all(heartbeat.rank == 2 for heartbeat in heard), (number, content)
        table.add("status of a host", "harmless" if heard else "refused")
        met.close()
