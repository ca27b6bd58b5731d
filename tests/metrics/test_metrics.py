import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybert.data.labels import IGNORED as X
from tinybert.errors import InputError
from tinybert.metrics.metrics import (
    ClassCounts,
    accuracy,
    bf1,
    matthews,
    mf1,
    pearson,
    spearman,
    task_metrics,
)

#            tp fn fp tn tn
TRUE = np.array([1, 1, 0, 0, 0])
FOUND = np.array([1, 0, 1, 0, 0])
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30).map(
    lambda rows: tuple(np.array(column, np.int32) for column in zip(*rows, strict=True))
)
numbers = st.integers(-50, 50).map(lambda n: n / 8)
number_pairs = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30).map(
    lambda rows: tuple(np.array(column, np.float32) for column in zip(*rows, strict=True))
)


def counts(found, true):
    return ClassCounts.of(found, true, 2)


def f1_by_definition(found, true, positive):
    """2 P R / (P + R), from precision and recall as fractions of counted pairs."""
    rows = list(zip(found.tolist(), true.tolist(), strict=True))
    right = sum(f == t == positive for f, t in rows)
    predicted = sum(f == positive for f, _ in rows)
    there = sum(t == positive for _, t in rows)
    if right == 0:
        return 0.0
    precision, recall = right / predicted, right / there
    return 2 * precision * recall / (precision + recall)


def matthews_by_definition(found, true):
    """Pearson's correlation of one-hot encodings, all classes in one sum."""
    classes = range(max(found.max(), true.max()) + 1)
    centred = [
        np.stack([(values == c) - np.mean(values == c) for c in classes])
        for values in (found, true)
    ]
    if any(np.allclose(one, 0) for one in centred):
        return 0.0
    covariance = (centred[0] * centred[1]).sum()
    return covariance / math.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())


def test_class_metrics_are_as_computed_by_hand():
    assert accuracy(counts(FOUND, TRUE)) == 3 / 5
    assert bf1(counts(FOUND, TRUE)) == 2 * 1 / (2 + 2)
    assert mf1(counts(FOUND, TRUE)) == pytest.approx((1 / 2 + 4 / 6) / 2)
    assert matthews(counts(FOUND, TRUE)) == pytest.approx(
        (1 * 2 - 1 * 1) / math.sqrt(2 * 2 * 3 * 3)
    )


def test_correlations_are_as_computed_by_hand():
    true = np.array([1, 2, 3, 4], np.float32)
    found = np.array([1, 3, 3, 100], np.float32)
    assert spearman(found, true) == pytest.approx(9 / math.sqrt(5 * 4 * 4.5))  # ranks 1 2.5 2.5 4
    centred = found - 26.75
    assert pearson(found, true) == pytest.approx(
        float(centred @ (true - 2.5)) / math.sqrt(float(centred @ centred) * 5)
    )
    assert pearson(-found, true) == pytest.approx(-pearson(found, true))


@given(pairs)
def test_class_metrics_are_those_of_their_definitions(pair):
    found, true = pair
    there = sorted(set(found.tolist()) | set(true.tolist()))
    each = [f1_by_definition(found, true, label) for label in there]
    assert mf1(counts(found, true)) == pytest.approx(sum(each) / len(each))
    assert bf1(counts(found, true)) == pytest.approx(f1_by_definition(found, true, 1))
    assert matthews(counts(found, true)) == pytest.approx(
        matthews_by_definition(found, true), abs=1e-12
    )


@given(number_pairs)
def test_correlations_are_those_of_scipy(pair):
    found, true = pair
    if np.ptp(found) == 0 or np.ptp(true) == 0:
        assert pearson(found, true) == spearman(found, true) == 0
        return
    exact = found.astype(float), true.astype(float)
    assert pearson(found, true) == pytest.approx(scipy.stats.pearsonr(*exact)[0], abs=1e-9)
    assert spearman(found, true) == pytest.approx(scipy.stats.spearmanr(*exact)[0], abs=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@settings(max_examples=60)
@given(pairs)
def test_class_metrics_are_those_of_scikit_learn(pair):
    metrics = pytest.importorskip("sklearn.metrics")
    found, true = pair
    assert accuracy(counts(found, true)) == pytest.approx(metrics.accuracy_score(true, found))
    macro = metrics.f1_score(true, found, average="macro", zero_division=0)
    assert mf1(counts(found, true)) == pytest.approx(macro)
    binary = metrics.f1_score(true == 1, found == 1, zero_division=0)
    assert bf1(counts(found, true)) == pytest.approx(binary)
    expected = metrics.matthews_corrcoef(true, found)
    assert matthews(counts(found, true)) == pytest.approx(expected, abs=1e-12)


def test_degenerate_cases_have_a_value():
    zeros, ones = np.zeros(4, np.int32), np.ones(4, np.int32)
    assert bf1(counts(zeros, zeros)) == 0  # neither a true nor a predicted positive
    assert bf1(counts(ones, ones)) == mf1(counts(zeros, zeros)) == 1
    assert matthews(counts(zeros, np.array([0, 1, 0, 1]))) == matthews(counts(ones, ones)) == 0
    constant = np.full(1500, 0.1, np.float32)
    assert pearson(constant, np.arange(1500)) == spearman(constant, np.arange(1500)) == 0
    assert pearson(np.ones(1), np.ones(1)) == 0
    broken = np.array([1, np.nan, 2]), np.arange(3)
    assert math.isnan(pearson(*broken)) and math.isnan(spearman(*broken))


def test_each_task_reports_every_metric_that_glue_publishes_for_it():
    def names(*arguments, **more):
        return set(task_metrics(*arguments, **more))

    found, true = np.array([0, 1, 1]), np.array([0, 1, 0])
    two = names("classification", "accuracy", found, true, num_labels=2)
    assert two == {"accuracy", "mf1", "matthews", "bf1"}
    three = names("classification", "mf1", found, true, num_labels=3)
    assert three == {"accuracy", "mf1", "matthews"}
    numbers = found.astype(np.float32), true.astype(np.float32)
    assert names("regression", "pearson", *numbers, num_labels=1) == {"pearson", "spearman"}
    tags = {"num_labels": 2, "label_names": ("O", "B-a")}
    entities = {"entity_precision", "entity_recall", "entity_f1"}
    assert names("ner", "entity_f1", found[None], true[None], **tags) == {
        "accuracy",
        "mf1",
        *entities,
    }


def test_positions_that_are_ignored_count_nowhere():
    label_ids = np.array([[X, 1, X, 2], [X, 0, X, X]], np.int32)
    predictions = np.array([[0, 1, 2, 2], [1, 1, 1, 1]], np.int32)
    names = ("O", "B-a", "B-b")
    scores = task_metrics(
        "ner", "entity_f1", predictions, label_ids, num_labels=3, label_names=names
    )
    assert scores == {
        "accuracy": 2 / 3,
        "mf1": pytest.approx((0 + 2 / 3 + 1) / 3),
        "entity_precision": 2 / 3,
        "entity_recall": 1,
        "entity_f1": 4 / 5,
    }


@pytest.mark.parametrize(
    ("task_type", "method", "label_ids", "message"),
    [
        ("classification", "accuracy", [], "there is no label to measure predictions against"),
        ("ner", "accuracy", [[X]], "there is no label to measure predictions against"),
        (
            "classification",
            "accuracy",
            [0, 2],
            "label 2 is there; num_labels is 2, so labels go from 0 to 1\n"
            "help: let num_labels be the number of labels in the records",
        ),
        (
            "ner",
            "entity_f1",
            [[0, 1]],
            "`entity_f1` cannot be measured here; measured: accuracy, mf1\n"
            "help: entity_f1 needs records that `prepare ner` made: they name the labels",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_clear_error(task_type, method, label_ids, message):
    labels = np.array(label_ids, np.int32)
    with pytest.raises(InputError) as error:
        task_metrics(task_type, method, np.zeros_like(labels), labels, num_labels=2)
    assert str(error.value) == message


@pytest.mark.parametrize("rows", [3, 10, 333, 872, 67_349])
def test_perfect_predictions_have_matthews_1(rows):
    labels = np.arange(rows) % 3 % 2
    assert matthews(counts(labels, labels)) == 1.0
    assert matthews(counts(labels, 1 - labels)) == -1.0
