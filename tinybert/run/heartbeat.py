"""Signs of life: what every process of a job tells its launcher, twice a second and every step.

Each is one datagram of JSON on the host's loopback. One that is lost does not matter, for the next
one says everything again; nothing is written to a disk that may be full or far away.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

INTERVAL = 0.5
"""Seconds between two signs of life."""
LONGEST = 2000
"""Characters of an error's message, place and cure that are told."""
CLOSE = 0.1
"""Seconds between two signs of life at least, so that fast steps leave room for a last word."""
_HOME = "127.0.0.1"
_DATAGRAM = 1 << 16  # bytes


@dataclass(frozen=True)
class WorkerExit:
    """How a process ended, in its own words."""

    exit_code: int
    type: str = ""
    """Class of the error; empty where there was none."""
    message: str = ""
    where: str = ""
    cure: str = ""


@dataclass(frozen=True)
class Heartbeat:
    """What a process is doing."""

    rank: int
    pid: int
    host: str
    activity: str = "starting"
    """`starting`, `compiling`, `rows`, `step`, `evaluating`, `saving` or `ended`."""
    step: int = 0
    """Steps of the run that are done."""
    loss: float | None = None
    learning_rate: float | None = None
    samples: int = 0
    """Rows of the global batches that this process took part in since it compiled its step."""
    ended: WorkerExit | None = None

    def encode(self) -> bytes:
        """Return the datagram."""
        return json.dumps(asdict(self)).encode()


def decode_heartbeat(data: bytes) -> Heartbeat | None:
    """Return the beat of a datagram; None if it is none."""
    try:
        fields = json.loads(data)
        ended = fields.pop("ended")
        return Heartbeat(**fields, ended=None if ended is None else WorkerExit(**ended))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class HeartbeatSender:
    """Tells the launcher what this process is doing; a context manager with a thread.

    Args:
        port: Where the launcher listens.
        rank: This process.
        orphaned: Called when nobody listens any more.
    """

    def __init__(self, port: int, rank: int, orphaned: Callable[[], None]) -> None:
        self._beat = Heartbeat(rank, os.getpid(), socket.gethostname())
        self._orphaned = orphaned
        self._sent = 0.0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((_HOME, port))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "HeartbeatSender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def report_activity(self, activity: str) -> None:
        """Note what is done from now on."""
        self._beat = replace(self._beat, activity=activity)

    def on_step(self, step: int, loss: float, learning_rate: float, rows: int) -> None:
        """Note a step that is done, and say so."""
        samples = self._beat.samples + rows
        self._beat = replace(
            self._beat, step=step, loss=loss, learning_rate=learning_rate, samples=samples
        )
        if time.monotonic() - self._sent > CLOSE:
            self._send()

    def end(self, ended: WorkerExit) -> None:
        """Say how this process ends, at once."""
        texts = {name: getattr(ended, name)[:LONGEST] for name in ("message", "where", "cure")}
        short = replace(ended, **texts)
        self._beat = replace(self._beat, activity="ended", ended=short)
        self._send()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        try:
            self._socket.send(self._beat.encode())
        except ConnectionRefusedError:
            self._orphaned()
        except OSError:  # a full queue: the next one says everything again
            pass


class HeartbeatListener:
    """Where a launcher hears the processes of its host."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((_HOME, 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def heard(self) -> list[Heartbeat]:
        """Return the beats that came since the last call, in order."""
        beats: list[Heartbeat] = []
        while True:
            try:
                beat = decode_heartbeat(self._socket.recv(_DATAGRAM))
            except BlockingIOError:
                return beats
            if beat is not None:
                beats.append(beat)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
