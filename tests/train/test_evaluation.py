"""Every row of the dev set counts, whatever the batch size, unless the recipe says otherwise."""

import numpy as np
import pytest

from tests.model.networks import random_weights, tiny
from tinybert.data.batch import Batch
from tinybert.errors import InputError, TrainingError
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import load_into
from tinybert.model.parameters import head_shapes
from tinybert.recipe.network import HeadConfig
from tinybert.train.evaluation import Evaluation, Inference, Measure, OrderedBatches, Prediction
from tinybert.train.world import ALONE, World

CONFIG = tiny(num_hidden_layers=1)
ROWS = 11


class Rows:
    """A store of labelled rows in memory."""

    rows = ROWS
    seq_length = 8

    def __init__(self, task_type):
        generator = np.random.default_rng(2)
        lengths = generator.integers(2, 9, ROWS)
        self.mask = (np.arange(8) < lengths[:, None]).astype(np.int32)
        self.lengths = lengths
        self.ids = generator.integers(1, 31, (ROWS, 8)).astype(np.int32) * self.mask
        self.labels = (np.arange(ROWS) % 3).astype(np.int32)
        if task_type == "ner":
            self.labels = np.where(self.mask == 1, self.ids % 3, -100).astype(np.int32)
        if task_type == "regression":
            self.labels = generator.standard_normal(ROWS).astype(np.float32)

    def batch_lengths(self, rows, size):
        return np.pad(self.lengths[rows], (0, size - len(rows)))

    def batch(self, rows):
        ids, mask = self.ids[rows], self.mask[rows]
        return Batch(ids, 0 * ids, mask, label_ids=self.labels[rows])


def build(task_type, method, predict=None, batch_size=4, drop_remainder=False, **others):
    """Return an evaluation; without a compiled network it computes step by step."""
    labels = 1 if task_type == "regression" else 3
    network = TaskNetwork(BertEncoder(CONFIG, "x."), HeadConfig(task_type, labels, "linear", 0.5))
    generator = np.random.default_rng(1)
    head = {
        f"x.{name}": generator.standard_normal(shape).astype(np.float32)
        for name, shape in head_shapes(CONFIG, HeadConfig(task_type, labels, "linear", 0)).items()
    }
    load_into(network, random_weights(CONFIG, "x.") | head)
    if predict == "compiled":
        predict = Prediction(network, ALONE).logits
    measure = Measure(task_type, method, labels, others.pop("names", None))
    ordered = OrderedBatches(Rows(task_type), batch_size, drop_remainder=drop_remainder, **others)
    predict = predict or (lambda batch: network(*batch.tensors()).asnumpy())
    return Evaluation(Inference(predict, ordered), measure)


@pytest.fixture(scope="module")
def evaluation():
    return build("classification", "accuracy", "compiled")


def test_the_last_rows_are_measured_and_fillers_are_not(evaluation):
    logits, labels = evaluation.logits()
    assert logits.shape == (ROWS, 3)
    assert labels.tolist() == [i % 3 for i in range(ROWS)]
    right = sum(int(np.argmax(row)) == label for row, label in zip(logits, labels, strict=True))
    assert evaluation.metrics()["accuracy"] == right / ROWS


def test_rows_do_not_depend_on_their_batch(evaluation):
    alone, _ = build("classification", "accuracy", batch_size=ROWS).logits()
    np.testing.assert_allclose(evaluation.logits()[0], alone, atol=1e-5)


def test_two_evaluations_are_equal_bit_for_bit(evaluation):
    assert evaluation.logits()[0].tobytes() == evaluation.logits()[0].tobytes()


def test_dropped_rows_are_what_published_evaluations_drop(evaluation):
    dropping = build(
        "classification", "accuracy", evaluation.inference.predict, drop_remainder=True
    )
    kept, labels = dropping.logits()
    assert len(kept) == len(labels) == 8
    assert kept.tobytes() == evaluation.logits()[0][:8].tobytes()
    all_metrics, some = evaluation.metrics(), dropping.metrics()
    assert some != all_metrics
    assert some["accuracy"] * 8 == round(some["accuracy"] * 8)


def test_dropping_all_rows_is_an_error():
    with pytest.raises(InputError, match="an epoch has no batch: 11 rows, global batch size 16"):
        build("classification", "accuracy", batch_size=16, drop_remainder=True)


def test_numbers_are_predicted_as_they_are():
    evaluation = build("regression", "pearson")
    logits, labels = evaluation.logits()
    expected = np.corrcoef(logits[:, 0], labels)[0, 1]
    assert evaluation.metrics()["pearson"] == pytest.approx(expected, rel=1e-5)


def test_tags_are_measured_where_they_count():
    names = ("O", "B-X", "I-X")
    evaluation = build("ner", "entity_f1", names=names)
    logits, labels = evaluation.logits()
    assert logits.shape == (ROWS, 8, 3)
    counted = labels != -100
    right = (np.argmax(logits, -1) == labels)[counted]
    metrics = evaluation.metrics()
    assert metrics["accuracy"] == right.mean()
    assert 0 <= metrics["entity_f1"] < 1


@pytest.mark.parametrize("task_type", ["classification", "ner"])
def test_packed_rows_have_the_logits_of_padded_rows(task_type):
    padded, labels = build(task_type, "accuracy").logits()
    evaluation = build(task_type, "accuracy", block_length=10)
    packed, same = evaluation.logits()
    assert evaluation.inference.ordered.packing.block_counts[-1] < 4
    assert np.array_equal(labels, same)
    if task_type == "ner":
        padded[labels == -100] = packed[labels == -100] = 0
    np.testing.assert_allclose(packed, padded, atol=1e-5)


@pytest.mark.parametrize(("micro_batches", "batch_size"), [(None, 4), (2, 4), (4, 8), (8, 8)])
def test_packed_rows_of_several_processes_come_back_in_order(micro_batches, batch_size):
    shares = [[], []]

    def collecting(rank):
        """Return an evaluation that keeps what it gives to the network."""

        def predict(batch):
            shares[rank].append(batch.input_ids[..., None].astype(np.float32))
            return np.concatenate([shares[rank][-1]] * 2)

        options = {"batch_size": batch_size, "micro_batches": micro_batches, "block_length": 10}
        return build("ner", "accuracy", predict, world=World(rank, 2), **options)

    first, second = collecting(0), collecting(1)
    assert first.inference.ordered.packing == second.inference.ordered.packing
    first.logits(), second.logits()
    both = (np.concatenate(pair) for pair in zip(*shares, strict=True))
    first.inference.predict = lambda batch: next(both)
    logits, _ = first.logits()
    assert np.array_equal(logits[..., 0], Rows("ner").ids)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_no_predictions(value):
    logits = iter(np.full((3, 4, 3), 0.5, np.float32))

    def predict(batch):
        found = next(logits)
        found[batch.input_ids[:, 0] == Rows("classification").ids[6, 0]] = value
        return found

    evaluation = build("classification", "accuracy", predict)
    with pytest.raises(TrainingError, match=r"^the logits of row \d+ are not finite"):
        evaluation.metrics()
