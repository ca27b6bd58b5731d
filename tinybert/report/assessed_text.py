"""What predictions show, on a terminal: parts of the commands show, diff and compare."""

from collections.abc import Iterator, Sequence

from tinybert.metrics.assessment import (
    AnswerAssessment,
    Assessment,
    NumberAssessment,
    TagAssessment,
)
from tinybert.metrics.confusion import Confusion
from tinybert.metrics.paired import McNemar
from tinybert.report.assessed import AssessedRun
from tinybert.report.facts import Row
from tinybert.report.paired import Flip, PairedRuns
from tinybert.report.table import as_table

WORST = 5
"""Wrong rows, and rows of each kind that changed, that are shown at once."""
WIDTH = 100
"""Characters of a text that are shown."""


def assessment_lines(assessed: AssessedRun) -> Iterator[str]:
    """Yield confusions, the scores of each class, and the worst rows of an evaluation."""
    if assessed.problem:
        yield f"  {assessed.problem}"
    if (assessment := assessed.assessment) is None:
        return
    if (confusion := assessment.confusion) is not None:
        yield "confusions: what is true in rows, what was predicted in columns"
        yield from as_table(confusion_rows(confusion), indent=2)
        yield f"scores of each {'type of entities' if confusion.entities else 'class'}"
        yield from as_table([SCORES, *score_rows(confusion)], indent=2)
    yield from _worst(assessed, assessment)


SCORES = ("", "precision", "recall", "F1", "predicted", "true")
"""The head of `score_rows`."""


def confusion_rows(confusion: Confusion) -> list[Row]:
    """Return the names of columns, and a row a class with its counts."""
    rows = zip(confusion.names, confusion.counts.tolist(), strict=True)
    return [("", *confusion.names), *((name, *map(str, counts)) for name, counts in rows)]


def score_rows(confusion: Confusion) -> list[Row]:
    """Return a row a class, as `SCORES` names them."""
    return [
        (
            s.name,
            *(f"{x:.4f}" for x in (s.precision, s.recall, s.f1)),
            str(s.predicted),
            str(s.true),
        )
        for s in confusion.scores()
    ]


def size_words(assessment: Assessment) -> str:
    """Return what the worst rows are the worst by."""
    if isinstance(assessment, NumberAssessment):
        return "distance"
    if isinstance(assessment, AnswerAssessment):
        return "1 - F1"
    if isinstance(assessment, TagAssessment):
        return "wrong tags" if assessment.entities is None else "wrong entities"
    return "loss"


def mistakes_words(assessed: AssessedRun, assessment: Assessment) -> str:
    """Return how many rows are wrong, and in which order the worst are shown."""
    wrong, total = len(assessed.mistakes), f"{len(assessment.rows):,}"
    if isinstance(assessment, NumberAssessment):
        return f"of {total} rows, those farthest from their number"
    by = f", the worst by their {size_words(assessment)}" if wrong > 1 else ""
    return f"{wrong:,} of {total} rows are wrong{by}"


def predicted_words(assessment: Assessment) -> tuple[str, str]:
    """Return what the true and the predicted side of a wrong row are called."""
    entities = isinstance(assessment, TagAssessment) and assessment.entities is not None
    return ("missed", "found wrongly") if entities else ("true", "predicted")


def mcnemar_words(test: McNemar, counted: str, b: str = "B") -> str:
    """Return McNemar's test in one line; `b` names the second run."""
    alone = f"{test.only_a} {counted} right in A alone, {test.only_b} in {b} alone"
    rest = f"{test.both} in both, {test.neither} in neither"
    return f"{alone}, {rest}; exact McNemar test: p = {test.p_value:.3g}"


def paired_lines(paired: PairedRuns, other: str = "B", *, flips: bool = True) -> Iterator[str]:
    """Yield how two evaluations of the same rows differ, and with `flips` which rows changed.

    Args:
        paired: The two runs.
        other: The letter of the second.
        flips: Whether to list what changed.
    """
    if paired.test is not None:
        yield mcnemar_words(paired.test, paired.counted, other)
    for name, (value, interval) in paired.differences.items():
        yield f"{name}: {other} - A = {value:+.4g}, {interval}"
    for letter, changed in (("A", paired.better_in_a), (other, paired.better_in_b)):
        if flips and changed:
            yield f"right in {letter} alone: {_counted(len(changed), paired.counted)}"
            yield from as_table([("row", "true", "A", other, "text"), *_flips(changed)], indent=2)
    if flips and paired.note:
        yield paired.note


def _worst(assessed: AssessedRun, assessment: Assessment) -> Iterator[str]:
    yield mistakes_words(assessed, assessment)
    if not assessed.mistakes:
        return
    rows, why = assessed.wrong_rows(WORST)
    head = ("row", size_words(assessment), *predicted_words(assessment), "text")
    cells = [(str(r.row), f"{r.size:.4g}", r.true, r.predicted, _cut(r.text)) for r in rows]
    yield from as_table([head, *cells], indent=2)
    if why:
        yield f"  {why}"


def _flips(changed: Sequence[Flip]) -> list[Row]:
    return [(str(f.row), f.true, f.a, f.b, _cut(f.text)) for f in changed[:WORST]]


def _counted(count: int, counted: str) -> str:
    return f"{count} {counted}" + (f", the first {WORST}" if count > WORST else "")


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}\N{HORIZONTAL ELLIPSIS}"
