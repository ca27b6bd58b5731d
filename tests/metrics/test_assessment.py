"""Intervals, confusions, wrong rows and paired tests, against hand values and other programs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from tinybert.data.labels import IGNORED as X
from tinybert.errors import InputError
from tinybert.metrics import assessment as assessments
from tinybert.metrics.confusion import NO_ENTITY, ClassScore
from tinybert.metrics.intervals import wilson
from tinybert.metrics.metrics import predicted_labels, task_metrics
from tinybert.metrics.paired import McNemar
from tinybert.metrics.predictions import Predictions

TAGS = ("O", "B-PER", "I-PER", "B-LOC")
KINDS = {"classification": (3, None), "regression": (1, None), "ner": (4, TAGS)}


def assess(predictions):
    return assessments.assess(predictions, predictions.task_type)


def drawn(task_type, rows=200, names=None):
    """Return predictions that are better than chance."""
    dice = np.random.default_rng(1)
    classes, tags = KINDS[task_type]
    shape = (rows, 9) if task_type == "ner" else (rows,)
    logits = dice.standard_normal((*shape, classes)).astype(np.float32)
    label_ids = dice.integers(0, classes, shape).astype(np.int32)
    if task_type == "regression":
        label_ids = (logits[:, 0] + dice.standard_normal(rows)).astype(np.float32)
    else:
        np.put_along_axis(logits, label_ids[..., None], 1.5, axis=-1)
    if task_type == "ner":
        label_ids[:, 0] = X
        label_ids[0] = X  # a row of nothing but pieces that do not count
    found = predicted_labels(task_type, logits)
    return Predictions(logits, found, label_ids, names or tags, task_type)


def classes_of(true, logits):
    """Return predictions of two classes from their logits."""
    array = np.array(logits, np.float32)
    found = predicted_labels("classification", array)
    labels = np.array(true, np.int32)
    return Predictions(array, found, labels, ("bad", "good"), "classification")


def tags_of(*rows):
    """Return predictions of rows, each its true and its predicted tags."""
    true, found = (
        np.array([[TAGS.index(tag) for tag in row[side].split()] for row in rows], np.int32)
        for side in (0, 1)
    )
    return Predictions(np.eye(4, dtype=np.float32)[found], found, true, TAGS, "ner")


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (7, 10), (690, 872), (50, 50)])
def test_the_interval_of_an_accuracy_is_wilsons(right, count):
    expected = scipy.stats.binomtest(right, count).proportion_ci(method="wilson")
    interval = wilson(right, count)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= interval.low <= right / count <= interval.high <= 1


def test_wilsons_interval_is_that_of_a_published_example():
    # 81 of 263: 0.2553 to 0.3662 (Newcombe, Statistics in Medicine 17, 1998, table I, method 3)
    assert str(wilson(81, 263)) == "95 % interval 0.2553 to 0.3662 (Wilson)"


@pytest.mark.parametrize("task_type", KINDS)
def test_all_rows_have_the_metrics_of_the_outcome(task_type):
    kept = drawn(task_type)
    assessment = assess(kept)
    method = "pearson" if task_type == "regression" else "accuracy"
    recorded = task_metrics(
        task_type,
        method,
        kept.predictions,
        kept.label_ids,
        num_labels=KINDS[task_type][0],
        label_names=kept.label_names,
    )
    measured = assessment.metrics_of(np.arange(len(assessment.rows)))
    assert measured == pytest.approx(recorded, rel=0 if task_type != "regression" else 1e-12, abs=0)
    assert set(assessment.intervals) == set(recorded)
    for name, value in recorded.items():
        assert assessment.intervals[name].low < value < assessment.intervals[name].high, name


def test_bootstrap_intervals_are_those_of_scipy():
    kept = drawn("classification")
    assessment = assess(kept)
    for name in ("mf1", "matthews"):

        def measure(rows, name=name):
            return assessment.metrics_of(rows)[name]

        theirs = scipy.stats.bootstrap(
            (np.arange(len(kept.label_ids)),),
            measure,
            n_resamples=4000,
            method="percentile",
            vectorized=False,
            random_state=7,
        ).confidence_interval
        ours = assessment.intervals[name]
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)
        assert ours.high - ours.low > 0.05


def test_intervals_of_equal_predictions_are_equal():
    assert assess(drawn("ner")).intervals == assess(drawn("ner")).intervals
    mf1 = assess(drawn("classification")).intervals["mf1"]
    # an anchor: other numbers would mean other resamples
    assert (mf1.low, mf1.high) == pytest.approx((0.860411, 0.944177), abs=1e-6)


def test_a_correlation_of_normal_numbers_has_the_interval_of_fisher():
    assessment = assess(drawn("regression", rows=1000))
    everything = np.arange(1000)
    middle = math.atanh(assessment.metrics_of(everything)["pearson"])
    half = 1.96 / math.sqrt(1000 - 3)
    interval = assessment.intervals["pearson"]
    expected = math.tanh(middle - half), math.tanh(middle + half)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=0.008)


def test_scores_of_classes_are_counted_by_hand():
    #       rows: 1 right good, 2 bad taken for good, 1 good taken for bad, 1 right bad
    kept = classes_of([1, 0, 0, 1, 0], [[0, 1], [0, 2], [0, 3], [4, 0], [1, 0]])
    confusion = assess(kept).confusion
    assert confusion.counts.tolist() == [[1, 2], [1, 1]]
    assert confusion.scores() == [
        ClassScore("bad", 1 / 2, 1 / 3, 2 / 5, 2, 3),
        ClassScore("good", 1 / 3, 1 / 2, 2 / 5, 3, 2),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_confusion_and_scores_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    kept = drawn("classification")
    confusion = assess(kept).confusion
    true, found = kept.label_ids, kept.predictions
    assert confusion.counts.tolist() == metrics.confusion_matrix(true, found).tolist()
    expected = metrics.precision_recall_fscore_support(true, found)
    for score, precision, recall, f1, support in zip(confusion.scores(), *expected, strict=True):
        assert (score.precision, score.recall, score.f1) == pytest.approx((precision, recall, f1))
        assert score.true == support


def test_entities_are_confused_by_their_place():
    kept = tags_of(
        ("B-PER I-PER O B-LOC", "B-PER I-PER O B-PER"),  # LOC taken for PER
        ("B-PER I-PER O O", "B-PER O O B-LOC"),  # a PER too short, and LOC from nothing
        ("O O O O", "O O O O"),
    )
    assessment = assess(kept)
    confusion = assessment.confusion
    assert confusion.names == ("LOC", "PER", NO_ENTITY)
    assert confusion.counts.tolist() == [[0, 1, 0], [0, 1, 1], [1, 1, 0]]
    assert [(s.name, s.predicted, s.true, s.f1) for s in confusion.scores()] == [
        ("LOC", 1, 1, 0.0),
        ("PER", 3, 2, 2 / 5),
    ]
    assert assessment.right.tolist() == [True, False, False]
    first, second = assessment.mistakes()
    assert (first.row, first.size) == (1, 3)
    assert (first.missed, first.spurious) == (((0, 1, "PER"),), ((0, 0, "PER"), (3, 3, "LOC")))
    assert (second.row, second.missed, second.spurious) == (0, ((3, 3, "LOC"),), ((3, 3, "PER"),))


def test_scores_of_entities_are_those_of_seqeval():
    metrics = pytest.importorskip("seqeval.metrics")
    kept = drawn("ner")
    sides = [
        [[TAGS[tag] for tag in row[label_ids != X]] for row, label_ids in zip(*pair, strict=True)]
        for pair in ((kept.label_ids, kept.label_ids), (kept.predictions, kept.label_ids))
    ]
    report = metrics.classification_report(*sides, output_dict=True)
    for score in assess(kept).confusion.scores():
        theirs = report[score.name]
        assert score.f1 == pytest.approx(theirs["f1-score"])
        assert (score.precision, score.recall) == pytest.approx(
            (theirs["precision"], theirs["recall"])
        )
        assert score.true == theirs["support"]


def test_the_worst_rows_are_the_surest_mistakes():
    kept = classes_of([1, 0, 0, 1], [[0, 1], [0, 2], [1, 1.5], [4, 0]])
    mistakes = assess(kept).mistakes()
    assert [(m.row, m.true, m.predicted) for m in mistakes] == [
        (3, "good", "bad"),
        (1, "bad", "good"),
        (2, "bad", "good"),
    ]
    assert mistakes[1].size == pytest.approx(math.log(1 + math.exp(2)))


def test_the_worst_numbers_are_the_farthest():
    array = np.array([[1.0], [2.0], [5.0]], np.float32)
    labels = np.array([1.5, 2.0, 1.0], np.float32)
    mistakes = assess(Predictions(array, array[:, 0], labels, None, "regression")).mistakes()
    assert [(m.row, m.true, m.predicted, m.size) for m in mistakes] == [
        (2, "1", "5", 4.0),
        (0, "1.5", "1", 0.5),
    ]


def test_tags_without_names_are_counted_as_tags():
    kept = drawn("ner")
    unnamed = Predictions(kept.logits, kept.predictions, kept.label_ids, None, "ner")
    assessment = assess(unnamed)
    counted = kept.label_ids != X
    wrong = ((kept.label_ids != kept.predictions) & counted).sum(axis=1)
    assert {m.row: m.size for m in assessment.mistakes()} == {
        row: size for row, size in enumerate(wrong.tolist()) if size
    }
    assert assessment.right.sum() == (wrong[1:] == 0).sum()  # row 0 counts nowhere
    assert assessment.confusion.counts.sum() == counted.sum()
    assert set(assessment.intervals) == {"accuracy", "mf1"}


def test_mcnemar_is_exact():
    a, b = np.zeros((2, 30), np.bool_)
    a[:10] = b[8:10] = b[10:13] = True  # 8 right in A alone, 3 in B alone, 2 in both
    test = McNemar.of(a, b)
    assert (test.both, test.only_a, test.only_b, test.neither) == (2, 8, 3, 17)
    # twice the chance of at most 3 heads in 11 throws
    expected = 2 * sum(math.comb(11, heads) for heads in range(4)) / 2**11
    assert test.p_value == pytest.approx(expected)
    assert McNemar.of(a, a).p_value == 1.0
    assert McNemar.of(b, a).p_value == test.p_value


FORGED = {
    "none of the task type `regression`": ("regression", {}),
    "not those of the logits": ("classification", {"predictions": np.array([1, 1], np.int32)}),
    "no label to measure": ("classification", {"label_ids": np.full(2, X, np.int32)}),
    "label 2 is there; num_labels is 2": ("classification", {"label_ids": np.array([0, 2], "i4")}),
}


@pytest.mark.parametrize(("message", "forged"), FORGED.items(), ids=FORGED)
def test_what_are_no_such_predictions_is_one_clear_error(message, forged):
    task_type, changes = forged
    kept = replace(classes_of([0, 1], [[1, 0], [0, 1]]), label_names=None, **changes)
    with pytest.raises(InputError, match=message):
        assessments.assess(kept, task_type)
