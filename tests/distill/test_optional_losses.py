"""The losses between layers that are not in TinyBERT, by hand in NumPy and float64."""

import mindspore as ms
import numpy as np
import pytest

from tests.distill.tables import relations
from tests.distill.test_distiller import (
    FILLED,
    STUDENT,
    TEACHER,
    build,
    by_hand,
    compiled,
    fit_weights,
    inputs,
)
from tests.model.networks import random_batch, random_weights, tiny
from tests.model.numpy_bert import NumpyBert
from tinybert.distill.losses import CosineDistance, masked_softmax
from tinybert.distill.relations import RelationDivergence

LENGTH = 8
OTHER_HEADS = tiny(num_attention_heads=2)


def networks(student=STUDENT):
    """Return teacher and student after a forward pass of the random batch, and its lengths."""
    batch = random_batch(STUDENT)
    results = []
    for config in (TEACHER, student):
        network = NumpyBert(config, random_weights(config))
        results.append((network, *network(*batch)))
    return *results, batch[2].sum(axis=1)


def mean(values, lengths, padding):
    """Return the mean of values (B, S, ...) over the positions of the rows that count."""
    counted = lengths if padding == "ignore" else np.full(len(lengths), LENGTH)
    rows = [values[row, : counted[row]] for row in np.flatnonzero(FILLED)]
    return np.concatenate(rows).mean()


def softmax(scores, length):
    """Return the distributions over the first keys of scores (..., S)."""
    power = np.exp(scores[..., :length] - scores[..., :length].max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


def divergence(teacher, student, lengths):
    """Return KL of the student's distributions, (B, S, heads), from scores (B, heads, S, S)."""
    rows = []
    for row, length in enumerate(lengths):
        p, q = softmax(teacher[row], length), softmax(student[row], length)
        rows.append((p * np.log(p / q)).sum(-1).T)
    return np.stack(rows)


def relation_scores(vectors, heads):
    """Return scaled products of vectors (B, S, H) among themselves, (B, heads, S, S)."""
    batch, length, width = vectors.shape
    rows = vectors.reshape(batch, length, heads, width // heads).swapaxes(1, 2)
    return rows @ rows.swapaxes(-1, -2) / np.sqrt(width // heads)


def relation_by_hand(kind, heads, layer, student=STUDENT, padding="include"):
    (teacher, *_), (learner, *_), lengths = networks(student)
    ours, theirs = learner.vectors[-1][kind], teacher.vectors[layer - 1][kind]
    scores = [relation_scores(vectors, heads) for vectors in (theirs, ours)]
    return mean(divergence(*scores, lengths), lengths, padding)


def found(cell, padding):
    """Return the distiller's outputs by name."""
    return dict(zip(("loss", *cell.part_names), compiled(cell)(padding), strict=True))


def check(cell, padding, expected):
    """Compare parts, and the loss with the sum of all parts times their factors; return it."""
    outputs = found(cell, padding)
    assert {name: outputs[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    weighted = sum(f * outputs[n] for f, n in zip(cell.factors, cell.part_names, strict=True))
    assert outputs["loss"] == pytest.approx(weighted, rel=1e-6)
    return outputs["loss"]


@pytest.mark.parametrize("padding", ["include", "ignore"])
def test_the_embedding_loss_is_apart_where_it_has_a_factor(padding):
    attention, both = by_hand(padding=padding)
    (_, taught, _), (_, hidden, _), lengths = networks()
    weights = {name: value.astype(np.float64) for name, value in fit_weights("shared").items()}
    fitted = hidden[0] @ weights["fit_dense.weight"].T + weights["fit_dense.bias"]
    embedding = mean((fitted - taught[0]) ** 2, lengths, padding)
    cell = build(padding=padding, embedding=0.25)
    assert cell.part_names == ("attention_loss", "hidden_loss", "embedding_loss")
    assert cell.factors == (1.0, 1.0, 0.25)
    parts = {"attention_loss": attention, "hidden_loss": both - embedding}
    check(cell, padding, parts | {"embedding_loss": embedding})


@pytest.mark.parametrize("padding", ["include", "ignore"])
def test_the_cosine_loss_is_over_the_mapped_layers(padding):
    (_, taught, _), (_, hidden, _), lengths = networks()
    weights = {name: value.astype(np.float64) for name, value in fit_weights("shared").items()}
    cosine = 0.0
    for index, layer in ((1, 2), (2, 4)):
        x = hidden[index] @ weights["fit_dense.weight"].T + weights["fit_dense.bias"]
        y = taught[layer]
        norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
        cosine += mean(1 - (x * y).sum(-1) / norms, lengths, padding)
    _, whole = by_hand(padding=padding)
    check(
        build(padding=padding, cosine=2.0), padding, {"cosine_loss": cosine, "hidden_loss": whole}
    )


def test_hidden_states_of_equal_widths_may_be_compared_as_they_are():
    student = tiny(hidden_size=24)
    (_, taught, _), (_, hidden, _), lengths = networks(student)
    states = zip(hidden, (taught[0], taught[2], taught[4]), strict=True)
    expected = sum(mean((mine - theirs) ** 2, lengths, "include") for mine, theirs in states)
    cell = build(student, fit="none")
    check(cell, "include", {"hidden_loss": expected})
    assert {parameter.name.split(".")[0] for parameter in cell.trainable_params()} == {"student"}


def test_the_cosine_of_a_zero_vector_is_0_and_has_a_finite_gradient():
    x = ms.Tensor(np.zeros((1, 2, 3), np.float32))
    y = ms.Tensor(np.ones((1, 2, 3), np.float32))
    distance, gradient = ms.value_and_grad(lambda x: CosineDistance()(x, y).sum())(x)
    assert float(distance) == 2.0
    assert np.isfinite(gradient.asnumpy()).all()
    opposite = CosineDistance()(y, -2.0 * y).asnumpy()
    assert opposite == pytest.approx(np.full((1, 2), 2.0), rel=1e-6)


@pytest.mark.parametrize("padding", ["include", "ignore"])
def test_attention_probabilities_are_compared_where_the_recipe_says_so(padding):
    (_, _, scored), (_, _, scores), lengths = networks()
    attention = 0.0
    for index, layer in enumerate((2, 4)):
        squares = []
        for row in np.flatnonzero(FILLED):
            ours, theirs = (np.zeros((4, LENGTH, LENGTH)) for _ in range(2))
            ours[..., : lengths[row]] = softmax(scores[index][row], lengths[row])
            theirs[..., : lengths[row]] = softmax(scored[layer - 1][row], lengths[row])
            counted = lengths[row] if padding == "ignore" else LENGTH
            squares.append(((ours - theirs) ** 2)[:, :counted, :counted].ravel())
        attention += np.concatenate(squares).mean()
    cell = build(padding=padding, attention_target="probs")
    check(cell, padding, {"attention_loss": attention})


def test_attention_scores_are_compared_where_the_recipe_says_so():
    cell = build(attention_target="scores")
    check(cell, "include", {"attention_loss": by_hand()[0]})


def test_probabilities_of_scores_that_lack_the_mask_are_the_same():
    """What is kept of a teacher is 0 for masked keys."""
    scores = np.random.default_rng(2).standard_normal((2, 3, 4, 4)).astype(np.float32)
    bias = np.zeros((2, 1, 1, 4), np.float32)
    bias[0, ..., 2:] = -10000.0
    masked = scores + bias
    scores[0, ..., 2:] = 0.0
    ours, theirs = (masked_softmax(ms.Tensor(x), ms.Tensor(bias)) for x in (scores, masked))
    assert np.array_equal(ours.asnumpy(), theirs.asnumpy())
    assert not ours.asnumpy()[0, ..., 2:].any()


RELATIONS = ("query_query", "key_key", "value_value")


@pytest.mark.parametrize(
    ("names", "padding"),
    [
        (("key_key",), "include"),
        (("query_query", "value_value"), "include"),
        (RELATIONS, "ignore"),
    ],
)
def test_relations_with_a_factor_are_those_by_hand(names, padding):
    factors = (0.5, 1.0, 2.0)
    table = relations(3, 8, **dict(zip(names, factors, strict=False)))
    cell = build(padding=padding, relations=table)
    assert cell.part_names == ("attention_loss", "hidden_loss", *(f"{n}_loss" for n in names))
    expected = {
        f"{name}_loss": relation_by_hand(RELATIONS.index(name), 8, 3, padding=padding)
        for name in names
    }
    check(cell, padding, expected)


def test_networks_of_other_heads_and_widths_share_relation_heads():
    table = relations(2, 4, **dict.fromkeys(RELATIONS, 1.5))
    cell = build(OTHER_HEADS, factors=(0.0, 0.0), relations=table)
    assert cell.part_names == ("hidden_loss", *(f"{name}_loss" for name in RELATIONS))
    expected = {
        f"{name}_loss": relation_by_hand(kind, 4, 2, OTHER_HEADS)
        for kind, name in enumerate(RELATIONS)
    }
    check(cell, "include", expected)


@pytest.mark.parametrize("padding", ["include", "ignore"])
def test_minilm_compares_distributions_and_values_of_the_last_layers(padding):
    (_, _, scored), (_, _, scores), lengths = networks()
    distribution = mean(divergence(scored[-1], scores[-1], lengths), lengths, padding)
    table = relations(4, 4, attention_distribution=1.0, value_value=1.0)
    cell = build(padding=padding, factors=(0.0, 0.0), relations=table)
    value = relation_by_hand(2, 4, 4, padding=padding)
    expected = {"attention_distribution_loss": distribution, "value_value_loss": value}
    assert check(cell, padding, expected) == pytest.approx(distribution + value, rel=1e-5)


def test_the_divergence_is_from_the_student_to_the_teacher():
    one = ms.Tensor(np.array([0.0, np.log(3.0)], np.float32).reshape(1, 1, 1, 2))
    other = ms.Tensor(np.zeros((1, 1, 1, 2), np.float32))
    divergence = RelationDivergence()
    assert float(divergence(one, one)) == 0.0
    forth = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    back = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert float(divergence(one, other)) == pytest.approx(forth, rel=1e-5)
    assert float(divergence(other, one)) == pytest.approx(back, rel=1e-5)


def test_half_precision_keeps_relations_in_float32():
    student = tiny(compute_type="float16", dtype="float16")
    table = relations(4, 4, **dict.fromkeys(("attention_distribution", *RELATIONS), 1.0))
    exact = build(relations=table, cosine=1.0, attention_target="probs")
    cell = build(student, relations=table, cosine=1.0, attention_target="probs")
    gradient = ms.value_and_grad(cell, None, cell.trainable_params(), has_aux=True)

    @ms.jit
    def run(*batch):
        return gradient(*batch)

    losses, gradients = run(*inputs("include"))
    assert {loss.dtype for loss in losses} == {ms.float32}
    assert [float(x) for x in losses] == pytest.approx(compiled(exact)("include"), rel=2e-2)
    assert all(np.isfinite(g.asnumpy()).all() for g in gradients)
