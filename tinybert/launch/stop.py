"""Ctrl-C and SIGTERM: at once outside of training, after the step within."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from tinybert.errors import StoppedError

log = structlog.get_logger()

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the user asked to stop; a context manager that holds the signal handlers."""

    def __init__(self) -> None:
        self.signum: int | None = None
        """The signal that asked."""
        self._waits = False
        self._said = False

    def __enter__(self) -> "StopRequest":
        self._before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self._install()
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _install(self) -> None:
        for signum in SIGNALS:
            signal.signal(signum, self._handle)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a first signal only be noted; a second one raises."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def requested(self) -> bool:
        """Return whether a signal was noted; asked after every step."""
        self._install()  # at every compilation the framework puts a handler of its own over SIGINT
        # Said here, not in the handler: a signal may come while a line of the log holds its lock.
        if self.signum is not None and not self._said:
            self._said = True
            log.warning("stopping after this step", signal=signal.Signals(self.signum).name)
        return self.signum is not None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        again = self.signum is not None
        self.signum = signum
        if again or not self._waits:
            raise StoppedError(f"stopped by {signal.Signals(signum).name}", signum=signum)
