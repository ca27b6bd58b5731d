"""Ctrl-C and SIGTERM: they end a run at once outside of training, and after the step within."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from tinybert.errors import StoppedError

log = structlog.get_logger()

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WAKE = signal.SIGUSR1
_PAUSE = 0.1  # seconds


def hold_signals() -> None:
    """Block signals until a `StopRequest` takes them; called before any thread is started.

    Libraries start threads when they are imported; one that did not block a signal would be given
    it, and run whatever handler there is.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


class StopRequest:
    """Whether the user asked to stop; a context manager that takes the signals.

    A thread waits for them, and all other threads block them: a handler would not do, since the
    framework puts one of its own over SIGINT in every call of the device. Child processes inherit
    the block, so that a signal to all processes of a job reaches only those that can save.

    Args:
        patient: Never let a second signal raise: it may be the first one, handed on by a launcher,
            which ends its processes itself when it has had enough.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        self.signum: int | None = None
        """The signal that asked."""
        self._waits = False
        self._logged = False
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "StopRequest":
        self._main = threading.get_ident()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._handlers = {
            _WAKE: signal.signal(_WAKE, self._raise),
            # for a thread that was started before, and does not block them
            **{signum: signal.signal(signum, self._handle) for signum in SIGNALS},
        }
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Note a first signal, without an exception; a second one raises."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def poll(self) -> int | None:
        """Return the signal that was noted, if any; called after every step."""
        # Logged here, not where it came: a line of the log may have been interrupted.
        if self.signum is not None and not self._logged:
            self._logged = True
            log.warning("stopping after this step", signal=signal.Signals(self.signum).name)
        return self.signum

    def requested(self) -> bool:
        """Return whether a signal was noted; see `poll`."""
        return self.poll() is not None

    def _listen(self) -> None:
        """Wait for signals until the end."""
        while not self._left.is_set():
            found = signal.sigtimedwait(SIGNALS, _PAUSE)
            # Python 3.11 returns memory that nobody wrote where it is interrupted at the end of
            # the pause; the signal then still waits.
            if found is not None and found.si_signo in SIGNALS and self._note(found.si_signo):
                signal.pthread_kill(self._main, _WAKE)

    def _note(self, signum: int) -> bool:
        """Note a signal; return whether everything ends at once."""
        again = self.signum is not None and not self._patient
        self.signum = signum
        return again or not self._waits

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._note(signum):
            self._raise(signum, frame)

    def _raise(self, signum: int, frame: FrameType | None) -> None:
        assert self.signum is not None
        name = signal.Signals(self.signum).name
        raise StoppedError(f"stopped by {name}", signum=self.signum)
