"""Fine-tuning and distillation of predictions against transformers and PyTorch, equal weights."""

import json

import mindspore as ms
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from safetensors.numpy import save_file
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    log_softmax,
    mse_loss,
    softmax,
)
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from tests.parity import ours, reference
from tinybert.data.batch import Batch
from tinybert.data.questions import Question, QuestionSet
from tinybert.distill.normalizers import label_inputs, logit_inputs
from tinybert.distill.prediction import LabelTraining, PredictionDistiller
from tinybert.metrics.answers import AnswerOptions, best_answers
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import Cell, load_into
from tinybert.recipe.network import HeadConfig

pytestmark = pytest.mark.parity

COMMON = {
    "vocab_size": 211,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
TEACHER = COMMON | {"hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 64}
STUDENT = COMMON | {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 48}
ROWS, LENGTH = 6, 20
SETS = "multi_label_classification"
LABELS = {"classification": 3, "regression": 1, SETS: 4, "ner": 5}
TEMPERATURE = 2.0


def random_weights(sizes, prefix, labels, generator):
    weights = reference.random_weights(sizes, prefix, generator)
    shapes = {"weight": (labels, sizes["hidden_size"]), "bias": (labels,)}
    return weights | {
        f"{prefix}classifier.{name}": generator.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def reference_network(sizes, weights, prefix, task_type):
    """Return transformers' network for the task, without dropout."""
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(**sizes, **settings, hidden_act="gelu", num_labels=LABELS[task_type])
    config._attn_implementation = "eager"
    kind = BertForTokenClassification if task_type == "ner" else BertForSequenceClassification
    model = kind(config).double()  # so that all rounding that is compared is ours
    values = {}
    for name, value in weights.items():
        name = name.removeprefix(prefix)
        if not (task_type == "ner" and name.startswith("pooler.")):
            full = name if name.startswith("classifier.") else f"bert.{name}"
            values[full] = torch.from_numpy(value.astype(np.float64))
    result = model.load_state_dict(values, strict=False)
    assert not result.unexpected_keys
    assert all("position_ids" in name for name in result.missing_keys)
    model.bert.embeddings.word_embeddings.padding_idx = None
    return model.eval()


def mine(sizes, weights, prefix, task_type):
    head = HeadConfig(task_type, LABELS[task_type], "linear", 0.0)
    network = TaskNetwork(BertEncoder(ours.config(sizes, "gelu"), prefix), head)
    load_into(network, weights)
    return network


def random_rows(task_type):
    """Return a batch of padded rows with labels; the last row only fills up."""
    generator = np.random.default_rng(LABELS[task_type])
    rows = reference.random_batch(generator, ROWS, LENGTH, COMMON["vocab_size"])
    label_ids = generator.integers(0, LABELS[task_type], ROWS).astype(np.int32)
    if task_type == "regression":
        label_ids = (generator.standard_normal(ROWS) * 2).astype(np.float32)
    if task_type == SETS:
        label_ids = generator.integers(0, 2, (ROWS, LABELS[SETS])).astype(np.int32)
    if task_type == "ner":
        label_ids = generator.integers(0, LABELS["ner"], (ROWS, LENGTH)).astype(np.int32)
        label_ids[(rows["input_mask"] == 0) | (generator.random((ROWS, LENGTH)) < 0.3)] = -100
    batch = Batch(rows["input_ids"], rows["segment_ids"], rows["input_mask"], label_ids=label_ids)
    return batch, np.arange(ROWS) < ROWS - 1


def their_logits(model, batch, filled):
    arrays = (batch.input_ids, batch.input_mask, batch.segment_ids)
    ids, mask, segments = (torch.from_numpy(x[filled].astype(np.int64)) for x in arrays)
    return model(ids, attention_mask=mask, token_type_ids=segments).logits


def their_label_loss(task_type, logits, label_ids):
    labels = torch.from_numpy(label_ids)
    if task_type == "regression":
        return mse_loss(logits[:, 0], labels.double())
    if task_type == SETS:
        return binary_cross_entropy_with_logits(logits, labels.double())
    return cross_entropy(logits.flatten(0, -2), labels.long().flatten(), ignore_index=-100)


def their_logit_loss(task_type, taught, logits, mask):
    """The published code's: a mean over rows and classes; for tags over unpadded tokens."""
    if task_type == "regression":
        return mse_loss(logits, taught)
    if task_type == SETS:
        targets = (taught / TEMPERATURE).sigmoid()
        return binary_cross_entropy_with_logits(logits / TEMPERATURE, targets)
    soft = softmax(taught / TEMPERATURE, -1) * log_softmax(logits / TEMPERATURE, -1)
    return -(soft[torch.from_numpy(mask == 1)] if task_type == "ner" else soft).mean()


def tensors(batch):
    return [ms.Tensor(x) for x in (batch.input_ids, batch.segment_ids, batch.input_mask)]


class Twice(Cell):
    """A network with its loss as a second output, which the framework's gradient wants."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def construct(self, *inputs):
        (loss,) = self.network(*inputs)
        return loss, loss


def size_of_loss(task_type, loss, logits, other):
    """Return what the rounding of a loss is relative to.

    Numbers cancel in a regression's difference: what is left has the rounding of both.
    """
    if task_type != "regression":
        return loss.item()
    return ((logits.abs() + torch.as_tensor(other).abs().reshape(logits.shape)) ** 2).mean().item()


def compare(cell, inputs, parts, sizes, model, cancelling=()):
    """Compare losses, and the gradient of the first, of everything that is trained.

    Of biases that are `cancelling` in a softmax there is only rounding: small beside the gradients
    of their weights.
    """
    outputs, gradients = ours.compiled_gradient(cell)(*inputs)
    for found, part, size in zip(outputs, parts, sizes, strict=True):
        assert abs(float(found) - part.item()) <= ours.GATES["loss"] * size
    names = [parameter.name for parameter in cell.trainable_params()]
    named = {name.removeprefix("bert."): value for name, value in model.named_parameters()}
    assert sorted(name.removeprefix("student.") for name in names) == sorted(named)
    expected = torch.autograd.grad(parts[0], list(named.values()))
    expected = dict(zip(named, expected, strict=True))
    for name, gradient in zip(names, gradients, strict=True):
        theirs = expected[name.removeprefix("student.")].numpy()
        scale = theirs
        if name.endswith("key.bias"):  # cancels in the softmax: what is there is rounding
            scale = expected[name.removeprefix("student.").replace("key", "query")].numpy()
        if name.endswith(tuple(cancelling)):
            scale = expected[name.removeprefix("student.").replace("bias", "weight")].numpy()
        difference = np.linalg.norm(gradient.asnumpy() - theirs) / np.linalg.norm(scale)
        assert difference <= ours.GATES["gradient"], (name, difference)


def test_the_loss_of_sets_of_labels_is_that_which_transformers_computes_itself():
    weights = random_weights(STUDENT, "student.", LABELS[SETS], np.random.default_rng(1))
    batch, filled = random_rows(SETS)
    model = reference_network(STUDENT, weights, "student.", SETS)
    model.config.problem_type = SETS
    arrays = (batch.input_ids, batch.input_mask, batch.segment_ids)
    ids, mask, segments = (torch.from_numpy(x[filled].astype(np.int64)) for x in arrays)
    labels = torch.from_numpy(batch.label_ids[filled]).double()
    theirs = model(ids, attention_mask=mask, token_type_ids=segments, labels=labels).loss.item()
    cell = LabelTraining(mine(STUDENT, weights, "student.", SETS), SETS)
    (loss,) = cell(*label_inputs(batch, filled, by_token=False).tensors())
    assert abs(float(loss) - theirs) <= ours.GATES["loss"] * theirs


@pytest.mark.parametrize("task_type", LABELS)
def test_a_fine_tuning_step_equals_transformers(task_type):
    generator = np.random.default_rng(1)
    weights = random_weights(STUDENT, "student.", LABELS[task_type], generator)
    batch, filled = random_rows(task_type)
    model = reference_network(STUDENT, weights, "student.", task_type)
    logits, labels = their_logits(model, batch, filled), batch.label_ids[filled]
    loss = their_label_loss(task_type, logits, labels)
    sizes = [size_of_loss(task_type, loss, logits, labels)] * 2
    cell = Twice(LabelTraining(mine(STUDENT, weights, "student.", task_type), task_type))
    inputs = label_inputs(batch, filled, by_token=task_type == "ner").tensors()
    compare(cell, inputs, [loss, loss], sizes, model)


@pytest.mark.parametrize(
    ("task_type", "share"),
    [("classification", 0.0), ("regression", 0.25), (SETS, 0.25), ("ner", 0.25)],
)
def test_a_step_of_phase_2_equals_pytorch(task_type, share):
    generator = np.random.default_rng(2)
    labels = LABELS[task_type]
    taught = random_weights(TEACHER, "teacher.", labels, generator)
    learning = random_weights(STUDENT, "student.", labels, generator)
    batch, filled = random_rows(task_type)
    model = reference_network(STUDENT, learning, "student.", task_type)
    with torch.no_grad():
        target = their_logits(
            reference_network(TEACHER, taught, "teacher.", task_type), batch, filled
        )
    logits = their_logits(model, batch, filled)
    soft = their_logit_loss(task_type, target, logits, batch.input_mask[filled])
    hard = their_label_loss(task_type, logits, batch.label_ids[filled])
    hard_size = size_of_loss(task_type, hard, logits, batch.label_ids[filled])
    soft_size = size_of_loss(task_type, soft, logits, target)
    if 0 < share < 1 and task_type != SETS:
        # a sum over classes beside the hard loss
        soft, soft_size = soft * target.shape[-1], soft_size * target.shape[-1]
    cell = PredictionDistiller(
        mine(TEACHER, taught, "teacher.", task_type),
        mine(STUDENT, learning, "student.", task_type),
        task_type,
        temperature=TEMPERATURE,
        hard_label_weight=share,
    )
    inputs = logit_inputs(batch, filled, task_type == "ner").tensors()
    mix = [(1 - share) * s + share * h for s, h in ((soft, hard), (soft_size, hard_size))]
    compare(cell, inputs, [mix[0], soft, hard], [mix[1], soft_size, hard_size], model)


def answers_network(prefix, generator):
    """Return weights of a student that answers, and transformers' network with them."""
    weights = reference.random_weights(STUDENT, prefix, generator)
    shapes = {"weight": (2, STUDENT["hidden_size"]), "bias": (2,)}
    for name, shape in shapes.items():
        drawn = generator.standard_normal(shape).astype(np.float32)
        weights[f"{prefix}qa_outputs.{name}"] = drawn
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(**STUDENT, **settings, hidden_act="gelu")
    config._attn_implementation = "eager"
    model = BertForQuestionAnswering(config).double()
    values = {}
    for name, value in weights.items():
        plain = name.removeprefix(prefix)
        if not plain.startswith("pooler."):
            full = plain if plain.startswith("qa_outputs.") else f"bert.{plain}"
            values[full] = torch.from_numpy(value.astype(np.float64))
    result = model.load_state_dict(values, strict=False)
    assert not result.unexpected_keys
    assert all("position_ids" in name for name in result.missing_keys)
    model.bert.embeddings.word_embeddings.padding_idx = None
    head = HeadConfig("question_answering", 2, "linear", 0.0)
    network = TaskNetwork(BertEncoder(ours.config(STUDENT, "gelu"), prefix), head)
    load_into(network, weights)
    return network, model.eval()


def answers_rows():
    """Return a batch of padded rows with answers; the last row only fills up."""
    generator = np.random.default_rng(9)
    rows = reference.random_batch(generator, ROWS, LENGTH, COMMON["vocab_size"])
    lengths = rows["input_mask"].sum(axis=1)
    ends = np.sort(generator.integers(0, lengths[:, None], (ROWS, 2)), axis=1).astype(np.int32)
    batch = Batch(rows["input_ids"], rows["segment_ids"], rows["input_mask"], label_ids=ends)
    return batch, np.arange(ROWS) < ROWS - 1, lengths


def test_a_fine_tuning_step_on_answers_equals_that_of_transformers_without_padding():
    network, model = answers_network("student.", np.random.default_rng(6))
    batch, filled, lengths = answers_rows()
    losses = []
    for row in np.flatnonzero(filled):
        ids, segments, mask = (
            torch.from_numpy(x[row : row + 1, : lengths[row]].astype(np.int64)) for x in batch[:3]
        )
        start, end = torch.from_numpy(batch.label_ids[row].astype(np.int64)).reshape(2, 1)
        found = model(
            ids, attention_mask=mask, token_type_ids=segments, start_positions=start,
            end_positions=end,
        )  # fmt: skip
        losses.append(found.loss)
    loss = torch.stack(losses).mean()
    cell = Twice(LabelTraining(network, "question_answering"))
    inputs = label_inputs(batch, filled, by_token=False).tensors()
    shared = "layer.1.output.LayerNorm.bias", "qa_outputs.bias"  # the same at all positions
    compare(cell, inputs, [loss, loss], [loss.item()] * 2, model, shared)


def test_spans_are_those_of_transformers_logits_by_the_published_search():
    """The search of transformers' run_qa.py: all pairs of the best starts and ends."""
    network, model = answers_network("student.", np.random.default_rng(6))
    batch, _, lengths = answers_rows()
    ids, segments, mask = (torch.from_numpy(x.astype(np.int64)) for x in batch[:3])
    with torch.no_grad():
        theirs = model(ids, attention_mask=mask, token_type_ids=segments)
    starts, ends = theirs.start_logits.numpy(), theirs.end_logits.numpy()
    position, longest = 2, 4
    windows = np.array([[row, 0, n - position, position] for row, n in enumerate(lengths)])
    spans = np.array([[2 * at, 2 * at + 1] for at in range(int(lengths.sum()))], np.int32)
    questions = QuestionSet(
        tuple("x" * 2 * int(n) for n in lengths),
        tuple(Question(id=str(row), context=row, answers=()) for row in range(ROWS)),
        np.concatenate([spans[: n - position] for n in lengths]),
        np.concatenate([[0], np.cumsum(lengths - position)]).astype(np.int64),
        windows.astype(np.int32),
    )
    logits = network(*tensors(batch)).asnumpy()
    for threshold in (None, 0.0):
        options = AnswerOptions(longest, threshold)
        for row, answer in enumerate(best_answers(questions, list(logits), options)):
            valid = [
                (starts[row, s] + ends[row, e], s, e)
                for s in np.argsort(starts[row])[::-1][:20]
                for e in np.argsort(ends[row])[::-1][:20]
                if position <= s <= e < min(s + longest, lengths[row])
            ]
            score, s, e = max(valid)
            null = starts[row, 0] + ends[row, 0]
            if threshold is not None and null - score > threshold:
                assert answer.text == ""
            else:
                assert (answer.first, answer.end) == (2 * (s - position), 2 * (e - position) + 1)
            assert answer.score == pytest.approx(score, abs=1e-4)
            assert answer.no_answer_score == pytest.approx(null, abs=1e-4)


def test_a_students_checkpoint_opens_in_transformers_with_equal_logits(tmp_path):
    weights = random_weights(STUDENT, "student.", 3, np.random.default_rng(3))
    network = mine(STUDENT, weights, "student.", "classification")
    arrays = {
        name if name.startswith("classifier.") else f"bert.{name}": parameter.asnumpy()
        for parameter in network.get_parameters()
        for name in [parameter.name.removeprefix("student.")]
    }
    save_file(arrays, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = STUDENT | {"hidden_act": "gelu", "model_type": "bert"}
    config |= {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, report = BertForSequenceClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    batch, _ = random_rows("classification")
    with torch.no_grad():
        expected = their_logits(model.eval(), batch, np.ones(ROWS, bool)).numpy()
    logits = network(*tensors(batch)).asnumpy()
    assert np.abs(logits - expected).max() <= ours.GATES["pooled"]
