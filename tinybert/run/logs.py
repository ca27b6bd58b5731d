"""Where events go: standard error, and a file in the run's folder."""

import json
import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog

from tinybert.files import open_to_append
from tinybert.terminal import print_text, printable

LogFormat = Literal["console", "json"]


class FileCopy:
    """Writes every event, as a line of JSON, to a file once there is one."""

    def __init__(self) -> None:
        self._file: TextIO | None = None

    def open(self, path: Path) -> None:
        """Append the events that follow to `path`."""
        self._file = TextIOWrapper(open_to_append(path), encoding="utf-8", line_buffering=True)

    def __call__(
        self, _: Any, __: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Write the event and pass it on."""
        if self._file is not None:
            with suppress(OSError):  # a full disk ends a run where it loses something
                self._file.write(json.dumps(event, default=str) + "\n")
        return event


def _printable_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape the control characters of an event on its way to a terminal."""
    return {
        printable(name): printable(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _readable_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Round numbers to five digits, for people."""
    return {
        name: float(f"{value:.5g}") if isinstance(value, float) else value
        for name, value in event.items()
    }


class StandardError:
    """A logger that writes to standard error; a failure to write is ignored."""

    def msg(self, message: str) -> None:
        """Write a line."""
        with suppress(OSError):  # of a full disk; a run does not end for its log
            print_text(message, sys.stderr)

    debug = info = warning = error = msg


def configure(output: LogFormat) -> FileCopy:
    """Send events to standard error; returns what sends them to a file too."""
    copy = FileCopy()
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    people = [_readable_event, structlog.dev.ConsoleRenderer(colors=colors)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            copy,
            _printable_event,
            *([structlog.processors.JSONRenderer()] if output == "json" else people),
        ],
        logger_factory=lambda *_: StandardError(),
        cache_logger_on_first_use=False,
    )
    return copy
