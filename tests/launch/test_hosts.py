"""Launchers of several hosts, on the loopback of one."""

import socket
import threading
import time

import pytest

from tinybert.errors import DeviceError, StoppedError
from tinybert.launch import hosts
from tinybert.launch.msrun import Cluster
from tinybert.launch.watch import JobFailure
from tinybert.run.heartbeat import Heartbeat, WorkerExit

FACTS = {"recipe": "a1", "program": "b2"}


def cluster(port, host_rank=0, count=2, timeout=10):
    return Cluster(count, 2, host_rank, "127.0.0.1", port, timeout, False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1] - 1


def go():
    return None


@pytest.fixture
def meet():
    """Return both hosts' links, or the errors that they got; links are closed at the end."""
    made = []

    def pair(facts=FACTS, other=FACTS):
        made.extend(both := _meet(facts, other))
        return both

    yield pair
    for peers in made:
        if not isinstance(peers, DeviceError):
            peers.close()


def _meet(facts, other):
    port, found = free_port(), {}

    def first():
        try:
            found[0] = hosts.gather(cluster(port), facts, {"run_id": "r"}, stop=go)
        except DeviceError as error:
            found[0] = error

    thread = threading.Thread(target=first)
    thread.start()
    try:
        found[1], told = hosts.join(cluster(port, 1), other, stop=go)
        assert told == {"run_id": "r"}
    except DeviceError as error:
        found[1] = error
    thread.join()
    return found[0], found[1]


def until(condition):
    end = time.monotonic() + 5
    while not (answer := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return answer


def test_the_first_host_hears_of_all_processes(meet):
    first, second = meet()
    assert (first.first, second.first) == (True, False)
    beat = Heartbeat(2, 9, "there", "step", 4)
    second.tell([beat])
    assert until(lambda: list(first.beats())) == [beat]
    first.tell([Heartbeat(0, 8, "here")])
    assert list(second.beats()) == []


def test_a_stop_reaches_the_other_host_either_way(meet):
    first, second = meet()
    second.ask(15)
    until(lambda: list(first.beats()) or first.stop())
    assert first.stop() == 15
    first, second = meet()
    first.ask(2)
    until(lambda: list(second.beats()) or second.stop())
    assert second.stop() == 2


def test_how_the_job_fell_is_told_whole(meet):
    first, second = meet()
    fall = JobFailure(
        3, "was killed by SIGKILL", 7, -9, ["last"], WorkerExit(1, "TrainingError", "m")
    )
    second.fell(fall)
    until(lambda: list(first.beats()) or first.fall())
    assert first.fall() == fall


def test_a_launcher_that_is_gone_is_a_fall_unless_it_said_goodbye(meet):
    first, second = meet()
    second.close()
    until(lambda: list(first.beats()) or first.fall())
    assert first.fall() == JobFailure(2, "is lost: host 1 is gone or silent", 0)
    first, second = meet()
    second.leave()
    second.close()
    for _ in range(10):
        list(first.beats())
        time.sleep(0.02)
    assert first.fall() is None


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
        hosts.gather(cluster(free_port(), count=3, timeout=1), FACTS, {}, stop=go)


def test_a_wrong_port_is_said_with_the_place():
    port = free_port()
    with pytest.raises(DeviceError) as caught:
        hosts.join(cluster(port, 1, timeout=1), FACTS, stop=go)
    message = f"cannot reach the first host at 127.0.0.1:{port + 1}: connection refused"
    assert caught.value.message == message


def test_strangers_do_not_count_as_hosts():
    port, found = free_port(), {}

    def first():
        found[0] = hosts.gather(cluster(port), FACTS, {"run_id": "r"}, stop=go)

    thread = threading.Thread(target=first)
    thread.start()
    for data in (b"GET / HTTP/1.1\r\n\r\n", b'{"host": 7}\n', b'{"host": "1"}\n', b""):
        with until(lambda: _connect(port + 1)) as stranger:
            stranger.sendall(data)
    second, _ = hosts.join(cluster(port, 1), FACTS, stop=go)
    thread.join()
    assert found[0].first
    second.close()
    found[0].close()


def _connect(port):
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=5)
    except ConnectionRefusedError:
        return None


def test_waiting_for_hosts_can_be_stopped():
    with pytest.raises(StoppedError) as caught:
        hosts.gather(cluster(free_port()), FACTS, {}, stop=lambda: 2)
    assert caught.value.exit_code == 130
    with pytest.raises(StoppedError):
        hosts.join(cluster(free_port(), 1), FACTS, stop=lambda: 15)
