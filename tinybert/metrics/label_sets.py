"""Metrics of rows with any number of labels each, equal to scikit-learn's.

Where a label is neither predicted nor true, its F1 is 0, as with scikit-learn's `zero_division=0`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.errors import InputError

Counts = npt.NDArray[np.integer[Any]]
LabelSets = npt.NDArray[np.int32]
"""(N, C), 1 where a row has a label."""


def label_set_metrics(predictions: LabelSets, label_ids: LabelSets) -> dict[str, float]:
    """Return every metric of label sets (N, C).

    Returns:
        exact_match: the share of rows all of whose labels are right, and no other predicted
        (`accuracy_score`); micro_f1: F1 over all labels of all rows together; mf1: F1 averaged over
        the labels (`f1_score` with `average="micro"` and `"macro"`).

    Raises:
        InputError: A label is neither 0 nor 1.
    """
    if label_ids.min() < 0 or label_ids.max() > 1:
        raise InputError("the labels of a row are 0 or 1 each")
    return label_count_metrics(
        int((predictions == label_ids).all(axis=1).sum()),
        len(label_ids),
        *(side.sum(axis=0) for side in (predictions & label_ids, predictions, label_ids)),
    )


def label_count_metrics(
    exact: int, rows: int, right: Counts, predicted: Counts, true: Counts
) -> dict[str, float]:
    """Return every metric from how many rows are exact, and counts of each label (C,)."""
    counted = int(predicted.sum() + true.sum())
    return {
        "exact_match": exact / rows,
        "micro_f1": 2 * int(right.sum()) / max(1, counted),
        "mf1": float(np.mean(2 * right / np.maximum(1, predicted + true))),
    }
