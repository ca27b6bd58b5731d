"""The options of `run`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinybert.run.logs import LogFormat


@dataclass(frozen=True)
class RunOptions:
    """The options of `run`, as the command line names them."""

    recipe: str
    root: Path
    overrides: Sequence[str] = ()
    device: str | None = None
    resume: Path | None = None
    fresh: bool = False
    dry_run: bool = False
    require_clean: bool = False
    log_format: LogFormat = "console"
    host_rank: int = 0
    profile: int | None = None
    """Calls of the device to profile."""
