"""Metrics of a whole dev set, each one number.

Where a formula divides by zero the metric is 0: F1 without a true and without a predicted
positive, Matthews where one side knows one class alone, a correlation with constant numbers.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinybert.data.labels import IGNORED
from tinybert.data.rows import LabelArray
from tinybert.errors import InputError
from tinybert.metrics.entities import ENTITY_METRICS, entity_scores
from tinybert.metrics.label_sets import label_set_metrics
from tinybert.recipe.task_types import TASK_KINDS, TaskType

IntArray = npt.NDArray[np.integer[Any]]
Numbers = npt.NDArray[np.number[Any]]


def predicted_labels(task_type: TaskType, logits: npt.NDArray[np.float32]) -> LabelArray:
    """Return what logits (N, C) or (N, S, C) predict for each row or token.

    Returns:
        The most likely class, int32 (N,) or (N, S); the number, float32 (N,), of a regression; of
        any number of labels, int32 (N, C) with 1 where a label is likelier than not; of answers,
        int32 (N, 2), the most likely first and last token on their own.
    """
    if task_type == "question_answering":
        return np.asarray(np.argmax(logits, axis=1), np.int32)
    if task_type == "regression":
        return np.asarray(logits[..., 0])
    if task_type == "multi_label_classification":
        return np.asarray(logits > 0, np.int32)
    return np.asarray(np.argmax(logits, axis=-1), np.int32)


def metric_names(task_type: TaskType, num_labels: int, *, tags: bool) -> list[str]:
    """Return the names of the metrics that `task_metrics` returns.

    Args:
        task_type: What is predicted.
        num_labels: Number of classes.
        tags: Whether label names are known.
    """
    left_out = [*(() if tags else ENTITY_METRICS), *(() if num_labels == 2 else ("bf1",))]
    return [name for name in TASK_KINDS[task_type].measured if name not in left_out]


def task_metrics(
    task_type: TaskType,
    assessment_method: str,
    predictions: LabelArray,
    label_ids: LabelArray,
    *,
    num_labels: int,
    label_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Return every metric of a task; they hold all that GLUE publishes for its tasks.

    Those of answers ask for texts: `metrics.answers`.

    Args:
        task_type: What is predicted.
        assessment_method: Name of the metric that selects, which must be among them.
        predictions: (N,) classes or numbers, (N, S) classes for ner, or (N, C) 0 or 1 for any
            number of labels.
        label_ids: The same shape; `IGNORED` where nothing is measured.
        num_labels: Number of classes (C).
        label_names: Label names in the order of their ids, if they are known.

    Returns:
        classification: accuracy, mf1, matthews and, for 2 labels, bf1; regression: pearson,
        spearman; ner: accuracy and mf1 of tokens and, where label names are known,
        entity_precision, entity_recall, entity_f1; any number of labels: see `label_set_metrics`.

    Raises:
        InputError: There is nothing to measure, a label is not below `num_labels`, the names
            are no tags, or `assessment_method` is not among the metrics.
    """
    counted = label_ids != IGNORED
    if not counted.any():
        raise InputError("there is no label to measure predictions against")
    predicted, true = predictions[counted], label_ids[counted]
    if task_type == "regression":
        scores = {"pearson": pearson(predicted, true), "spearman": spearman(predicted, true)}
    elif task_type == "ner":
        check_label_range(true, num_labels)
        scores = token_metrics(ClassCounts.of(predicted, true, num_labels))
        if label_names is not None:
            scores |= entity_scores(predictions, label_ids, label_names)
    elif task_type == "multi_label_classification":
        scores = label_set_metrics(
            *(np.asarray(side, np.int32) for side in (predictions, label_ids))
        )
    else:
        check_label_range(true, num_labels)
        scores = class_metrics(ClassCounts.of(predicted, true, num_labels))
    if assessment_method not in scores:
        raise InputError(
            f"`{assessment_method}` cannot be measured here; measured: {', '.join(scores)}",
            cure="entity_f1 needs records that `prepare ner` made: they name the labels",
        )
    return scores


class ClassCounts(NamedTuple):
    """How often each of C classes is predicted rightly, predicted, and true: (C,) each."""

    right: IntArray
    predicted: IntArray
    true: IntArray

    @classmethod
    def of(cls, predictions: IntArray, label_ids: IntArray, num_labels: int) -> "ClassCounts":
        """Count (N,) predictions and labels of `num_labels` classes, or more if there are more."""
        classes = max(num_labels, int(predictions.max()) + 1, int(label_ids.max()) + 1)
        right = label_ids[predictions == label_ids]
        return cls(
            *(np.bincount(ids, minlength=classes) for ids in (right, predictions, label_ids))
        )


def class_metrics(counts: ClassCounts) -> dict[str, float]:
    """Return the metrics of a classification."""
    scores = token_metrics(counts) | {"matthews": matthews(counts)}
    return scores | {"bf1": bf1(counts)} if len(counts.true) == 2 else scores


def token_metrics(counts: ClassCounts) -> dict[str, float]:
    """Return the metrics of tags that do not ask for their names."""
    return {"accuracy": accuracy(counts), "mf1": mf1(counts)}


def accuracy(counts: ClassCounts) -> float:
    """Return the share of predictions that are right."""
    return float(counts.right.sum() / counts.true.sum())


def bf1(counts: ClassCounts) -> float:
    """Return F1 of class 1 of two classes."""
    right, predicted, true = counts
    return float(2 * right[1] / max(1, predicted[1] + true[1]))


def mf1(counts: ClassCounts) -> float:
    """Return F1 averaged over the classes that predictions or labels hold."""
    right, predicted, true = counts
    there = predicted + true > 0
    return float(np.mean(2 * right[there] / (predicted + true)[there]))


def matthews(counts: ClassCounts) -> float:
    """Return Matthews' correlation, for any number of classes.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation
    coefficient, 2004.
    """
    right, predicted, true = counts
    rows = int(true.sum())
    spread = float(rows**2 - predicted @ predicted) * float(rows**2 - true @ true)
    if spread == 0:
        return 0.0
    return float(rows * right.sum() - predicted @ true) / math.sqrt(spread)


def pearson(predictions: Numbers, labels: Numbers) -> float:
    """Return Pearson's correlation of (N,) numbers; NaN if one of them is not finite.

    Its sums are exact, so that it is the same on every processor.
    """
    pairs = np.stack([predictions, labels]).astype(np.float64)
    if not np.isfinite(pairs).all():
        return float("nan")
    if 0 in np.ptp(pairs, axis=1):
        return 0.0
    x, y = pairs - [[_sum(side) / len(side)] for side in pairs]
    covariance, x_squares, y_squares = _sum(x * y), _sum(x * x), _sum(y * y)
    return max(-1.0, min(1.0, covariance / math.sqrt(x_squares) / math.sqrt(y_squares)))


def spearman(predictions: Numbers, labels: Numbers) -> float:
    """Return Pearson's correlation of the ranks; equal numbers share the mean of their ranks."""
    if not (np.isfinite(predictions).all() and np.isfinite(labels).all()):
        return float("nan")
    from scipy.stats import rankdata  # takes half a second to import

    return pearson(rankdata(predictions), rankdata(labels))


def check_label_range(label_ids: IntArray, num_labels: int) -> None:
    """Raise an InputError unless label ids (N,) are from 0 to below `num_labels`."""
    if label_ids.min() < 0 or label_ids.max() >= num_labels:
        wrong = label_ids[(label_ids < 0) | (label_ids >= num_labels)][0]
        raise InputError(
            f"label {wrong} is there; num_labels is {num_labels}, so labels go from 0 to "
            f"{num_labels - 1}",
            cure="let num_labels be the number of labels in the records",
        )


def _sum(values: npt.NDArray[np.float64]) -> float:
    return math.fsum(values.tolist())
