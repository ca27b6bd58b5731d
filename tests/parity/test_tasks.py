"""Fine-tuning and distillation of predictions against transformers and PyTorch, equal weights."""

import json

import mindspore as ms
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from safetensors.numpy import save_file
from torch.nn.functional import cross_entropy, log_softmax, mse_loss, softmax
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from tests.parity import ours, reference
from tinybert.data.batch import Batch
from tinybert.distill.normalizers import label_inputs, logit_inputs
from tinybert.distill.prediction import LabelTraining, PredictionDistiller
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
LABELS = {"classification": 3, "regression": 1, "ner": 5}
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
    return cross_entropy(logits.flatten(0, -2), labels.long().flatten(), ignore_index=-100)


def their_logit_loss(task_type, taught, logits, mask):
    """The published code's: a mean over rows and classes; for tags over unpadded tokens."""
    if task_type == "regression":
        return mse_loss(logits, taught)
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


def compare(cell, inputs, parts, sizes, model):
    """Compare losses, and the gradient of the first, of everything that is trained."""
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
        difference = np.linalg.norm(gradient.asnumpy() - theirs) / np.linalg.norm(scale)
        assert difference <= ours.GATES["gradient"], (name, difference)


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
    inputs = label_inputs(batch, filled).tensors()
    compare(cell, inputs, [loss, loss], sizes, model)


@pytest.mark.parametrize(
    ("task_type", "share"), [("classification", 0.0), ("regression", 0.25), ("ner", 0.25)]
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
    if 0 < share < 1:
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
