"""The compiled distiller against losses by hand in NumPy and float64."""

import mindspore as ms
import numpy as np
import pytest

from tests.distill.tables import losses
from tests.model.networks import random_batch, random_keeps, random_weights, tiny
from tests.model.numpy_bert import NumpyBert
from tinybert.data.batch import Batch
from tinybert.distill.distiller import Distiller, FitDense
from tinybert.distill.normalizers import layer_inputs
from tinybert.model.bert import BertEncoder
from tinybert.model.layers import load_into
from tinybert.model.parameters import fit_shapes

TEACHER = tiny(hidden_size=24, num_hidden_layers=4, intermediate_size=20, hidden_act="relu")
STUDENT = tiny()
DROPOUT = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
FILLED = np.array([True, True, False])


def fit_weights(kind):
    generator = np.random.default_rng(4)
    return {
        name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in fit_shapes(STUDENT, TEACHER, kind).items()
    }


def build(student=STUDENT, layer_map=(2, 4), factors=(1.0, 1.0), fit="shared", **others):
    """Return a distiller with the random weights."""
    attention, hidden = factors
    cell = Distiller(
        BertEncoder(TEACHER, "teacher."),
        BertEncoder(student, "student."),
        FitDense(student, TEACHER, fit),
        losses(layer_map, attention=attention, hidden=hidden, fit_dense=fit, **others),
    )
    teacher, learner = random_weights(TEACHER, "teacher."), random_weights(student, "student.")
    load_into(cell, teacher | learner | fit_weights(fit))
    return cell


def inputs(padding, keeps=(None, None)):
    batch = layer_inputs(Batch(*random_batch(STUDENT)), FILLED, padding)
    return batch._replace(hidden_keep=keeps[0], attention_keep=keeps[1]).tensors()


def compiled(cell):
    @ms.jit
    def run(*batch):
        return cell(*batch)

    return lambda *arguments: [float(x) for x in run(*inputs(*arguments))]


def by_hand(student=STUDENT, layer_map=(2, 4), padding="include", fit="shared", keeps=(None, None)):
    """Return attention and hidden loss over the filled rows, pair by pair and token by token."""
    batch = random_batch(STUDENT)
    taught, scored = NumpyBert(TEACHER, random_weights(TEACHER))(*batch)
    hidden, scores = NumpyBert(student, random_weights(student))(*batch, *keeps)
    weights = {name: value.astype(np.float64) for name, value in fit_weights(fit).items()}
    attention_loss = hidden_loss = 0.0
    same_heads = student.num_attention_heads == TEACHER.num_attention_heads
    for index, layer in enumerate(layer_map if same_heads else ()):
        squares = []
        for row in np.flatnonzero(FILLED):
            length = batch[2][row].sum() if padding == "ignore" else 8
            mine, theirs = scores[index][row].copy(), scored[layer - 1][row].copy()
            mine[mine <= -100] = 0
            theirs[theirs <= -100] = 0
            squares.append(((mine - theirs) ** 2)[:, :length, :length].ravel())
        attention_loss += np.concatenate(squares).mean()
    for index, layer in enumerate((0, *layer_map)):
        name = "fit_dense" if fit == "shared" else f"fit_dense.{index}"
        squares = []
        for row in np.flatnonzero(FILLED):
            length = batch[2][row].sum() if padding == "ignore" else 8
            fitted = hidden[index][row] @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
            squares.append(((fitted - taught[layer][row]) ** 2)[:length].ravel())
        hidden_loss += np.concatenate(squares).mean()
    return attention_loss, hidden_loss


VARIANTS = {
    "plain": {},
    "padding ignored": {"padding": "ignore"},
    "another layer map": {"layer_map": (4, 1)},
    "one projection a layer": {"fit": "per_layer"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_equal_those_by_hand(variant):
    options = VARIANTS[variant]
    attention, hidden = by_hand(**options)
    if options:
        assert max(abs(attention / by_hand()[0] - 1), abs(hidden / by_hand()[1] - 1)) > 0.01
    found = compiled(build(**options))(options.get("padding", "include"))
    assert found == pytest.approx([attention + hidden, attention, hidden], rel=1e-5)


def test_factors_weigh_the_parts_and_the_student_alone_drops_out():
    student = tiny(**DROPOUT)
    keeps = random_keeps(student)
    attention, hidden = by_hand(student, keeps=keeps)
    assert abs(hidden / by_hand()[1] - 1) > 0.01
    found = compiled(build(student, factors=(0.5, 3.0)))("include", keeps)
    expected = [0.5 * attention + 3.0 * hidden, attention, hidden]
    assert found == pytest.approx(expected, rel=1e-5)


def test_networks_of_different_heads_have_the_hidden_loss_alone():
    student = tiny(num_attention_heads=2)
    _, hidden = by_hand(student)
    assert abs(hidden / by_hand()[1] - 1) > 1e-3  # other heads are another network
    cell = build(student, factors=(0.0, 3.0))
    assert cell.part_names == ("hidden_loss",)
    assert compiled(cell)("include") == pytest.approx([3.0 * hidden, hidden], rel=1e-5)
    with pytest.raises(ValueError, match="different numbers of heads"):
        build(student)


def test_an_attention_loss_without_weight_is_reported_where_heads_are_equal():
    attention, hidden = by_hand()
    cell = build(factors=(0.0, 1.0))
    assert cell.part_names == ("attention_loss", "hidden_loss")
    assert compiled(cell)("include") == pytest.approx([hidden, attention, hidden], rel=1e-5)


def test_half_precision_keeps_the_losses_in_float32():
    student = tiny(compute_type="float16", dtype="float16")
    attention, hidden = by_hand()
    cell = build(student)
    gradient = ms.value_and_grad(cell, None, cell.trainable_params(), has_aux=True)

    @ms.jit
    def run(*batch):
        return gradient(*batch)

    losses, gradients = run(*inputs("include"))
    assert [loss.dtype for loss in losses] == [ms.float32] * 3
    found = [float(loss) for loss in losses]
    assert found == pytest.approx([attention + hidden, attention, hidden], rel=1e-2)
    assert {g.dtype for g in gradients} == {ms.float16}
    assert all(np.isfinite(g.asnumpy()).all() for g in gradients)


def test_all_of_the_student_but_the_pooler_and_the_projection_are_trained():
    cell = build(fit="per_layer")
    student = [name for name in random_weights(STUDENT, "student.") if "pooler" not in name]
    fit = [f"fit_dense.{i}.{part}" for i in range(3) for part in ("weight", "bias")]
    assert [parameter.name for parameter in cell.trainable_params()] == student + fit
    cell.set_train(True)
    assert len(cell.trainable_params()) == len(student + fit)


def test_a_shared_projection_has_the_published_name_and_shape():
    assert fit_shapes(STUDENT, TEACHER, "shared") == {
        "fit_dense.weight": (24, 16),
        "fit_dense.bias": (24,),
    }
