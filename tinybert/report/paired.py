"""Two evaluations of the same rows: what changed, row by row, and how sure a difference is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinybert.manifest.document import Run
from tinybert.metrics.assessment import Assessment, ClassAssessment, TagAssessment
from tinybert.metrics.intervals import Interval, bootstrap
from tinybert.metrics.paired import McNemar
from tinybert.report.assessed import AssessedRun


@dataclass(frozen=True)
class Flip:
    """A row, or a true entity, that one run has right and the other has not."""

    row: int
    true: str
    a: str
    """What A predicts, or whether it finds the entity."""
    b: str
    text: str
    """Empty where texts are not at hand."""


@dataclass(frozen=True)
class PairedRuns:
    """Two evaluations of the same rows."""

    counted: str
    """What `test` counts: rows, or true entities."""
    test: McNemar | None
    """None of numbers."""
    differences: dict[str, tuple[float, Interval]]
    """By metric: B minus A, and its interval over resamples of the rows, the same for both."""
    better_in_a: list[Flip]
    """What A alone has right."""
    better_in_b: list[Flip]
    note: str
    """Why there are no texts; mostly empty."""


def pair_runs(a: AssessedRun, b: AssessedRun) -> PairedRuns | None:
    """Compare two evaluations row by row; None unless both were of the same rows and labels."""
    one, other = a.assessment, b.assessment
    if one is None or other is None or type(one) is not type(other) or not _same_rows(a.run, b.run):
        return None
    if not np.array_equal(one.predictions.label_ids, other.predictions.label_ids):
        return None
    every = np.arange(len(one.rows))
    measured = one.metrics_of(every), other.metrics_of(every)
    apart = bootstrap(lambda rows: _minus(other.metrics_of(rows), one.metrics_of(rows)), len(every))
    test, flips, note = None, list[tuple[Flip, bool]](), ""
    if one.right is not None and other.right is not None and one.names == other.names:
        test = McNemar.of(one.right, other.right)
        flips, note = _flips(a, one, other)
    return PairedRuns(
        "true entities" if _entities(one) else "rows",
        test,
        {name: (value, apart[name]) for name, value in _minus(*measured[::-1]).items()},
        [flip for flip, in_a in flips if in_a],
        [flip for flip, in_a in flips if not in_a],
        note,
    )


def _same_rows(a: Run, b: Run) -> bool:
    """Return whether two evaluations read the same record files."""
    files = [
        [file.sha256 for file in run.manifest.inputs.files if file.role == "eval_data"]
        for run in (a, b)
    ]
    return files[0] == files[1]


def _minus(x: dict[str, float], y: dict[str, float]) -> dict[str, float]:
    return {name: x[name] - y[name] for name in x if name in y}


def _entities(assessment: Assessment) -> bool:
    return isinstance(assessment, TagAssessment) and assessment.entities is not None


def _flips(
    a: AssessedRun, one: Assessment, other: Assessment
) -> tuple[list[tuple[Flip, bool]], str]:
    """Return what one run alone has right, each with whether that is A, and why no texts."""
    assert one.right is not None and other.right is not None
    places = np.flatnonzero(one.right != other.right).tolist()
    spans = list(_true_entities(one))
    rows = [spans[place][0] if spans else int(one.rows[place]) for place in places]
    texts, why = a.texts(rows)
    flips = []
    for place, row in zip(places, rows, strict=True):
        in_a = bool(one.right[place])
        if spans:
            true = a.entity_text(row, spans[place][1], texts)
            predicted = ("found", "missed") if in_a else ("missed", "found")
        elif isinstance(one, ClassAssessment):
            true = one.names[int(one.predictions.label_ids[row])]
            predicted = _named(one, row), _named(other, row)
        else:
            true, predicted = "", ("right", "wrong") if in_a else ("wrong", "right")
        text = "" if texts is None else texts.text(row)
        flips.append((Flip(row, true, *predicted, text), in_a))
    return flips, why


def _named(assessment: Assessment, row: int) -> str:
    return assessment.names[int(assessment.predictions.predictions[row])]


def _true_entities(assessment: Assessment) -> Iterator[tuple[int, tuple[int, int, str]]]:
    """Yield row and place of each true entity, in the order of `right`."""
    if isinstance(assessment, TagAssessment) and assessment.entities is not None:
        for row, entities in zip(assessment.rows.tolist(), assessment.entities, strict=True):
            yield from ((row, span) for span in sorted(entities.true))
