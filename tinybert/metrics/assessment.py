"""What kept predictions show beyond their metrics: intervals, confusions, and the wrong rows.

Classes, numbers and tags each have their own way; `assess` chooses it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tinybert.data.labels import IGNORED
from tinybert.errors import InputError
from tinybert.metrics.answers import answer_metrics
from tinybert.metrics.confusion import Confusion, confuse_classes, confuse_entities
from tinybert.metrics.entities import Span, entity_rows, scores_of_counts
from tinybert.metrics.intervals import Interval, Rows, bootstrap, wilson
from tinybert.metrics.label_sets import label_set_metrics
from tinybert.metrics.metrics import (
    ClassCounts,
    Numbers,
    check_label_range,
    class_metrics,
    predicted_labels,
    token_metrics,
)
from tinybert.metrics.paired import Flags
from tinybert.metrics.predictions import Predictions
from tinybert.recipe.task_types import TASK_KINDS, TaskType

NO_LABEL = "none"
"""What stands for the labels of a row that has none."""


@dataclass(frozen=True)
class Mistake:
    """A row that is predicted wrongly."""

    row: int
    """From 0, in the order of the record files."""
    size: float
    """How wrong: the cross entropy, the distance of two numbers, or the number of entities that
    were missed or are none; of tags without names, the number of wrong ones; of an answer, what its
    F1 lacks of 1."""
    true: str = ""
    """The true class or number, or all true labels."""
    predicted: str = ""
    missed: tuple[Span, ...] = ()
    """True entities that were not found."""
    spurious: tuple[Span, ...] = ()
    """Entities that were found and are none."""


class Assessment(ABC):
    """Predictions of a dev set, seen row by row.

    Args:
        predictions: The predictions.
    """

    confusion: Confusion | None = None
    """What was taken for what; None of numbers."""
    right: Flags | None = None
    """Whether each of `rows` is right, or each true entity found, in order; None of numbers."""
    share_right: str | None = None
    """The metric that is the share of right rows; None where no metric is."""

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        self.classes = predictions.logits.shape[-1]
        """Number of classes; 1 of numbers."""
        self.names = predictions.label_names or tuple(map(str, range(self.classes)))
        """Of the classes, in the order of their ids; without known names, the ids."""
        self.counted = predictions.label_ids != IGNORED
        """(N,) or (N, S): where anything is measured."""
        by_row = self.counted.reshape(len(self.counted), -1)
        self.rows: Rows = np.flatnonzero(by_row.any(axis=1))
        """The rows where anything is measured."""

    @abstractmethod
    def metrics_of(self, rows: Rows) -> dict[str, float]:
        """Return the metrics of some of `rows`, each as often as its place in them is named."""

    @abstractmethod
    def _mistakes(self) -> Iterator[Mistake]:
        """Yield the wrong rows."""

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The interval of every metric: Wilson's of the share of right rows, else by resamples."""
        intervals = bootstrap(self.metrics_of, len(self.rows))
        if self.share_right is not None and self.right is not None:
            intervals[self.share_right] = wilson(int(self.right.sum()), len(self.right))
        return intervals

    def mistakes(self) -> list[Mistake]:
        """Return the wrong rows, the worst first, those alike in their order."""
        return sorted(self._mistakes(), key=lambda mistake: -mistake.size)


def assess(predictions: Predictions, task_type: TaskType) -> Assessment:
    """Return the assessment of predictions of a task.

    Raises:
        InputError: They are not of such a task, or there is nothing to assess.
    """
    expected, label_ids = predicted_labels(task_type, predictions.logits), predictions.label_ids
    counted = label_ids[label_ids != IGNORED]
    if task_type == "question_answering" and predictions.scores is None:
        raise InputError("the predictions have no scores of answers")
    by_token = predictions.logits.ndim == 3
    fits = expected.shape == label_ids.shape and expected.dtype == label_ids.dtype
    if not fits or TASK_KINDS[task_type].logits_by_token != by_token:
        raise InputError(f"the predictions are none of the task type `{task_type}`")
    if not np.array_equal(expected, predictions.predictions):
        raise InputError("the predictions are not those of the logits")
    if not counted.size:
        raise InputError("there is no label to measure predictions against")
    if task_type == "regression":
        return NumberAssessment(predictions)
    if task_type == "question_answering":
        return AnswerAssessment(predictions)
    if task_type == "multi_label_classification":
        return LabelSetAssessment(predictions)
    check_label_range(counted, predictions.logits.shape[-1])
    return TagAssessment(predictions) if task_type == "ner" else ClassAssessment(predictions)


class NumberAssessment(Assessment):
    """Predictions of a regression."""

    def metrics_of(self, rows: Rows) -> dict[str, float]:
        """Return the correlations of some rows, up to rounding: exact sums would take seconds."""
        from scipy.stats import rankdata  # takes half a second to import

        at, kept = self.rows[rows], self.predictions
        pair = kept.predictions[at], kept.label_ids[at]
        return {"pearson": _correlation(*pair), "spearman": _correlation(*map(rankdata, pair))}

    def _mistakes(self) -> Iterator[Mistake]:
        kept = self.predictions
        for row in self.rows.tolist():
            predicted, true = float(kept.predictions[row]), float(kept.label_ids[row])
            if predicted != true:
                yield Mistake(row, abs(predicted - true), f"{true:.4g}", f"{predicted:.4g}")


class ClassAssessment(Assessment):
    """Predictions of a classification."""

    share_right = "accuracy"

    def __init__(self, predictions: Predictions) -> None:
        super().__init__(predictions)
        self._predicted = predictions.predictions[self.rows].astype(np.int32)
        self._true = predictions.label_ids[self.rows].astype(np.int32)
        self.right = np.asarray(self._predicted == self._true)
        self.confusion = confuse_classes(self._predicted, self._true, self.names)

    def metrics_of(self, rows: Rows) -> dict[str, float]:
        """Return the metrics of some rows."""
        counts = ClassCounts.of(self._predicted[rows], self._true[rows], self.classes)
        return class_metrics(counts)

    def _mistakes(self) -> Iterator[Mistake]:
        losses = _cross_entropy(self.predictions.logits[self.rows], self._true)
        for place in np.flatnonzero(self._predicted != self._true).tolist():
            true, predicted = (self.names[ids[place]] for ids in (self._true, self._predicted))
            yield Mistake(int(self.rows[place]), float(losses[place]), true, predicted)


class LabelSetAssessment(Assessment):
    """Predictions of any number of labels a row."""

    share_right = "exact_match"

    def __init__(self, predictions: Predictions) -> None:
        super().__init__(predictions)
        self._predicted = predictions.predictions.astype(np.int32)
        self._true = predictions.label_ids.astype(np.int32)
        self.right = np.asarray((self._predicted == self._true).all(axis=1))

    def metrics_of(self, rows: Rows) -> dict[str, float]:
        """Return the metrics of some rows."""
        return label_set_metrics(self._predicted[rows], self._true[rows])

    def _mistakes(self) -> Iterator[Mistake]:
        assert self.right is not None
        logits, true = self.predictions.logits.astype(np.float64), self._true
        losses = (np.logaddexp(0, logits) - true * logits).mean(axis=1)
        for row in np.flatnonzero(~self.right).tolist():
            true_names, predicted = (self._names(side[row]) for side in (true, self._predicted))
            yield Mistake(row, float(losses[row]), true_names, predicted)

    def _names(self, labels: npt.NDArray[np.int32]) -> str:
        return ", ".join(self.names[label] for label in np.flatnonzero(labels)) or NO_LABEL


class AnswerAssessment(Assessment):
    """Predictions of answers; its `rows` are the first row of each question."""

    share_right = "exact_match"

    def __init__(self, predictions: Predictions) -> None:
        super().__init__(predictions)
        assert predictions.scores is not None and predictions.questions is not None
        self._scores = predictions.scores
        self.rows = np.unique(predictions.questions, return_index=True)[1]
        self.right = np.asarray(self._scores[:, 0] == 1)

    def metrics_of(self, rows: Rows) -> dict[str, float]:
        """Return the metrics of some questions."""
        return answer_metrics(self._scores[rows])

    def _mistakes(self) -> Iterator[Mistake]:
        for row, (exact, f1) in zip(self.rows.tolist(), self._scores.tolist(), strict=True):
            if exact < 1:
                yield Mistake(row, 1 - f1)


class TagAssessment(Assessment):
    """Predictions of tags: of entities where the tags have names, else of tags alone."""

    def __init__(self, predictions: Predictions) -> None:
        super().__init__(predictions)
        predicted, label_ids, names = (
            predictions.predictions[self.rows],
            predictions.label_ids[self.rows],
            predictions.label_names,
        )
        both = zip(predicted, label_ids, strict=True)
        self._tags = np.array([_flat_counts(*row, self.classes) for row in both])
        if names is None:
            self.confusion = confuse_classes(predicted, label_ids, self.names)
            self.right = np.asarray(((predicted == label_ids) | (label_ids == IGNORED)).all(axis=1))
            self.entities = None
            return
        self.entities = entity_rows(predicted, label_ids, names)
        """The entities of each of `rows`; None without names."""
        self._counts = np.array([row.counts for row in self.entities])
        self.confusion = confuse_entities(self.entities)
        of_rows = ((row, span) for row in self.entities for span in sorted(row.true))
        self.right = np.array([span in row.predicted for row, span in of_rows], np.bool_)

    def metrics_of(self, rows: Rows) -> dict[str, float]:
        """Return the metrics of some rows."""
        counts = ClassCounts(*self._tags[rows].sum(axis=0).reshape(3, self.classes))
        metrics = token_metrics(counts)
        if self.entities is not None:
            metrics |= scores_of_counts(*self._counts[rows].sum(axis=0).tolist())
        return metrics

    def _mistakes(self) -> Iterator[Mistake]:
        right, _, true = self._tags.reshape(len(self.rows), 3, self.classes).sum(axis=2).T
        for place, row in enumerate(self.rows.tolist()):
            if self.entities is None:
                if right[place] < true[place]:
                    yield Mistake(row, int(true[place] - right[place]))
                continue
            entities = self.entities[place]
            missed = tuple(sorted(entities.true - entities.predicted))
            spurious = tuple(sorted(entities.predicted - entities.true))
            if missed or spurious:
                size = len(missed) + len(spurious)
                yield Mistake(row, size, missed=missed, spurious=spurious)


def _flat_counts(
    predicted: npt.NDArray[np.int32], label_ids: npt.NDArray[np.int32], classes: int
) -> npt.NDArray[np.int64]:
    """Return the counts of a row of tags: (3 C,)."""
    counted = label_ids != IGNORED
    return np.concatenate(ClassCounts.of(predicted[counted], label_ids[counted], classes))


def _correlation(x: Numbers, y: Numbers) -> float:
    """Return Pearson's correlation; 0 with constant numbers."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = (side.astype(np.float64) - side.mean(dtype=np.float64) for side in (x, y))
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def _cross_entropy(
    logits: npt.NDArray[np.float32], label_ids: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Return the cross entropy (N,) of logits (N, C) and labels (N,)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    of_label = np.take_along_axis(shifted, label_ids[:, None].astype(np.int64), axis=1)[:, 0]
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - of_label)
