"""Losses and gradients of packed rows are those of padded rows, masks included."""

from functools import cache, partial

import mindspore as ms
import numpy as np
import pytest

from tests.distill.tables import losses, relations
from tests.model.networks import random_batch, random_weights, tiny
from tinybert.data.batch import Batch
from tinybert.data.packing import Packing, pack_batch
from tinybert.distill.distiller import Distiller, FitDense
from tinybert.distill.normalizers import label_inputs, layer_inputs, logit_inputs
from tinybert.distill.outputs import TeacherLayerOutputs
from tinybert.distill.prediction import LabelTraining, PredictionDistiller
from tinybert.model.bert import BertEncoder
from tinybert.model.dropout import dropout_sites, keep_masks, packed_keep_masks
from tinybert.model.graph_masks import GraphMasks, MaskedNetwork, ordinal_words
from tinybert.model.heads import TaskNetwork, task_sites
from tinybert.model.layers import load_into
from tinybert.model.parameters import fit_shapes, head_shapes
from tinybert.recipe.network import HeadConfig

LENGTH, ROWS, SEED = 8, 5, 11
SETS = "multi_label_classification"
ANSWERS = "question_answering"
LENGTHS = np.array([8, 5, 2, 8, 0])
"""Tokens of each row; the last one only fills the batch up."""
OUTPUTS = {"regression": 1, ANSWERS: 2}
"""Those of a head, where they are not 3."""
FILLED = LENGTHS > 0
ORDINALS = np.arange(40, 40 + ROWS, dtype=np.uint64)
LAYOUT = Packing(12, (3,), 1.0, 1).layouts(LENGTHS)[0]
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3}
NETWORKS = {
    "plain": tiny(num_hidden_layers=1),
    "dropout": tiny(num_hidden_layers=1, **DROPOUT),
    "relative positions": tiny(num_hidden_layers=1, use_relative_positions=True, **DROPOUT),
}


def random_values(shapes, prefix=""):
    generator = np.random.default_rng(3)
    return {
        prefix + name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


EVERY_LOSS = {
    "attention_target": "probs",
    "embedding": 0.7,
    "cosine": 2.0,
    "relations": relations(
        1, 8, attention_distribution=0.5, query_query=1.0, key_key=2.0, value_value=3.0
    ),
}


def layers(config, **others):
    """Return the distiller of layers, its loss inputs and its dropout sites."""
    teacher = tiny(hidden_size=24)
    distiller = Distiller(
        BertEncoder(teacher, "teacher."),
        BertEncoder(config, "student."),
        FitDense(config, teacher, "shared"),
        losses((2,), hidden=0.5, padding="ignore", **others),
    )
    values = random_weights(teacher, "teacher.") | random_weights(config, "student.")
    load_into(distiller, values | random_values(fit_shapes(config, teacher, "shared")))
    return distiller, partial(layer_inputs, padding="ignore"), dropout_sites(config, LENGTH)


def with_head(config, head, prefix):
    network = TaskNetwork(BertEncoder(config, prefix), head)
    values = random_weights(config, prefix) | random_values(head_shapes(config, head), prefix)
    load_into(network, values)
    return network


def labels(task_type, config):
    head = HeadConfig(task_type, OUTPUTS.get(task_type, 3), "linear", 0.25)
    training = LabelTraining(with_head(config, head, "student."), task_type)
    loss_inputs = partial(label_inputs, by_token=task_type == "ner")
    return training, loss_inputs, task_sites(config, head, LENGTH)


def logits(task_type, config):
    head = HeadConfig(task_type, OUTPUTS.get(task_type, 3), "relu_linear", 0.25)
    distiller = PredictionDistiller(
        with_head(tiny(num_hidden_layers=1, hidden_size=24), head, "teacher."),
        with_head(config, head, "student."),
        task_type,
        temperature=2.0,
        hard_label_weight=0.3,
    )
    loss_inputs = partial(logit_inputs, by_token=task_type == "ner")
    return distiller, loss_inputs, task_sites(config, head, LENGTH)


def rows(task_type):
    """Return a padded batch with labels; one token of it is masked."""
    input_ids, segment_ids, _ = random_batch(tiny(), ROWS, LENGTH)
    input_mask = (np.arange(LENGTH) < np.maximum(LENGTHS, 1)[:, None]).astype(np.int32)
    input_mask[0, 3] = 0
    generator = np.random.default_rng(8)
    if task_type == "regression":
        label_ids = generator.standard_normal(ROWS).astype(np.float32)
    elif task_type == "ner":
        label_ids = generator.integers(0, 3, (ROWS, LENGTH)).astype(np.int32)
        label_ids[np.arange(LENGTH) >= LENGTHS[:, None]] = -100
        label_ids[:, 0] = -100
    elif task_type == ANSWERS:
        ends = np.sort(generator.integers(0, np.maximum(LENGTHS, 1)[:, None], (ROWS, 2)), axis=1)
        label_ids = ends.astype(np.int32)
    elif task_type == "multi_label_classification":
        label_ids = generator.integers(0, 2, (ROWS, 3)).astype(np.int32)
    else:
        label_ids = generator.integers(0, 3, ROWS).astype(np.int32)
    return Batch(input_ids * input_mask, segment_ids, input_mask, label_ids=label_ids)


def outputs_and_gradients(network, batch):
    """Return losses, and gradients by parameter."""
    trained = network.trainable_params()

    def loss(*inputs):
        outputs = network(*inputs)
        return outputs[0], outputs

    gradient = ms.value_and_grad(loss, None, trained, has_aux=True)

    @ms.jit
    def run(*inputs):
        return gradient(*inputs)

    (_, losses), gradients = run(*batch.tensors())
    arrays = [gradient.asnumpy() for gradient in gradients]
    return [float(x) for x in losses], dict(zip((p.name for p in trained), arrays, strict=True))


def check_equal(packed, padded):
    np.testing.assert_allclose(packed[0], padded[0], rtol=1e-5)
    assert packed[1].keys() == padded[1].keys()
    largest = max(np.abs(gradient).max() for gradient in padded[1].values())
    for name, gradient in padded[1].items():
        assert np.abs(packed[1][name] - gradient).max() <= 1e-5 * largest, name


def with_masks(batch, masks):
    return batch._replace(hidden_keep=masks[0], attention_keep=masks[1], classifier_keep=masks[2])


LOSSES = {
    "layers": (layers, "classification"),
    "all losses of layers": (partial(layers, **EVERY_LOSS), "classification"),
    **{f"labels of a {kind}": (partial(labels, kind), kind) for kind in ("classification", "ner")},
    "labels of a regression": (partial(labels, "regression"), "regression"),
    "sets of labels": (partial(labels, SETS), SETS),
    "answers": (partial(labels, ANSWERS), ANSWERS),
    "logits of answers": (partial(logits, ANSWERS), ANSWERS),
    "logits of sets of labels": (partial(logits, SETS), SETS),
    "logits of a classification": (partial(logits, "classification"), "classification"),
    "logits of tags": (partial(logits, "ner"), "ner"),
}


FAST = {
    *("layers", "all losses of layers", "labels of a classification", "labels of a ner"),
    *("answers", "logits of tags"),
}
"""Of layers, of an output a row, a token and a side of an answer, and of a teacher's beside."""


FAST_KINDS = (("classification", "ner"), ("classification", "ner", ANSWERS))
"""Of padded rows and of packed ones."""


def unless_fast(*case, fast):
    """Return a case that is slow, unless it is one that stands for the others."""
    return pytest.param(*case, marks=() if fast else pytest.mark.slow)


@cache
def packed_results(loss, described):
    """Return losses and gradients of packed rows, with the host's masks."""
    make, task_type = LOSSES[loss]
    network, loss_inputs, sites = make(NETWORKS[described])
    batch = pack_batch(loss_inputs(rows(task_type), FILLED), LAYOUT)
    assert batch.input_ids.shape == (3, 12)
    masks = packed_keep_masks(SEED, sites, ORDINALS, LAYOUT)
    return outputs_and_gradients(network, with_masks(batch, masks))


@pytest.mark.parametrize(
    ("loss", "described"),
    [
        unless_fast(loss, described, fast=loss in FAST and described == "relative positions")
        for loss in LOSSES
        for described in NETWORKS
    ],
)
def test_packed_rows_have_the_losses_and_gradients_of_padded_rows(loss, described):
    make, task_type = LOSSES[loss]
    network, loss_inputs, sites = make(NETWORKS[described])
    batch = loss_inputs(rows(task_type), FILLED)
    padded = with_masks(batch, keep_masks(SEED, sites, ORDINALS))
    check_equal(packed_results(loss, described), outputs_and_gradients(network, padded))


@pytest.mark.parametrize(
    "loss",
    [
        "layers",
        pytest.param("logits of tags", marks=pytest.mark.slow),
        # the masks of its head are not packed
        pytest.param("labels of a classification", marks=pytest.mark.slow),
    ],
)
def test_masks_made_in_the_graph_are_packed_to_equal_bits(loss):
    make, task_type = LOSSES[loss]
    network, loss_inputs, sites = make(NETWORKS["relative positions"])
    batch = pack_batch(loss_inputs(rows(task_type), FILLED), LAYOUT)
    low, high = ordinal_words(ORDINALS)
    graph = batch._replace(low_ordinals=low, high_ordinals=high)
    masked = MaskedNetwork(network, GraphMasks(SEED, sites))
    ours, theirs = outputs_and_gradients(masked, graph), packed_results(loss, "relative positions")
    assert ours[0] == theirs[0]
    for name, gradient in theirs[1].items():
        assert np.array_equal(ours[1][name], gradient), name


@pytest.mark.parametrize("task_type", ["classification", "ner"])
def test_packed_masks_are_the_rows_of_the_padded_masks(task_type):
    config = tiny(hidden_size=12, num_attention_heads=3, **DROPOUT)  # draws in eights do not fit
    sites = task_sites(config, HeadConfig(task_type, 3, "linear", 0.25), LENGTH)
    hidden, attention, classifier = keep_masks(SEED, sites, ORDINALS)
    packed = packed_keep_masks(SEED, sites, ORDINALS, LAYOUT)
    for row, (first, length) in enumerate(zip(LAYOUT.firsts, LENGTHS, strict=True)):
        block, start = divmod(first, 12)
        here = slice(start, start + length)
        assert np.array_equal(packed[0][:, block, here], hidden[:, row, :length])
        theirs = attention[:, row, :, :length, :length]
        assert np.array_equal(packed[1][:, block, :, here, here], theirs)
        if task_type == "ner":
            assert np.array_equal(packed[2][:, block, here], classifier[:, row, :length])
    if task_type == "classification":
        assert np.array_equal(packed[2], classifier)
    for mask, size in zip(packed, (LENGTHS.sum() * 12, (LENGTHS**2).sum() * 3), strict=False):
        assert (~mask).any() and (~mask).sum() <= len(mask) * size


@pytest.mark.parametrize(
    ("task_type", "is_packed"),
    [
        unless_fast(kind, packed, fast=kind in FAST_KINDS[packed])
        for kind in ("classification", "regression", SETS, ANSWERS, "ner")
        for packed in (False, True)
    ],
)
def test_logits_that_were_computed_before_stand_for_the_teacher(task_type, is_packed):
    distiller, loss_inputs, _ = logits(task_type, NETWORKS["plain"])
    batch = loss_inputs(rows(task_type), FILLED)
    inputs = pack_batch(batch, LAYOUT) if is_packed else batch
    computed = outputs_and_gradients(distiller, inputs)
    kept = distiller.teacher(*map(ms.Tensor, batch[:3])).asnumpy()
    batch = batch._replace(teacher_logits=kept)
    inputs = pack_batch(batch, LAYOUT) if is_packed else batch
    distiller.teacher = None
    check_equal(outputs_and_gradients(distiller, inputs), computed)


@pytest.mark.parametrize(
    ("is_packed", "others"),
    [
        (True, {}),  # padded ones are those of a whole run, in test_teacher_cache.py
        (False, EVERY_LOSS),
        (True, EVERY_LOSS),
    ],
    ids=["packed", "all losses", "all losses, packed"],
)
def test_layers_that_were_computed_before_stand_for_the_teacher(is_packed, others):
    distiller, loss_inputs, _ = layers(NETWORKS["plain"], **others)
    batch = loss_inputs(rows("classification"), FILLED)
    inputs = pack_batch(batch, LAYOUT) if is_packed else batch
    computed = outputs_and_gradients(distiller, inputs)
    outputs = TeacherLayerOutputs(distiller.teacher, distiller.compared)
    states, scores = outputs.results(*map(ms.Tensor, batch[:3]), *[None] * 3)
    batch = batch._replace(
        teacher_hidden_states=states.asnumpy(), teacher_attention_scores=scores.asnumpy()
    )
    inputs = pack_batch(batch, LAYOUT) if is_packed else batch
    distiller.leave_out_teacher()
    check_equal(outputs_and_gradients(distiller, inputs), computed)
