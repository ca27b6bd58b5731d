"""What predictions show, on a page: its sections about classes, wrong rows, and changed rows."""

from dataclasses import dataclass

from tinybert.metrics.confusion import Confusion
from tinybert.report.assessed import WrongRow
from tinybert.report.assessed_text import (
    SCORES,
    mcnemar_words,
    mistakes_words,
    predicted_words,
    score_rows,
    size_words,
)
from tinybert.report.facts import Row
from tinybert.report.paired import Flip
from tinybert.report.subject import PagedRun, Subject

WORST = 20
"""Wrong rows of a run, and rows of each kind that changed, on a page."""


@dataclass(frozen=True)
class ConfusionCell:
    """A count of a confusion."""

    count: str
    share: float
    """Of what is true, for its shade."""
    right: bool


@dataclass(frozen=True)
class ConfusionTable:
    """A confusion and the scores of its classes, of one run."""

    paged: PagedRun
    entities: bool
    names: tuple[str, ...]
    rows: list[tuple[str, list[ConfusionCell]]]
    heads: tuple[str, ...]
    scores: list[Row]


@dataclass(frozen=True)
class WrongRows:
    """The worst rows of one run."""

    paged: PagedRun
    summary: str
    heads: tuple[str, ...]
    rows: list[WrongRow]
    note: str


@dataclass(frozen=True)
class ChangedRows:
    """Two evaluations row by row."""

    test: str
    """McNemar's test in words."""
    changes: list[tuple[str, int, list[Flip]]]
    """Letter of the run that alone is right, how many, and the first of them."""
    note: str


def classes(subject: Subject) -> list[ConfusionTable] | None:
    """Return the confusions of one run, or of two."""
    if len(subject.runs) > 2:
        return None
    tables = [
        _table(paged, paged.assessed.assessment.confusion)
        for paged in subject.runs
        if paged.assessed.assessment is not None and paged.assessed.assessment.confusion is not None
    ]
    return tables or None


def mistakes(subject: Subject) -> list[WrongRows] | None:
    """Return the worst rows of one run, or of two; or why they are not shown."""
    if len(subject.runs) > 2:
        return None
    return [*filter(None, map(_wrong, subject.runs))] or None


def changed(subject: Subject) -> ChangedRows | None:
    """Return what changed between two evaluations of the same rows."""
    if (paired := subject.paired) is None or paired.test is None:
        return None
    return ChangedRows(
        mcnemar_words(paired.test, paired.counted),
        [
            (letter, len(flips), flips[:WORST])
            for letter, flips in (("A", paired.better_in_a), ("B", paired.better_in_b))
            if flips
        ],
        paired.note,
    )


def _table(paged: PagedRun, confusion: Confusion) -> ConfusionTable:
    rows = []
    for at, (name, counts) in enumerate(
        zip(confusion.names, confusion.counts.tolist(), strict=True)
    ):
        total = max(1, sum(counts))
        cells = [
            ConfusionCell(f"{n:,}", n / total, at == column) for column, n in enumerate(counts)
        ]
        rows.append((name, cells))
    scores = score_rows(confusion)
    return ConfusionTable(paged, confusion.entities, confusion.names, rows, SCORES, scores)


def _wrong(paged: PagedRun) -> WrongRows | None:
    assessed = paged.assessed
    if (assessment := assessed.assessment) is None:
        return WrongRows(paged, assessed.problem, (), [], "") if assessed.problem else None
    rows, note = assessed.wrong_rows(WORST)
    words = mistakes_words(assessed, assessment)
    summary = f"{words[:1].upper()}{words[1:]}."
    heads = ("row", size_words(assessment), *predicted_words(assessment), "text")
    return WrongRows(paged, summary, heads if not note else heads[:-1], rows, note)
