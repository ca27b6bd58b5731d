"""Heartbeats: what every process of a job reports to its launcher, twice a second and every step.

Each is one datagram on the host's loopback: JSON, after its HMAC under a token that only the job's
processes have. A lost datagram does not matter, for the next one repeats everything; nothing is
written to a disk that may be full or far away.
"""

import hmac
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from tinybert.terminal import printable

INTERVAL = 0.5
"""Seconds between two heartbeats."""
MIN_INTERVAL = 0.1
"""Seconds between two heartbeats at least, so that fast steps leave room for the last one."""
MAX_TEXT = 2000
"""Characters of a text that are reported."""
MESSAGE = ConfigDict(
    strict=True,
    extra="forbid",
    ser_json_inf_nan="constants",
    ser_json_bytes="hex",
    val_json_bytes="hex",
)
"""How messages between processes are checked."""
LOOPBACK = "127.0.0.1"
_MAC_BYTES = 32
_DATAGRAM = 1 << 16  # bytes


def _shorten(text: Any) -> Any:
    """Return a text cut to its longest length, what no terminal or JSON can hold escaped."""
    if not isinstance(text, str):
        return text
    return printable(text[:MAX_TEXT]).encode(errors="backslashreplace").decode()


ShortText = Annotated[str, BeforeValidator(_shorten)]
"""A text that comes from anywhere, such as an error's message."""


@dataclass(frozen=True, config=MESSAGE)
class WorkerExit:
    """How a process ended, as it reports itself."""

    exit_code: int
    type: str = ""
    """Class of the error; empty where there was none."""
    message: ShortText = ""
    where: ShortText = ""
    cure: ShortText = ""


@dataclass(frozen=True, config=MESSAGE)
class Heartbeat:
    """What a process is doing."""

    rank: int
    pid: int
    host: str
    activity: Annotated[str, StringConstraints(pattern="^[a-z]{1,16}$")] = "starting"
    """`starting`, `teacher`, `compiling`, `rows`, `step`, `evaluating`, `saving` or `ended`."""
    step: int = 0
    """Steps of the run that are done."""
    loss: float | None = None
    learning_rate: float | None = None
    samples: int = 0
    """Rows of the global batches that this process took part in since it compiled its step."""
    ended: WorkerExit | None = None


_HEARTBEAT = TypeAdapter(Heartbeat)


def encode_heartbeat(heartbeat: Heartbeat, token: bytes) -> bytes:
    """Return the datagram of a heartbeat, signed with the job's token."""
    content = _HEARTBEAT.dump_json(heartbeat)
    return hmac.digest(token, content, "sha256") + content


def decode_heartbeat(datagram: bytes, token: bytes) -> Heartbeat | None:
    """Return the heartbeat of a datagram; None unless a process of the job sent it."""
    mac, content = datagram[:_MAC_BYTES], datagram[_MAC_BYTES:]
    if not hmac.compare_digest(mac, hmac.digest(token, content, "sha256")):
        return None
    try:
        return _HEARTBEAT.validate_json(content)
    except ValidationError:
        return None


class HeartbeatSender:
    """Reports to the launcher what this process is doing; a context manager with a thread.

    Args:
        port: Where the launcher listens.
        token: The job's.
        rank: This process.
        orphaned: Called when nobody listens any more.
    """

    def __init__(self, port: int, token: bytes, rank: int, orphaned: Callable[[], None]) -> None:
        self._heartbeat = Heartbeat(rank, os.getpid(), socket.gethostname())
        self._token = token
        self._orphaned = orphaned
        self._sent = 0.0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((LOOPBACK, port))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "HeartbeatSender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    def report_activity(self, activity: str) -> None:
        """Set what this process does from now on."""
        self._heartbeat = replace(self._heartbeat, activity=activity)

    def on_step(self, step: int, loss: float, learning_rate: float, rows: int) -> None:
        """Report a step that is done."""
        samples = self._heartbeat.samples + rows
        self._heartbeat = replace(
            self._heartbeat, step=step, loss=loss, learning_rate=learning_rate, samples=samples
        )
        if time.monotonic() - self._sent > MIN_INTERVAL:
            self._send()

    def end(self, ended: WorkerExit) -> None:
        """Report at once how this process ends."""
        self._heartbeat = replace(self._heartbeat, activity="ended", ended=ended)
        self._send()

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        try:
            self._socket.send(encode_heartbeat(self._heartbeat, self._token))
        except ConnectionRefusedError:
            self._orphaned()
        except OSError:  # a full queue: the next one repeats everything
            pass


class HeartbeatListener:
    """Where a launcher receives the heartbeats of its host's processes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.token = secrets.token_bytes(_MAC_BYTES)
        """What the processes of the job sign their heartbeats with."""

    def receive(self) -> list[Heartbeat]:
        """Return the heartbeats that came since the last call, in order."""
        heartbeats: list[Heartbeat] = []
        while True:
            try:
                heartbeat = decode_heartbeat(self._socket.recv(_DATAGRAM), self.token)
            except BlockingIOError:
                return heartbeats
            if heartbeat is not None:
                heartbeats.append(heartbeat)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
