"""Launchers of several hosts, on the loopback of one."""

import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from multiprocessing.connection import Client

import pytest

from tinybert.errors import DeviceError, StoppedError
from tinybert.launch import hosts
from tinybert.launch.hosts import HostStatus
from tinybert.launch.msrun import Cluster
from tinybert.launch.watch import JobFailure
from tinybert.run.heartbeat import Heartbeat, WorkerExit

FACTS = {"recipe": "a1", "program": "b2"}
SECRET = b"0123456789abcdef"
RUN = "20250101T000000Z-abc123"


def cluster(port, host_rank=0, count=2, timeout=10):
    return Cluster(count, 2, host_rank, "127.0.0.1", port, timeout, False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1] - 1


def go():
    return None


def gather(port, facts=FACTS, stop=go, **options):
    return hosts.gather(cluster(port, **options), SECRET, facts, RUN, stop=stop)


def join(port, facts=FACTS, secret=SECRET, stop=go, **options):
    return hosts.join(cluster(port, 1, **options), secret, facts, stop=stop)


class FirstHost:
    """A first host that gathers in a thread; `result` is what it got, or its error."""

    def __init__(self, port, **options):
        self._thread = threading.Thread(target=self._run, args=(port, options))
        self._thread.start()

    def _run(self, port, options):
        try:
            self._result = gather(port, **options)
        except (DeviceError, StoppedError) as error:
            self._result = error

    def result(self):
        self._thread.join()
        return self._result


@pytest.fixture
def meet():
    """Return what both hosts got; connections are closed at the end."""
    with ExitStack() as stack:

        def pair(other=FACTS):
            port = free_port()
            first = FirstHost(port)
            try:
                second, run_id = join(port, other)
                assert run_id == RUN
                stack.callback(first.result().close)
                stack.callback(second.close)
            except DeviceError as error:
                second = error
            return first.result(), second

        yield pair


def until(condition):
    end = time.monotonic() + 5
    while not (answer := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return answer


def receive_until(peer, condition):
    """Return the heartbeats that come until a condition holds."""
    heartbeats = []
    until(lambda: heartbeats.extend(peer.receive()) or condition(heartbeats))
    return heartbeats


def test_the_first_host_hears_of_all_processes(meet):
    first, second = meet()
    assert (first.first, second.first) == (True, False)
    heartbeat = Heartbeat(2, 9, "there", "step", 4, loss=float("nan"))
    second.report([heartbeat, Heartbeat(0, 9, "there")])  # the second is not of this host
    (received,) = receive_until(first, bool)
    assert repr(received) == repr(heartbeat)
    first.report([Heartbeat(0, 8, "here")])
    first.send(HostStatus(done=True))
    first.close()
    time.sleep(0.1)
    assert second.receive() == []
    assert second.failure() is None


def test_a_stop_reaches_the_other_host_either_way(meet):
    first, second = meet()
    second.send(HostStatus(stop=15))
    receive_until(first, lambda _: first.stop == 15)
    first.send(HostStatus(stop=2))
    receive_until(second, lambda _: second.stop == 2)


def test_how_the_job_failed_is_sent_whole(meet):
    first, second = meet()
    failure = JobFailure(
        3, "was killed by SIGKILL", 7, -9, ["last"], WorkerExit(1, "TrainingError", "m")
    )
    second.send(HostStatus(failure=failure))
    second.close()
    receive_until(first, lambda _: first.failure())
    assert first.failure() == failure


def test_a_launcher_that_is_gone_is_a_failure_unless_it_was_done(meet):
    lost = JobFailure(2, "is lost: host 1 is gone or silent", 0)
    first, second = meet()
    second.close()
    receive_until(first, lambda _: first.failure() == lost)
    first, second = meet()
    second.send(HostStatus(done=True))
    second.close()
    for _ in range(10):
        first.receive()
        time.sleep(0.02)
    assert first.failure() is None


def test_no_other_hosts_do_nothing():
    nobody = hosts.OtherHosts(cluster(1, count=1))
    nobody.report([Heartbeat(0, 8, "here")])
    nobody.send(HostStatus(stop=2))
    assert (nobody.first, nobody.receive(), nobody.stop) == (True, [], None)
    assert nobody.failure() is None
    nobody.close()


def test_a_host_with_another_program_is_refused_on_both_sides(meet):
    errors = meet(other={"recipe": "a1", "program": "c3"})
    for error in errors:
        assert str(error) == (
            "the hosts do not start:\n"
            "  - host 1 has another program: c3, host 0 has b2\n"
            "help: let every host run the same command on the same recipe, program and packages"
        )


def test_a_host_that_does_not_come_is_named():
    with pytest.raises(DeviceError, match=r"no word from host 1, 2 in 1 seconds"):
        gather(free_port(), count=3, timeout=1)


def test_a_wrong_port_is_said_with_the_place():
    port = free_port()
    with pytest.raises(DeviceError) as caught:
        join(port, timeout=1)
    message = f"cannot reach the first host at 127.0.0.1:{port + 1}: connection refused"
    assert caught.value.message == message


def test_a_host_with_another_secret_is_refused_at_once():
    port = free_port()
    first = FirstHost(port, timeout=3)
    until(lambda: connect(port)).close()
    began = time.monotonic()
    with pytest.raises(DeviceError, match="it has another TINYBERT_JOB_SECRET"):
        join(port, secret=b"f" * 16)
    assert time.monotonic() - began < 2
    assert "no word from host 1" in str(first.result())


def test_a_first_host_with_another_secret_is_told_nothing():
    """Whoever took the port of the first host gets no facts of the job."""
    port, received = free_port(), []
    with socket.create_server(("127.0.0.1", port + 1)) as server:

        def impostor():
            with server.accept()[0] as peer:
                peer.sendall(struct.pack("!i", 31) + b"#CHALLENGE#" + bytes(20))
                received.append(peer.recv(1 << 16))
                peer.sendall(struct.pack("!i", 9) + b"#WELCOME#")
                peer.sendall(struct.pack("!i", 16) + bytes(16))
                received.append(peer.recv(1 << 16))

        thread = threading.Thread(target=impostor)
        thread.start()
        with pytest.raises(DeviceError, match="it has another TINYBERT_JOB_SECRET"):
            join(port)
        thread.join()
    assert all(b"recipe" not in data for data in received)


def connect(port):
    try:
        return socket.create_connection(("127.0.0.1", port + 1), timeout=5)
    except ConnectionRefusedError:
        return None


WITHOUT_SECRET = {
    "nothing": b"",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "a long frame": struct.pack("!i", 1 << 30) + bytes(1 << 16),
    "a negative frame": struct.pack("!i", -7),
    "a hello": struct.pack("!i", 24) + b'{"host": 1, "facts": {}}',
}
WITH_SECRET = {
    "no JSON": [b"\xff"],
    "deep JSON": [b"[" * (1 << 19)],
    "a long message": [bytes(hosts.MAX_BYTES + 1)],
    "another number": [b'{"host": 7, "facts": {}}'],
    "a text for a number": [b'{"host": "1", "facts": {}}'],
    "more than asked": [b'{"host": 1, "facts": {}, "more": 1}'],
    "a flood": [b'{"host": 7, "facts": {}}'] * 1000,
}


@pytest.mark.parametrize("sent", [*WITHOUT_SECRET, *WITH_SECRET])
def test_strangers_do_not_count_as_hosts(sent):
    port = free_port()
    first = FirstHost(port)
    with until(lambda: connect(port)) as peer, suppress(ConnectionError):
        peer.sendall(WITHOUT_SECRET.get(sent, b""))
    if sent in WITH_SECRET:
        with Client(("127.0.0.1", port + 1), authkey=SECRET) as peer, suppress(ConnectionError):
            for message in WITH_SECRET[sent]:
                peer.send_bytes(message)
            peer.poll(hosts.HELLO_SECONDS)  # until it is refused
    second, _ = join(port)
    assert first.result().first
    second.close()
    first.result().close()


def test_silent_peers_keep_no_host_waiting():
    port = free_port()
    first = FirstHost(port)
    until(lambda: connect(port)).close()
    with ExitStack() as stack:
        for _ in range(3 * hosts.MAX_PENDING):
            stack.enter_context(connect(port))
        began = time.monotonic()
        second, _ = join(port)
        assert time.monotonic() - began < hosts.HELLO_SECONDS
        assert threading.active_count() < 2 * hosts.MAX_PENDING
    assert first.result().first
    second.close()
    first.result().close()


def test_a_peer_that_trickles_is_dropped_in_time():
    port = free_port()
    dropped = threading.Event()
    first = FirstHost(port, timeout=60, stop=lambda: 15 if dropped.is_set() else None)
    with until(lambda: connect(port)) as peer:
        began = time.monotonic()
        peer.sendall(struct.pack("!i", 200))
        try:
            while time.monotonic() - began < 3 * hosts.HELLO_SECONDS:
                peer.sendall(b"x")
                time.sleep(0.2)
        except ConnectionError:
            pass
        seconds = time.monotonic() - began
    dropped.set()
    assert seconds < hosts.HELLO_SECONDS + 2
    first.result()


def test_waiting_for_hosts_can_be_stopped():
    with pytest.raises(StoppedError) as caught:
        gather(free_port(), stop=lambda: 2)
    assert caught.value.exit_code == 130
    with pytest.raises(StoppedError):
        join(free_port(), stop=lambda: 15)
