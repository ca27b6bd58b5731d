"""What the launchers of several hosts say to each other: lines of JSON over TCP.

The first host listens on the port after the processes' own. Every other host connects, says what
it would run, and is told to go, or why not. From then on each side sends what its processes do,
requests to stop, and how the job fell; a side that falls silent is lost.
"""

import json
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import structlog

from tinybert.errors import DeviceError, StoppedError
from tinybert.launch.msrun import Cluster
from tinybert.launch.watch import SILENT_SECONDS, JobFailure
from tinybert.run.heartbeat import Heartbeat, WorkerExit, decode_heartbeat

log = structlog.get_logger()

Message = dict[str, Any]
PAUSE = 0.2  # seconds
_BLOCK = 1 << 16  # bytes


class Peers(Protocol):
    """The other hosts of a job."""

    first: bool
    """Whether this is the first host, which hears of all processes."""

    def beats(self) -> Iterable[Heartbeat]:
        """Return what was heard of other hosts' processes."""

    def tell(self, beats: Iterable[Heartbeat]) -> None:
        """Say what this host's processes do."""

    def stop(self) -> int | None:
        """Return the signal by which the user asked another host to stop."""

    def ask(self, signum: int) -> None:
        """Ask the others to stop."""

    def fall(self) -> JobFailure | None:
        """Return how another host brought the job down."""

    def fell(self, fall: JobFailure) -> None:
        """Say how the job fell."""

    def leave(self) -> None:
        """Say that all went well."""

    def close(self) -> None:
        """Close all connections."""


class Alone:
    """No other hosts."""

    first = True

    def beats(self) -> Iterable[Heartbeat]:
        """Return nothing."""
        return ()

    def tell(self, beats: Iterable[Heartbeat]) -> None:
        """Say nothing."""

    def stop(self) -> int | None:
        """Return None."""
        return None

    def ask(self, signum: int) -> None:
        """Ask nobody."""

    def fall(self) -> JobFailure | None:
        """Return None."""
        return None

    def fell(self, fall: JobFailure) -> None:
        """Say nothing."""

    def leave(self) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Close nothing."""


class Link:
    """A connection to another host's launcher."""

    def __init__(self, connection: socket.socket, host: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.host = host
        self.heard = time.monotonic()
        self.closed = False
        self._socket = connection
        self._rest = b""

    def send(self, message: Message) -> None:
        """Send a message; a link that cannot take it is closed."""
        try:
            self._socket.setblocking(True)
            self._socket.settimeout(SILENT_SECONDS)
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.closed = True
        finally:
            self._socket.setblocking(False)

    def received(self) -> list[Message]:
        """Return the messages that came since the last call."""
        try:
            while block := self._socket.recv(_BLOCK):
                self.heard = time.monotonic()
                self._rest += block
            self.closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        *lines, self._rest = self._rest.split(b"\n")
        return [found for line in lines if (found := _message(line)) is not None]

    def lost(self) -> bool:
        """Return whether the other side is gone or silent."""
        return self.closed or time.monotonic() - self.heard > SILENT_SECONDS

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Linked:
    """The other hosts of a job, each by a link; see `Peers`."""

    def __init__(self, links: list[Link], cluster: Cluster) -> None:
        self.first = cluster.host_rank == 0
        self._links = links
        self._cluster = cluster
        self._beats: list[Heartbeat] = []
        self._stop: int | None = None
        self._fall: JobFailure | None = None
        self._left: set[int] = set()

    def beats(self) -> Iterable[Heartbeat]:
        """Return what was heard of other hosts' processes."""
        for link in self._links:
            for message in link.received():
                self._take(message, link.host)
        found, self._beats = self._beats, []
        return found if self.first else ()

    def _take(self, message: Message, host: int) -> None:
        self._beats += [
            beat for text in message.get("beats", ()) if (beat := decode_heartbeat(text))
        ]
        self._stop = message.get("stop") or self._stop
        if "fall" in message:
            self._fall = _fall(message["fall"])
        if message.get("left"):
            self._left.add(host)

    def tell(self, beats: Iterable[Heartbeat]) -> None:
        """Say what this host's processes do; to the first host, for only it shows that."""
        said = [] if self.first else [beat.encode().decode() for beat in beats]
        self._send({"beats": said})

    def stop(self) -> int | None:
        """Return the signal by which the user asked another host to stop."""
        return self._stop

    def ask(self, signum: int) -> None:
        """Ask the others to stop."""
        self._send({"stop": signum})

    def fall(self) -> JobFailure | None:
        """Return how another host brought the job down; a lost host does that too."""
        if self._fall is not None:
            return self._fall
        for link in self._links:
            if link.host not in self._left and link.lost():
                rank = link.host * self._cluster.per_host
                return JobFailure(rank, f"is lost: host {link.host} is gone or silent", 0)
        return None

    def fell(self, fall: JobFailure) -> None:
        """Say how the job fell."""
        self._send({"fall": asdict(fall)})

    def leave(self) -> None:
        """Say that all went well."""
        self._send({"left": True})

    def _send(self, message: Message) -> None:
        for link in self._links:
            if not link.closed:
                link.send(message)

    def close(self) -> None:
        """Close all connections."""
        for link in self._links:
            link.close()


def gather(
    cluster: Cluster, facts: Message, go: Message, *, stop: Callable[[], int | None]
) -> Linked:
    """Wait on the first host for all others, hold their facts against its own, and let them go.

    Args:
        cluster: The processes of the job.
        facts: What must be the same on every host, by name.
        go: What the others are told.
        stop: Whether the user asked to stop waiting.

    Raises:
        DeviceError: A host did not come in time, or has other facts.
    """
    links: dict[int, Link] = {}
    wrong: list[str] = []
    with socket.create_server((cluster.address, cluster.port + 1)) as server:
        server.settimeout(PAUSE)
        until = time.monotonic() + cluster.timeout
        log.info("waiting for hosts", hosts=cluster.hosts - 1, port=cluster.port + 1)
        while len(links) < cluster.hosts - 1 and time.monotonic() < until and stop() is None:
            try:
                link = Link(server.accept()[0], -1)
            except TimeoutError:
                continue
            hello = _first_message(link, min(until, time.monotonic() + SILENT_SECONDS), stop)
            link.host = _host(hello, cluster)
            if link.host < 0 or link.host in links:
                link.close()
                continue
            links[link.host] = link
            wrong += _differences(link.host, facts, hello.get("facts", {}))
    missing = [str(host) for host in range(1, cluster.hosts) if host not in links]
    if missing:
        wrong.append(f"no word from host {', '.join(missing)} in {cluster.timeout} seconds")
    for link in links.values():
        link.send({"refused": wrong} if wrong else {"go": go})
        link.heard = time.monotonic()  # it may have waited for the others
    peers = Linked(list(links.values()), cluster)
    if wrong:
        peers.close()
        _check_stop(stop)
        raise _refused(wrong)
    return peers


def join(
    cluster: Cluster, facts: Message, *, stop: Callable[[], int | None]
) -> tuple[Linked, Message]:
    """Go to the first host, say what this one would run, and wait for its word.

    Returns:
        The link, and what the first host tells.

    Raises:
        DeviceError: The first host cannot be reached, or refuses.
    """
    until, address = time.monotonic() + cluster.timeout, (cluster.address, cluster.port + 1)
    log.info("looking for the first host", address=f"{address[0]}:{address[1]}")
    reason = "no answer"
    while time.monotonic() < until and stop() is None:
        try:
            connection = socket.create_connection(address, timeout=1.0)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            time.sleep(PAUSE)
            continue
        link = Link(connection, 0)
        link.send({"host": cluster.host_rank, "facts": facts})
        answer = _first_message(link, until, stop)
        if "go" in answer:
            return Linked([link], cluster), answer["go"]
        link.close()
        if "refused" in answer:
            raise _refused(answer["refused"])
        reason = "it closed the connection"
        time.sleep(PAUSE)
    _check_stop(stop)
    raise DeviceError(
        f"cannot reach the first host at {address[0]}:{address[1]}: {reason}",
        cure="start the same command there without --host-rank; see master_address, master_port "
        "and what lies between the hosts",
    )


def _check_stop(stop: Callable[[], int | None]) -> None:
    if signum := stop():
        raise StoppedError("stopped while waiting for other hosts", signum=signum)


def _first_message(link: Link, until: float, stop: Callable[[], int | None]) -> Message:
    """Wait for a link's first message; nothing if it closes, takes too long, or a stop comes."""
    while time.monotonic() < until and not link.closed and stop() is None:
        for message in link.received():
            return message
        time.sleep(PAUSE / 10)
    return {}


def _host(hello: Message, cluster: Cluster) -> int:
    """Return the number of a host that says it is one of the job's; -1 for anybody else."""
    host = hello.get("host")
    return host if type(host) is int and 0 < host < cluster.hosts else -1


def _differences(host: int, own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [
        f"host {host} has another {name}: {other.get(name)}, host 0 has {value}"
        for name, value in own.items()
        if other.get(name) != value
    ]


def _refused(reasons: list[str]) -> DeviceError:
    listed = "".join(f"\n  - {reason}" for reason in reasons)
    cure = "let every host run the same command on the same recipe, program and packages"
    return DeviceError(f"the hosts do not start:{listed}", cure=cure)


def _message(line: bytes) -> Message | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _fall(fields: Message) -> JobFailure:
    ended = fields.pop("ended", None)
    return JobFailure(**fields, ended=None if ended is None else WorkerExit(**ended))
