"""What a page is about: one run, two that are compared, or several, with what they recorded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from urllib.parse import quote

from tinybert.compare.verdict import Comparison, compare_pair
from tinybert.errors import UsageError
from tinybert.manifest.document import Run
from tinybert.manifest.study import RECORD, Study
from tinybert.report.assessed import AssessedRun
from tinybert.report.chart import SERIES
from tinybert.report.paired import PairedRuns, pair_runs
from tinybert.report.recorded import Steps, steps_of
from tinybert.report.seeds import SeedGroup, over_seeds

MAX_RUNS = len(ascii_uppercase) * (1 + len(ascii_uppercase))
"""Runs of a page: each has a letter, or two."""


@dataclass(frozen=True)
class PagedRun:
    """A run of a page."""

    letter: str
    """`A`, `B` and on; empty on a page about one run."""
    color: str
    """One of `SERIES`."""
    run: Run
    steps: Steps
    assessed: AssessedRun


@dataclass(frozen=True)
class Subject:
    """What a page is about."""

    runs: Sequence[PagedRun]
    """One or more."""
    comparison: Comparison | None
    """Of exactly two runs."""
    groups: Sequence[SeedGroup]
    """Of several runs, those that differ in their seed alone."""
    study: Study | None
    """The study whose runs they are, if the page was asked for by its record."""
    folder: Path
    """Where the page will be: its links are relative to it."""

    @cached_property
    def paired(self) -> PairedRuns | None:
        """How two evaluations differ row by row; None unless they are of the same rows."""
        if self.comparison is None:
            return None
        a, b = (paged.assessed for paged in self.runs)
        return pair_runs(a, b)

    @property
    def alone(self) -> PagedRun | None:
        """The run of a page about one."""
        return self.runs[0] if len(self.runs) == 1 and self.study is None else None

    def relative(self, path: Path) -> str:
        """Return the path of a file from the page."""
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def link(self, path: Path) -> str:
        """Return a link to a file."""
        return quote(self.relative(path))


def read_subject(sources: Sequence[Path], folder: Path) -> Subject:
    """Read the runs that a page is about, and compare them.

    Args:
        sources: Manifests, or the record of a study alone.
        folder: Where the page will be.

    Raises:
        ManifestError: A file is missing, or is no manifest.
        UsageError: There are too many runs, none of a study, or a study beside others.
    """
    studies = [path for path in sources if RECORD.fullmatch(path.name)]
    if studies and len(sources) > 1:
        raise UsageError("a page about a study is about nothing else", cure="name it alone")
    study = Study.load(studies[0]) if studies else None
    if study is None:
        runs = [Run.load(path) for path in sources]
    else:
        runs = [run for _, run in study.members() if run is not None]
    if not runs:
        cure = "run it first: the same command of `study` goes on"
        raise UsageError("no run of the study is here", where=str(sources[0]), cure=cure)
    if len(runs) > MAX_RUNS:
        raise UsageError(
            f"{len(runs)} runs are too many for a page", cure=f"name {MAX_RUNS} at most"
        )
    pair = len(runs) == 2 and study is None
    comparison = compare_pair(runs[0], runs[1]) if pair else None
    groups = list(over_seeds(runs)) if len(runs) > 1 and comparison is None else []
    return Subject(list(_paged(runs, groups, study)), comparison, groups, study, folder)


def _paged(runs: list[Run], groups: Sequence[SeedGroup], study: Study | None) -> list[PagedRun]:
    """Return runs with letters and colours: of their own, or one for all seeds of equal options."""
    places = {run.path: place for place, run in enumerate(runs)}
    if 1 < len(groups) < len(runs):
        places = {run.path: place for place, group in enumerate(groups) for run in group.runs}
    several = len(runs) > 1 or study is not None
    return [
        PagedRun(
            letter_of(place) if several else "",
            SERIES[places[run.path] % len(SERIES)],
            run,
            steps_of(run),
            AssessedRun(run),
        )
        for place, run in enumerate(runs)
    ]


def letter_of(place: int) -> str:
    """Return the name of a run by its place: A to Z, then AA, AB and on."""
    before, last = divmod(place, len(ascii_uppercase))
    return (ascii_uppercase[before - 1] if before else "") + ascii_uppercase[last]
