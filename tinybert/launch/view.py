"""The live view of a job: a line a process on a terminal, elsewhere an event now and then."""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import structlog
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tinybert.run.heartbeat import Heartbeat

log = structlog.get_logger()

QUIET_SECONDS = 10
"""Between two events where standard error is no terminal."""
SHOWN = 32
"""Processes that get a line of their own; of more, the slowest and the fastest do."""


class Echo:
    """Repeats what the first process logs, but for its steps.

    Args:
        log_file: Its log, lines of JSON among others.
    """

    def __init__(self, log_file: Path) -> None:
        self._path = log_file
        self._position = 0

    def repeat(self) -> None:
        """Repeat the whole lines that came since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                lines = file.read()
        except FileNotFoundError:
            return
        whole = lines[: lines.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            event = _event(line)
            if event.get("event") not in (None, "step"):
                facts = {name: event[name] for name in event if name not in ("level", "timestamp")}
                log.info(facts.pop("event"), **facts)


def _event(line: bytes) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class RankProgress:
    """Shows the processes of a job; a context manager.

    Args:
        total_steps: Steps of the run.
        first_log: Log of the first process of all, where that is on this host.
    """

    def __init__(self, total_steps: int, first_log: Path) -> None:
        self._total_steps = total_steps
        self._echo = Echo(first_log)
        self._began: tuple[float, int] | None = None
        self._said = (0.0, "")
        console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = sys.stderr.isatty()

    def __enter__(self) -> "RankProgress":
        if self._drawn:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._echo.repeat()

    def show(self, beats: Mapping[int, Heartbeat]) -> None:
        """Show what the processes do."""
        self._echo.repeat()
        if not beats:
            return
        first = beats[min(beats)]
        rate = self._rate(first)
        if self._drawn:
            self._live.update(self._table(beats, rate), refresh=True)
            return
        now = time.monotonic()
        busy = ", ".join(sorted({beat.activity for beat in beats.values()}))
        done = all(beat.ended is not None for beat in beats.values())
        doing = "ended" if done else ("training" if first.step else busy)
        if now - self._said[0] >= QUIET_SECONDS or doing != self._said[1]:
            self._said = (now, doing)
            facts = {} if first.loss is None else {"loss": round(first.loss, 6)}
            log.info(
                "processes",
                doing=doing,
                step=f"{first.step}/{self._total_steps}",
                samples_per_second=round(rate, 1),
                **facts,
            )

    def _rate(self, first: Heartbeat) -> float:
        """Return samples a second since the first step was seen."""
        if not first.samples:
            return 0.0
        if self._began is None:
            self._began = time.monotonic(), first.samples
        seconds = time.monotonic() - self._began[0]
        return (first.samples - self._began[1]) / seconds if seconds > 0 else 0.0

    def _table(self, beats: Mapping[int, Heartbeat], rate: float) -> Table:
        table = Table(title=f"{rate:.1f} samples/s", title_justify="left", box=None)
        for name in ("process", "doing", "step", "loss", "learning rate"):
            table.add_column(name, justify="right")
        ranks = sorted(beats, key=lambda rank: (beats[rank].step, rank))
        if len(ranks) > SHOWN:
            ranks = [*ranks[: SHOWN // 2], *ranks[-SHOWN // 2 :]]
        for rank in sorted(ranks):
            beat = beats[rank]
            loss = "" if beat.loss is None else f"{beat.loss:.4f}"
            rate_text = "" if beat.learning_rate is None else f"{beat.learning_rate:.2e}"
            step = f"{beat.step}/{self._total_steps}"
            table.add_row(str(rank), beat.activity, step, loss, rate_text)
        return table
