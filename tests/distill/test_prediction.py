"""The losses of predictions by hand, row by row: padding, fillers, ignored tokens, shares."""

import math

import mindspore as ms
import numpy as np
import pytest

from tests.model.networks import random_batch, random_weights, tiny
from tinybert.data.batch import Batch
from tinybert.distill.normalizers import label_inputs, logit_inputs
from tinybert.distill.prediction import (
    LabelLoss,
    LabelTraining,
    LogitLoss,
    PredictionDistiller,
)
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import load_into, softmax_and_log
from tinybert.model.parameters import head_shapes
from tinybert.recipe.network import HeadConfig

ROWS = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32) * 2
TOKENS = np.random.default_rng(4).standard_normal((4, 5, 3)).astype(np.float32) * 2
OTHER = np.random.default_rng(5).standard_normal((4, 5, 3)).astype(np.float32) * 2
LENGTHS = np.array([5, 3, 2, 5])
MASK = (np.arange(5) < LENGTHS[:, None]).astype(np.int32)
FILLED = np.array([True, True, True, False])
ALL = np.ones(4, bool)
TAGS = np.array([[-100, 2, 0, 1, -100], [-100, 1, -100, -100, -100], [-100] * 5, [0] * 5], np.int32)


def batch(label_ids):
    return Batch(MASK, MASK, MASK, label_ids=np.asarray(label_ids))


def log_probs(logits):
    """Log-softmax of a list of numbers."""
    total = math.log(sum(math.exp(value) for value in logits))
    return [value - total for value in logits]


def label_loss(task_type, logits, label_ids, filled=FILLED):
    given = label_inputs(batch(label_ids), filled)
    inputs = (logits, given.label_ids, given.label_normalizers)
    return float(LabelLoss(task_type)(*map(ms.Tensor, inputs)))


def logit_loss(task_type, taught, logits, filled=FILLED, temperature=1.0):
    given = logit_inputs(batch(TAGS), filled, taught.ndim == 3)
    inputs = (taught, logits, given.logit_normalizers)
    return float(LogitLoss(task_type, temperature)(*map(ms.Tensor, inputs)))


@pytest.mark.parametrize("filled", [ALL, FILLED])
def test_cross_entropy_is_the_mean_over_rows(filled):
    labels = np.array([2, 0, 1, 1], np.int32)
    losses = [-log_probs(row)[label] for row, label in zip(ROWS.tolist(), labels, strict=True)]
    expected = sum(losses[: filled.sum()]) / filled.sum()
    assert label_loss("classification", ROWS, labels, filled) == pytest.approx(expected, rel=1e-6)


def test_squared_error_is_the_mean_over_rows():
    scores = np.array([3.5, 0.25, -1.0, 100.0], np.float32)
    expected = sum((float(ROWS[i, 0]) - float(scores[i])) ** 2 for i in range(3)) / 3
    assert label_loss("regression", ROWS[:, :1], scores) == pytest.approx(expected, rel=1e-6)


def test_a_number_of_minus_100_is_a_label():
    scores = np.array([-100.0, 0.0, 0.0, 0.0], np.float32)
    assert label_loss("regression", ROWS[:, :1], scores) > 1000


def test_cross_entropy_of_tags_leaves_out_ignored_tokens_and_fillers():
    places = [(0, 1), (0, 2), (0, 3), (1, 1)]
    expected = sum(-log_probs(TOKENS[p].tolist())[TAGS[p]] for p in places) / len(places)
    assert label_loss("ner", TOKENS, TAGS) == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_labels_has_no_loss():
    assert label_loss("ner", TOKENS, np.full((4, 5), -100, np.int32)) == 0.0


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_soft_cross_entropy_is_the_mean_over_rows_and_classes(temperature):
    taught, total = OTHER[:, 0], 0.0
    for row in range(3):
        teacher = log_probs((taught[row] / temperature).tolist())
        student = log_probs((ROWS[row] / temperature).tolist())
        total -= sum(math.exp(t) * s for t, s in zip(teacher, student, strict=True))
    found = logit_loss("classification", taught, ROWS, temperature=temperature)
    assert found == pytest.approx(total / 3 / 3, rel=1e-6)


def test_soft_cross_entropy_of_tags_leaves_out_padding_and_fillers():
    places = [(row, place) for row in range(3) for place in range(LENGTHS[row])]
    total = 0.0
    for place in places:
        teacher, student = log_probs(OTHER[place].tolist()), log_probs(TOKENS[place].tolist())
        total -= sum(math.exp(t) * s for t, s in zip(teacher, student, strict=True))
    found = logit_loss("ner", OTHER, TOKENS)
    assert found == pytest.approx(total / len(places) / 3, rel=1e-6)


SETS = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], np.int32)


def set_loss(logits, label_ids, filled=FILLED):
    given = label_inputs(batch(label_ids), filled, by_token=False)
    inputs = (logits, given.label_ids, given.label_normalizers)
    return LabelLoss("multi_label_classification")(*map(ms.Tensor, inputs))


def binary(logit, target):
    """The binary cross-entropy of a number from its definition."""
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


@pytest.mark.parametrize("filled", [ALL, FILLED])
def test_sets_of_labels_have_the_binary_cross_entropy_averaged_over_rows_and_classes(filled):
    rows = int(filled.sum())
    places = [(row, label) for row in range(rows) for label in range(3)]
    expected = sum(binary(float(ROWS[p]), int(SETS[p])) for p in places) / len(places)
    assert float(set_loss(ROWS, SETS, filled)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("logit", [0.0, -0.0, 3.0, -3.0, 80.0, -3e4])
def test_the_gradient_of_a_label_is_its_probability_less_its_truth(logit):
    logits = np.full((1, 2), logit, np.float32)
    labels = np.array([[0, 1]], np.int32)
    given = label_inputs(batch(labels), np.ones(1, bool), by_token=False)
    loss = LabelLoss("multi_label_classification")
    inputs = [ms.Tensor(x) for x in (logits, given.label_ids, given.label_normalizers)]
    value, gradient = ms.value_and_grad(loss, 0)(*inputs)
    probability = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    wanted = [probability / 2, (probability - 1) / 2]
    assert gradient.asnumpy()[0].tolist() == pytest.approx(wanted, abs=1e-6)
    assert float(value) == pytest.approx(
        (max(logit, 0) + max(-logit, 0)) / 2 + math.log1p(math.exp(-abs(logit))), rel=1e-6
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("mixed", [False, True])
def test_sets_of_labels_are_distilled_class_by_class(temperature, mixed):
    taught = OTHER[:, 0]
    given = logit_inputs(batch(SETS), FILLED, by_token=False)
    loss = LogitLoss("multi_label_classification", temperature, sum_classes=mixed)
    found = loss(*map(ms.Tensor, (taught, ROWS, given.logit_normalizers)))
    expected = 0.0
    for place in [(row, label) for row in range(3) for label in range(3)]:
        target = 1 / (1 + math.exp(-float(taught[place]) / temperature))
        expected += binary(float(ROWS[place]) / temperature, target) / 9
    assert float(found) == pytest.approx(expected, rel=1e-6)  # a mean beside a hard loss, too


ANSWERS = np.array([[1, 3], [0, 0], [1, 1], [2, 4]], np.int32)


def answer_losses(share=0.0, temperature=1.0):
    """Return the outputs of a distiller of answers, and the logits of teacher and student."""
    head = HeadConfig("question_answering", 2, "linear", 0.0)
    teacher, student = networks(head)
    distiller = PredictionDistiller(
        teacher,
        student,
        "question_answering",
        temperature=temperature,
        hard_label_weight=share,
    )
    rows = random_batch(tiny(), rows=4, length=5)
    mask = MASK.copy()
    whole = Batch(rows[0], rows[1], mask, label_ids=ANSWERS)
    inputs = logit_inputs(whole, FILLED, by_token=False).tensors()
    outputs = [float(x) for x in distiller(*inputs)]
    tensors = [ms.Tensor(x) for x in whole[:3]]
    (training,) = LabelTraining(student, "question_answering")(
        *label_inputs(whole, FILLED, by_token=False).tensors()
    )
    return outputs, float(training), *(n(*tensors).asnumpy() for n in (teacher, student))


def test_answers_have_the_mean_cross_entropy_of_start_and_end_over_a_rows_tokens():
    (_, _, hard), training, _, logits = answer_losses()
    expected = 0.0
    for row in range(3):
        for side in range(2):
            tokens = logits[row, : LENGTHS[row], side].tolist()  # padding is no class
            expected -= log_probs(tokens)[ANSWERS[row, side]] / 2 / 3
    assert hard == pytest.approx(expected, rel=1e-5)
    assert training == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.25])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_answers_are_distilled_by_start_and_end_over_a_rows_tokens(share, temperature):
    (loss, soft, hard), _, taught, logits = answer_losses(share, temperature)
    expected = 0.0
    for row in range(3):
        for side in range(2):
            here = slice(LENGTHS[row])
            teacher, student = (
                log_probs((x[row, here, side] / temperature).tolist()) for x in (taught, logits)
            )
            expected -= sum(math.exp(t) * s for t, s in zip(teacher, student, strict=True)) / 2 / 3
    assert soft == pytest.approx(expected, rel=1e-5)
    assert loss == pytest.approx((1 - share) * soft + share * hard, rel=1e-6)


def test_numbers_have_the_squared_error_between_logits():
    taught = OTHER[:, 0, :1]
    expected = sum(float(ROWS[i, 0] - taught[i, 0]) ** 2 for i in range(3)) / 3
    assert logit_loss("regression", taught, ROWS[:, :1]) == pytest.approx(expected, rel=1e-6)


def test_equal_rows_on_two_processes_add_up_to_the_global_mean():
    given = label_inputs(batch(np.array([2, 0, 1, 1], np.int32)), FILLED)
    inputs = (ROWS, given.label_ids, given.label_normalizers)
    loss = LabelLoss("classification")
    halves = [
        float(loss(*(ms.Tensor(x[part]) for x in inputs))) for part in (slice(0, 2), slice(2, 4))
    ]
    whole = float(loss(*map(ms.Tensor, inputs)))
    assert sum(halves) == pytest.approx(whole, rel=1e-6)


def test_softmax_holds_to_1e_7_where_the_frameworks_does_not():
    logits = np.random.default_rng(0).standard_normal((2000, 3)).astype(np.float32) * 3
    exact = logits.astype(np.float64)
    exact = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    probs, logs = (x.asnumpy() for x in softmax_and_log(ms.Tensor(logits)))
    assert np.abs(probs - np.exp(exact)).max() < 3e-7
    assert np.abs(logs - exact).max() < 2e-6


@pytest.mark.parametrize("big", [80.0, 3e4])
def test_large_logits_do_not_overflow(big):
    logits = np.array([[big, -big, 0.0]], np.float32)
    probs, logs = (x.asnumpy() for x in softmax_and_log(ms.Tensor(logits)))
    assert probs.tolist() == [[1.0, 0.0, 0.0]]
    assert logs.tolist() == [[0.0, -2 * big, -big]]


def networks(head):
    """Return a teacher and a student of different weights."""
    built = []
    for seed, prefix in enumerate(("teacher.", "student.")):
        config = tiny(hidden_act="relu" if seed else "gelu")
        network = TaskNetwork(BertEncoder(config, prefix), head)
        generator = np.random.default_rng(seed)
        shapes = head_shapes(config, head).items()
        weights = {prefix + n: generator.standard_normal(s).astype(np.float32) for n, s in shapes}
        load_into(network, random_weights(config, prefix) | weights)
        built.append(network)
    return built


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_distiller_mixes_the_losses_by_the_hard_share(share, squared):
    head = HeadConfig("classification", 3, "linear", 0.0)
    teacher, student = networks(head)
    distiller = PredictionDistiller(
        teacher,
        student,
        "classification",
        temperature=2.0,
        hard_label_weight=share,
        temperature_squared=squared,
    )
    rows = random_batch(tiny())
    whole = Batch(*rows, label_ids=np.array([1, 0, 2], np.int32))
    filled = np.array([True, True, False])
    tensors = [ms.Tensor(x) for x in rows]
    inputs = logit_inputs(whole, filled, by_token=False).tensors()
    loss, soft, hard = (float(x) for x in distiller(*inputs))
    taught, logits = (network(*tensors).asnumpy()[:2] for network in (teacher, student))
    expected_hard = -sum(log_probs(logits[i].tolist())[(1, 0)[i]] for i in range(2)) / 2
    expected_soft = 0.0
    for t, s in zip(taught / 2, logits / 2, strict=True):
        pairs = zip(log_probs(t.tolist()), log_probs(s.tolist()), strict=True)
        expected_soft -= sum(math.exp(a) * b for a, b in pairs) / 2
    expected_soft *= 4.0 if squared else 1.0
    expected_soft /= 1 if share == 0.25 else 3  # a sum over classes beside the hard loss
    assert soft == pytest.approx(expected_soft, rel=1e-5)
    assert hard == pytest.approx(expected_hard, rel=1e-5)
    assert loss == pytest.approx((1 - share) * soft + share * hard, rel=1e-6)


def test_the_teacher_is_frozen_and_the_student_is_trained():
    head = HeadConfig("classification", 3, "linear", 0.0)
    teacher, student = networks(head)
    for parameter in student.encoder.pooler.get_parameters():
        parameter.requires_grad = False  # as a distillation of layers leaves it
    distiller = PredictionDistiller(
        teacher, student, "classification", temperature=1.0, hard_label_weight=0.0
    )
    names = [parameter.name for parameter in distiller.trainable_params()]
    assert sorted(names) == sorted(parameter.name for parameter in student.get_parameters())


def test_training_on_labels_gives_the_loss_of_the_logits():
    head = HeadConfig("ner", 3, "relu_linear", 0.0)
    _, student = networks(head)
    rows = random_batch(tiny())
    tags = np.where(rows[2] == 1, rows[0] % 3, -100).astype(np.int32)
    inputs = label_inputs(Batch(*rows, label_ids=tags), np.array([True, False, True])).tensors()
    (loss,) = LabelTraining(student, "ner")(*inputs)
    logits = student(*inputs[:3]).asnumpy()
    places = [(r, p) for r in (0, 2) for p in range(8) if tags[r, p] >= 0]
    expected = -sum(log_probs(logits[at].tolist())[tags[at]] for at in places) / len(places)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
