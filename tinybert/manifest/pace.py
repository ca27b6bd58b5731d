"""How fast a run went and how much memory it took, over its time: `pace.jsonl` in its folder.

A line reads `{"step":48,"seconds":2.25,"samples":768,"resident_bytes":412090368}`. The first line
of a process has no samples: time counts from the end of its first call of the device, which is
mostly compilation. The file is in no manifest and enters no digest.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

import psutil

from tinybert.files import open_file, open_to_append
from tinybert.strict_json import parse_json

PACE = "pace.jsonl"
"""The file, in a run's folder."""
LINES = 400
"""Lines of a whole run, about: a long one has a line for many steps."""


@dataclass(frozen=True)
class Pace:
    """A stretch of steps."""

    step: int
    """Steps of the run that were done at its end."""
    seconds: float
    """Time of training until its end, over all processes that the run had one after the other."""
    samples_per_second: float
    """Rows over all processes; of the stretch alone."""
    resident_bytes: int
    """Memory of the process that wrote the manifest, at its end."""


class PaceWriter:
    """Appends lines to the file; a full disk loses some of them.

    Args:
        path: The file; it is created with the first line.
        total_steps: Steps of the whole run.
        clock: Seconds since some moment.
    """

    def __init__(
        self, path: Path, total_steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._every = max(1, total_steps // LINES)
        self._clock = clock
        self._process = psutil.Process()
        self._file: BufferedWriter | None = None
        self._began = 0.0
        self._samples = 0
        self._next = 0

    def on_step(self, done: int, rows: int, *, ends_call: bool) -> None:
        """Count a step of so many rows; write a line if it ends a call of the device, and is due.

        Args:
            done: Steps of the run, this one among them.
            rows: Rows of the global batch.
            ends_call: Whether the device gave the results of this step last.
        """
        self._samples += rows
        if not ends_call or done < self._next:
            return
        now = self._clock()
        if self._next == 0:
            self._began, self._samples = now, 0
        self._next = done + self._every
        line = {
            "step": done,
            "seconds": round(now - self._began, 6),
            "samples": self._samples,
            "resident_bytes": self._process.memory_info().rss,
        }
        self._samples = 0
        with suppress(OSError):
            if self._file is None:
                self._file = open_to_append(self._path)
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def read_pace(path: Path) -> Iterator[Pace]:
    """Yield the stretches of a run; damaged lines, such as a torn one, are skipped."""
    try:
        with open_file(path) as file:
            lines = file.readlines()
    except OSError:
        return
    before, last = 0.0, 0.0
    for line in lines:
        try:
            values = parse_json(line)
            step, seconds = int(values["step"]), float(values["seconds"])
            samples, resident = int(values["samples"]), int(values["resident_bytes"])
        except (ValueError, TypeError, KeyError, OverflowError):
            continue
        if samples and seconds > last:
            yield Pace(step, before + seconds, samples / (seconds - last), resident)
        elif not samples:
            before += last
        last = seconds
