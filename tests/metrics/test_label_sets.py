"""Metrics of rows with any number of labels: by hand, and those of scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinybert.errors import InputError
from tinybert.metrics.assessment import assess
from tinybert.metrics.intervals import wilson
from tinybert.metrics.label_sets import label_set_metrics
from tinybert.metrics.metrics import metric_names, predicted_labels, task_metrics
from tinybert.metrics.predictions import Predictions

SETS = "multi_label_classification"
TRUE = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], np.int32)
LOGITS = np.array([[2, -1, -3], [1, -1, -2], [-1, -2, -4], [3, 5, -0.5]], np.float32)
NAMES = ("news", "sport", "art")
bits = arrays.arrays(
    np.int32, st.tuples(st.integers(1, 12), st.just(4)), elements=st.integers(0, 1)
)


def kept():
    return Predictions(LOGITS, predicted_labels(SETS, LOGITS), TRUE, NAMES, SETS)


def test_metrics_are_as_computed_by_hand():
    metrics = task_metrics(SETS, "micro_f1", kept().predictions, TRUE, num_labels=3)
    # found {news}, {news}, {}, {news, sport}: right 2 of 3 news and 1 of 1 sport; 1 sport is missed
    assert metrics == {
        "exact_match": 2 / 4,
        "micro_f1": 2 * 3 / (4 + 4),
        "mf1": (2 * 2 / (3 + 2) + 2 * 1 / (1 + 2) + 0) / 3,
    }
    assert list(metrics) == metric_names(SETS, 3, tags=True)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60)
@given(bits, st.randoms(use_true_random=False))
def test_metrics_are_those_of_scikit_learn(true, random):
    sklearn = pytest.importorskip("sklearn.metrics")
    found = np.array([[int(random.random() < 0.5) for _ in row] for row in true], np.int32)
    metrics = label_set_metrics(found, true)
    assert metrics["exact_match"] == pytest.approx(sklearn.accuracy_score(true, found))
    for name, average in (("micro_f1", "micro"), ("mf1", "macro")):
        expected = sklearn.f1_score(true, found, average=average, zero_division=0)
        assert metrics[name] == pytest.approx(expected)


def test_a_label_that_is_neither_0_nor_1_is_refused():
    with pytest.raises(InputError, match="the labels of a row are 0 or 1 each"):
        label_set_metrics(TRUE, TRUE + 1)


def test_an_assessment_has_exact_rows_and_the_surest_mistakes():
    assessment = assess(kept(), SETS)
    assert assessment.right.tolist() == [True, False, True, False]
    assert assessment.metrics_of(np.arange(4)) == label_set_metrics(kept().predictions, TRUE)
    interval = assessment.intervals["exact_match"]
    assert interval == wilson(2, 4)
    assert set(assessment.intervals) == {"exact_match", "micro_f1", "mf1"}
    mistakes = [(m.row, m.true, m.predicted) for m in assessment.mistakes()]
    assert mistakes == [(3, "sport", "news, sport"), (1, "news, sport", "news")]
    losses = np.log1p(np.exp(LOGITS[3])) - TRUE[3] * LOGITS[3]
    assert assessment.mistakes()[0].size == pytest.approx(losses.mean())


def test_predictions_are_kept_and_read_back(tmp_path):
    predictions = kept()
    predictions.save(tmp_path / "predictions.safetensors")
    again = Predictions.load(tmp_path / "predictions.safetensors")
    assert np.array_equal(again.predictions, predictions.predictions)
    assert (again.label_names, again.task_type) == (NAMES, SETS)
    lines = again.lines().decode().splitlines()
    assert lines[1].startswith(
        '{"row": 1, "label": ["news", "sport"], "prediction": ["news"], "logits"'
    )
    assert '"label": [], "prediction": [],' in lines[2]
