"""Progress of a job: a table with a line for each process on a terminal, and else log events."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import structlog
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tinybert.files import open_file
from tinybert.run.heartbeat import Heartbeat
from tinybert.strict_json import parse_json
from tinybert.terminal import printable

log = structlog.get_logger()

QUIET_SECONDS = 10
"""Between two events, where standard error is no terminal."""
NOT_REPEATED = ("level", "timestamp", "exc_info", "exception", "stack", "stack_info")
"""Keys of an event that logging sets, or acts on."""
SHOWN = 32
"""Processes in the table; of more, the slowest and the fastest."""


class LogRepeater:
    """Logs again what the first process logs, except its steps.

    Args:
        log_file: Its log, lines of JSON among others.
    """

    def __init__(self, log_file: Path) -> None:
        self._path = log_file
        self._position = 0

    def repeat(self) -> None:
        """Log the lines that were completed since the last call."""
        try:
            with open_file(self._path) as file:
                file.seek(self._position)
                lines = file.read()
        except OSError:
            return
        whole = lines[: lines.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            event = _event(line)
            if event.get("event") not in (None, "step"):
                facts = {name: event[name] for name in event if name not in NOT_REPEATED}
                log.info(facts.pop("event"), **facts)


def _event(line: bytes) -> dict[str, object]:
    try:
        event = parse_json(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


class RankProgress:
    """Shows the processes of a job; a context manager.

    Args:
        total_steps: Steps of the run.
        first_log: Log of the first process of all, where that is on this host.
    """

    def __init__(self, total_steps: int, first_log: Path) -> None:
        self._total_steps = total_steps
        self._repeater = LogRepeater(first_log)
        self._first: tuple[float, int] | None = None
        self._logged = (0.0, "")
        console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = sys.stderr.isatty()

    def __enter__(self) -> "RankProgress":
        if self._drawn:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._repeater.repeat()

    def show(self, heartbeats: Mapping[int, Heartbeat]) -> None:
        """Show what the processes do."""
        self._repeater.repeat()
        if not heartbeats:
            return
        first = heartbeats[min(heartbeats)]
        rate = self._rate(first)
        if self._drawn:
            self._live.update(self._table(heartbeats, rate), refresh=True)
            return
        now = time.monotonic()
        activities = {heartbeat.activity for heartbeat in heartbeats.values()}
        training = first.step > 0 and activities != {"ended"}
        activity = "training" if training else ", ".join(sorted(activities))
        if now - self._logged[0] >= QUIET_SECONDS or activity != self._logged[1]:
            self._logged = (now, activity)
            facts = {} if first.loss is None else {"loss": round(first.loss, 6)}
            log.info(
                "processes",
                activity=activity,
                step=f"{first.step}/{self._total_steps}",
                samples_per_second=round(rate, 1),
                **facts,
            )

    def _rate(self, first: Heartbeat) -> float:
        """Return samples a second since the first step that was reported."""
        if not first.samples:
            return 0.0
        if self._first is None:
            self._first = time.monotonic(), first.samples
        seconds = time.monotonic() - self._first[0]
        return (first.samples - self._first[1]) / seconds if seconds > 0 else 0.0

    def _table(self, heartbeats: Mapping[int, Heartbeat], rate: float) -> Table:
        table = Table(title=f"{rate:.1f} samples/s", title_justify="left", box=None)
        for name in ("process", "activity", "step", "loss", "learning rate"):
            table.add_column(name, justify="right")
        ranks = sorted(heartbeats, key=lambda rank: (heartbeats[rank].step, rank))
        if len(ranks) > SHOWN:
            ranks = [*ranks[: SHOWN // 2], *ranks[-SHOWN // 2 :]]
        for rank in sorted(ranks):
            beat = heartbeats[rank]
            loss = "" if beat.loss is None else f"{beat.loss:.4f}"
            rate_text = "" if beat.learning_rate is None else f"{beat.learning_rate:.2e}"
            step = f"{beat.step}/{self._total_steps}"
            cells = (str(rank), beat.activity, step, loss, rate_text)
            table.add_row(*(Text(printable(cell)) for cell in cells))  # a text is no markup
        return table
