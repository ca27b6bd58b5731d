"""Ctrl-C and SIGTERM: they end a run at once outside of training, and after the step within."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import structlog

from tinybert.errors import StoppedError, TinybertError

log = structlog.get_logger()

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WAKE = signal.SIGUSR1
_PAUSE = 0.1  # seconds
_REPEATED = 1.0
"""Seconds in which a further signal counts as the first one: `timeout` sends it to a process, and
to its group."""


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
        ignore_repeats: Ignore further signals, which may be the first one again, forwarded by a
            launcher. Else one that comes a second or more after the first ends the process at
            once, by no exception, which would abort the framework within its own code.
    """

    def __init__(self, *, ignore_repeats: bool = False) -> None:
        self._ignore_repeats = ignore_repeats
        self.signum: int | None = None
        """The signal that asked."""
        self._noted = 0.0
        self._waits = False
        self._logged = False
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "StopRequest":
        self._main = threading.get_ident()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._handlers = {
            # besides _WAKE for a thread that was started before, and does not block them
            signum: signal.signal(signum, self._handle)
            for signum in (_WAKE, *SIGNALS)
        }
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._left.set()
        self._thread.join()
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        while error is not None and not isinstance(error, TinybertError):
            # a library that is being imported may answer a stop by an error of its own
            error = error.__cause__ or error.__context__
            if isinstance(error, StoppedError):
                self.check()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Note a first signal without an exception, as wherever the framework is at work."""
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

    def check(self) -> None:
        """Raise a StoppedError if a signal was noted."""
        if self.signum is not None:
            name = signal.Signals(self.signum).name
            raise StoppedError(f"stopped by {name}", signum=self.signum)

    def _listen(self) -> None:
        """Wait for signals until the end."""
        while not self._left.is_set():
            info = signal.sigtimedwait(SIGNALS, _PAUSE)
            # Python 3.11 returns memory that nobody wrote where it is interrupted at the end of
            # the pause; the signal then still waits.
            if info is not None and info.si_signo in SIGNALS and self._note(info.si_signo):
                signal.pthread_kill(self._main, _WAKE)

    def _note(self, signum: int) -> bool:
        """Note a signal; return whether the main thread is to raise a StoppedError at once."""
        if self.signum is None:
            self.signum, self._noted = signum, time.monotonic()
            return not self._waits
        if not self._ignore_repeats and time.monotonic() - self._noted > _REPEATED:
            _exit_at_once(signum)
        return False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if signum == _WAKE or self._note(signum):
            self.check()


def _exit_at_once(signum: int) -> NoReturn:
    """End this process, whatever it is doing; the kernel ends the processes of its job."""
    show_cursor = b"\x1b[?25h" if os.isatty(2) else b""
    with suppress(OSError):
        os.write(2, show_cursor + b"error: stopped at once, by a second signal\n")
    os._exit(128 + signum)
