"""The launchers of several hosts: JSON messages over authenticated TCP connections.

The first host listens on the port after the processes' own. Every other host connects, proves that
it has the job's secret, sends what it would run, and receives the order to start, or why not. From
then on each side sends what its processes do, a request to stop, and how the job failed; a host
that falls silent is lost. Framing and proof are those of `multiprocessing.connection`.
"""

import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Annotated, TypeVar

import structlog
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from tinybert.errors import DeviceError, StoppedError, bulleted
from tinybert.launch.msrun import PAUSE, Cluster
from tinybert.launch.watch import SILENT_SECONDS, JobFailure
from tinybert.run.heartbeat import MESSAGE, Heartbeat, ShortText

log = structlog.get_logger()

SECRET = "TINYBERT_JOB_SECRET"
"""Environment variable with what proves that a host belongs to the job."""
OTHER_SECRET = f"it has another {SECRET}"
HELLO_SECONDS = 5.0
"""How long a peer may take to prove that it belongs to the job, and to send its first message."""
MAX_PENDING = 64
"""Peers that may do so at one time; of more, the first that came is dropped."""
MAX_BYTES = 1 << 20
"""Of one message."""
MAX_QUEUED = 64
"""Messages of one peer that may wait to be taken."""

StopCheck = Callable[[], int | None]
"""Returns the signal by which the user asked to stop, if any."""
AnyMessage = TypeVar("AnyMessage", bound="HostMessage")


def take_secret() -> bytes:
    """Return the job's secret, and remove it from the environment that processes inherit.

    It is empty where none is set: a job of one host needs none.
    """
    return os.environ.pop(SECRET, "").encode()


class HostMessage(BaseModel):
    """What launchers send each other."""

    model_config = MESSAGE


class Hello(HostMessage):
    """The first message of a host that is not the first."""

    host: int
    facts: dict[str, ShortText]
    """What must be the same on every host, by name."""


class Answer(HostMessage):
    """The first host's answer: start this run, or the reasons not to."""

    run_id: Annotated[str, StringConstraints(pattern="^[0-9A-Za-z-]{1,64}$")]
    refused: list[ShortText]


class HostStatus(HostMessage):
    """What happens on a host."""

    heartbeats: list[Heartbeat] = []
    stop: Annotated[int, Field(ge=1, le=15)] | None = None
    """The signal by which the user asked to stop there."""
    failure: JobFailure | None = None
    """How the job failed there."""
    done: bool = False
    """Whether the processes there ended well."""


class Link:
    """A connection to another host's launcher, authenticated and read by a thread of its own.

    Args:
        connected: The connection.
        secret: The job's.
        hello: The first message of the side that connected; None on the side that listened.
    """

    def __init__(
        self, connected: socket.socket, secret: bytes, hello: HostMessage | None = None
    ) -> None:
        connected.setblocking(True)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit = struct.pack("ll", int(SILENT_SECONDS), 0)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self.heard = time.monotonic()
        """When its last message came; first, when it was made."""
        self.problem = "no answer"
        """Why it is closed."""
        self._closed = False
        self._socket = connected
        self._connection = Connection(os.dup(connected.fileno()))
        self._received: queue.Queue[bytes] = queue.Queue(MAX_QUEUED)
        self._thread = threading.Thread(target=self._read, args=(secret, hello), daemon=True)
        self._thread.start()

    def _read(self, secret: bytes, hello: HostMessage | None) -> None:
        try:
            if hello is None:
                deliver_challenge(self._connection, secret)
                answer_challenge(self._connection, secret)
            else:
                answer_challenge(self._connection, secret)
                deliver_challenge(self._connection, secret)
                self.send(hello)
            while True:
                self._received.put_nowait(self._connection.recv_bytes(MAX_BYTES))
                self.heard = time.monotonic()
        except AuthenticationError:
            self.problem = OTHER_SECRET
        except (AssertionError, EOFError, OSError, queue.Full):
            self.problem = "it closed the connection, or is no launcher"
        self._closed = True

    def send(self, message: HostMessage) -> None:
        """Send a message; a link that cannot take it is closed."""
        try:
            self._connection.send_bytes(message.model_dump_json().encode())
        except OSError:
            self._closed = True

    def take(self, kind: type[AnyMessage]) -> AnyMessage | None:
        """Return the next message that came, if any; one of another kind closes the link."""
        try:
            return kind.model_validate_json(self._received.get_nowait())
        except queue.Empty:
            return None
        except ValidationError:
            self.problem, self._closed = "it sent another message than expected", True
            return None

    @property
    def closed(self) -> bool:
        """Whether no message will come any more."""
        return self._closed and self._received.empty()

    def lost(self, seconds: float = SILENT_SECONDS) -> bool:
        """Return whether the other side is gone, or silent for so long."""
        return self.closed or time.monotonic() - self.heard > seconds

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the thread
        self._thread.join()
        self._connection.close()
        self._socket.close()


class OtherHosts:
    """The other hosts of a job; a job of one host has none.

    Args:
        cluster: The processes of the job.
        links: Their links by host: on the first host to all others, on these to the first.
    """

    def __init__(self, cluster: Cluster, links: Mapping[int, Link] | None = None) -> None:
        self.first = cluster.host_rank == 0
        """Whether this is the first host, which hears of all processes."""
        self.stop: int | None = None
        """The signal by which the user asked another host to stop."""
        self._per_host = cluster.per_host
        self._links = links or {}
        self._failure: JobFailure | None = None
        self._done: set[int] = set()

    def receive(self) -> list[Heartbeat]:
        """Take what the other hosts sent; return the heartbeats of their processes."""
        heartbeats: list[Heartbeat] = []
        for host, link in self._links.items():
            while status := link.take(HostStatus):
                heartbeats += [h for h in status.heartbeats if h.rank // self._per_host == host]
                self.stop = status.stop or self.stop
                self._failure = status.failure or self._failure
                if status.done:
                    self._done.add(host)
        return heartbeats

    def report(self, heartbeats: Iterable[Heartbeat]) -> None:
        """Send the first host what this host's processes do; the others, that this one lives."""
        self.send(HostStatus(heartbeats=[] if self.first else list(heartbeats)))

    def send(self, status: HostStatus) -> None:
        """Send all other hosts what happens here."""
        for link in self._links.values():
            if not link.closed:
                link.send(status)

    def failure(self) -> JobFailure | None:
        """Return how another host made the job fail; a lost host does that too."""
        if self._failure is not None:
            return self._failure
        for host, link in self._links.items():
            if host not in self._done and link.lost():
                what = f"is lost: host {host} is gone or silent"
                return JobFailure(host * self._per_host, what, 0)
        return None

    def close(self) -> None:
        """Close all connections."""
        for link in self._links.values():
            link.close()


def gather(
    cluster: Cluster, secret: bytes, facts: Mapping[str, str], run_id: str, *, stop: StopCheck
) -> OtherHosts:
    """Wait on the first host for all others, compare their facts with its own, and start them.

    Args:
        cluster: The processes of the job.
        secret: The job's.
        facts: What must be the same on every host, by name.
        run_id: The run.
        stop: Whether the user asked to stop waiting.

    Raises:
        DeviceError: A host did not come in time, or has other facts.
        StoppedError: The user stopped the run.
    """
    with socket.create_server((cluster.address, cluster.port + 1)) as server:
        server.settimeout(PAUSE)
        log.info("waiting for hosts", hosts=cluster.hosts - 1, port=cluster.port + 1)
        links, hellos = _welcome(server, cluster, secret, stop)
    problems = [text for host in sorted(links) for text in _differences(facts, hellos[host])]
    if missing := [str(host) for host in range(1, cluster.hosts) if host not in links]:
        problems.append(f"no word from host {', '.join(missing)} in {cluster.timeout} seconds")
    for link in links.values():
        link.heard = time.monotonic()  # it may have waited for the others
        link.send(Answer(run_id=run_id, refused=problems))
    hosts = OtherHosts(cluster, links)
    if problems:
        hosts.close()
        _check_stop(stop)
        raise _refused(problems)
    return hosts


def _welcome(
    server: socket.socket, cluster: Cluster, secret: bytes, stop: StopCheck
) -> tuple[dict[int, Link], dict[int, Hello]]:
    """Return the links and first messages of the hosts that come in time, by host."""
    links: dict[int, Link] = {}
    hellos: dict[int, Hello] = {}
    pending: dict[Link, str] = {}
    until = time.monotonic() + cluster.timeout
    while len(links) < cluster.hosts - 1 and time.monotonic() < until and stop() is None:
        with suppress(OSError):
            connected, address = server.accept()
            pending[Link(connected, secret)] = address[0]
        links = {host: link for host, link in links.items() if not link.closed}
        for link in list(pending):
            hello = link.take(Hello)
            if hello and 0 < hello.host < cluster.hosts and hello.host not in links:
                links[hello.host], hellos[hello.host] = link, hello
                del pending[link]
            elif hello or link.lost(HELLO_SECONDS) or len(pending) > MAX_PENDING:
                reason = f"host {hello.host} is not missing" if hello else link.problem
                log.warning("refused a connection", address=pending.pop(link), reason=reason)
                link.close()
    for link in pending:
        link.close()
    return links, hellos


def join(
    cluster: Cluster, secret: bytes, facts: Mapping[str, str], *, stop: StopCheck
) -> tuple[OtherHosts, str]:
    """Connect to the first host, send what this one would run, and wait for its answer.

    The arguments are those of `gather`.

    Returns:
        The first host, and the run's id.

    Raises:
        DeviceError: The first host cannot be reached, or refuses.
        StoppedError: The user stopped the run.
    """
    until, address = time.monotonic() + cluster.timeout, (cluster.address, cluster.port + 1)
    hello = Hello(host=cluster.host_rank, facts=dict(facts))
    log.info("looking for the first host", address=f"{address[0]}:{address[1]}")
    reason = "no answer"
    while time.monotonic() < until and stop() is None and reason != OTHER_SECRET:
        try:
            link = Link(socket.create_connection(address, timeout=1.0), secret, hello)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            time.sleep(PAUSE)
            continue
        answer = None
        while not (answer or link.closed) and time.monotonic() < until and stop() is None:
            time.sleep(PAUSE / 10)
            answer = link.take(Answer)
        if answer and not answer.refused:
            return OtherHosts(cluster, {0: link}), answer.run_id
        link.close()
        if answer:
            raise _refused(answer.refused)
        reason = link.problem
        time.sleep(PAUSE)
    _check_stop(stop)
    raise DeviceError(
        f"cannot reach the first host at {address[0]}:{address[1]}: {reason}",
        cure="start the same command there without --host-rank; see master_address, master_port, "
        f"{SECRET} and the network between the hosts",
    )


def _check_stop(stop: StopCheck) -> None:
    if signum := stop():
        raise StoppedError("stopped while waiting for other hosts", signum=signum)


def _differences(own: Mapping[str, str], hello: Hello) -> list[str]:
    return [
        f"host {hello.host} has another {name}: {hello.facts.get(name)}, host 0 has {value}"
        for name, value in own.items()
        if hello.facts.get(name) != value
    ]


def _refused(reasons: list[str]) -> DeviceError:
    cure = "let every host run the same command on the same recipe, program and packages"
    return DeviceError("the hosts do not start:" + bulleted(reasons), cure=cure)
