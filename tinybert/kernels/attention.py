"""What attention does beside matrix products: heads and probabilities."""

import math

import numpy as np
import numpy.typing as npt

from tinybert.kernels.loops import (
    HALF,
    LANES,
    ONE,
    ZERO,
    Bools,
    Floats,
    compiled,
    float32,
    polynomial,
    row_sum,
)
from tinybert.kernels.threads import THREADS

Integers = npt.NDArray[np.int32]

# exp(x) = 2^k exp(x - k ln 2), with ln 2 in two parts whose first has zeros at its end
_EXP_END, _LOG2_E, _LN2_HIGH, _LN2_LOW = float32(87.0, 1.44269504, 0.693359375, -2.12194440e-4)
_EXP_P = float32(*(1 / math.factorial(i) for i in range(8)))


def split_heads(x: Floats, bias: Floats, scale: np.float32, first: int, out: Floats) -> None:
    """Fill `out` (B, A, S, D) with (x + bias) * scale, of A * D columns of x from `first` on.

    x is (B * S, W), bias (W,).
    """
    THREADS.share(out.shape[0] * out.shape[1], out.size, _split_heads, x, bias, scale, first, out)


def join_heads(gradient: Floats, scale: np.float32, first: int, to_x: Floats) -> None:
    """Fill columns of `to_x` (B * S, W) from `first` on with the gradient of `split_heads`."""
    heads = gradient.shape[0] * gradient.shape[1]
    THREADS.share(heads, gradient.size, _join_heads, gradient, scale, first, to_x)


def attention_probs(
    scores: Floats, bias: Floats, keep: Bools, keep_scale: np.float32, out: Floats
) -> None:
    """Fill `out` with dropout(softmax(scores + bias)).

    Args:
        scores: (B, A, S, S) float32.
        bias: (B, 1, 1 or S, S).
        keep: Keep mask (B, A, S, S), or one element: nothing is dropped.
        keep_scale: Factor of what is kept.
        out: (B, A, S, S).
    """
    heads = scores.shape[0] * scores.shape[1]
    THREADS.share(heads, scores.size, _attention_probs, scores, bias, keep, keep_scale, out)


def attention_probs_gradient(
    scores: Floats,
    bias: Floats,
    keep: Bools,
    keep_scale: np.float32,
    gradient: Floats,
    to_scores: Floats,
) -> None:
    """Fill `to_scores` (B, A, S, S) with the gradient of `attention_probs`."""
    heads = scores.shape[0] * scores.shape[1]
    arrays = scores, bias, keep, keep_scale, gradient, to_scores
    THREADS.share(heads, scores.size, _attention_probs_gradient, *arrays)


@compiled
def _split_heads(
    x: Floats, bias: Floats, scale: np.float32, first: int, out: Floats, start: int, end: int
) -> None:
    _, heads, length, size = out.shape
    for head in range(start, end):
        b, a = divmod(head, heads)
        at = first + a * size
        added = bias[at : at + size]
        for s in range(length):
            row, given = out[b, a, s], x[b * length + s, at : at + size]
            for d in range(size):
                row[d] = (given[d] + added[d]) * scale


@compiled
def _join_heads(
    gradient: Floats, scale: np.float32, first: int, to_x: Floats, start: int, end: int
) -> None:
    _, heads, length, size = gradient.shape
    for head in range(start, end):
        b, a = divmod(head, heads)
        at = first + a * size
        for s in range(length):
            row, given = to_x[b * length + s, at : at + size], gradient[b, a, s]
            for d in range(size):
                row[d] = given[d] * scale


@compiled
def _row_max(row: Floats, lanes: Floats) -> np.float32:
    """Return the largest of (N,) float32; of no numbers, any or none.

    `lanes` (LANES,) is overwritten.
    """
    lanes[:] = -np.inf
    full = row.size // LANES * LANES
    for start in range(0, full, LANES):
        for lane in range(LANES):
            lanes[lane] = max(lanes[lane], row[start + lane])
    for lane in range(row.size - full):
        lanes[lane] = max(lanes[lane], row[full + lane])
    largest: np.float32 = lanes[0]
    for lane in range(1, LANES):
        largest = max(largest, lanes[lane])
    return largest


@compiled
def _exp(row: Floats, exponents: Integers) -> None:
    """Replace (N,) float32 that are not positive by their exponentials, within 2 units.

    Below -87, where they are not normal numbers, they are 0.
    """
    powers = exponents.view(np.float32)
    for j in range(row.size):
        vanishes = row[j] < -_EXP_END
        x = -_EXP_END if vanishes else row[j]
        doublings = np.floor(x * _LOG2_E + HALF)
        exponents[j] = (np.int32(doublings) + np.int32(127)) << np.int32(23)
        rest = x - doublings * _LN2_HIGH - doublings * _LN2_LOW
        row[j] = ZERO if vanishes else polynomial(rest, _EXP_P)
    for j in range(row.size):
        row[j] *= powers[j]


@compiled
def _softmax(scores: Floats, bias: Floats, out: Floats, exponents: Integers, lanes: Floats) -> None:
    """Fill `out` with the softmax of scores + bias, all (S,).

    `exponents` (S,) int32 and `lanes` (LANES,) are overwritten.
    """
    for j in range(out.size):
        out[j] = scores[j] + bias[j]
    largest = _row_max(out, lanes)
    for j in range(out.size):
        out[j] -= largest
    _exp(out, exponents)
    factor = ONE / row_sum(out, lanes)
    for j in range(out.size):
        out[j] *= factor


@compiled
def _attention_probs(
    scores: Floats,
    bias: Floats,
    keep: Bools,
    keep_scale: np.float32,
    out: Floats,
    start: int,
    end: int,
) -> None:
    _, heads, queries, keys = out.shape
    exponents, lanes = np.empty(keys, np.int32), np.empty(LANES, np.float32)
    for head in range(start, end):
        b, a = divmod(head, heads)
        for i in range(queries):
            probs = out[b, a, i]
            _softmax(scores[b, a, i], bias[b, 0, i % bias.shape[2]], probs, exponents, lanes)
            if keep.size > 1:
                kept = keep[b, a, i]
                for j in range(keys):
                    probs[j] *= np.float32(kept[j]) * keep_scale


@compiled
def _attention_probs_gradient(
    scores: Floats,
    bias: Floats,
    keep: Bools,
    keep_scale: np.float32,
    gradient: Floats,
    to_scores: Floats,
    start: int,
    end: int,
) -> None:
    _, heads, queries, keys = scores.shape
    exponents, lanes = np.empty(keys, np.int32), np.empty(LANES, np.float32)
    probs, products = np.empty(keys, np.float32), np.empty(keys, np.float32)
    for head in range(start, end):
        b, a = divmod(head, heads)
        for i in range(queries):
            _softmax(scores[b, a, i], bias[b, 0, i % bias.shape[2]], probs, exponents, lanes)
            to_row = to_scores[b, a, i]
            to_row[:] = gradient[b, a, i]
            if keep.size > 1:
                kept = keep[b, a, i]
                for j in range(keys):
                    to_row[j] *= np.float32(kept[j]) * keep_scale
            for j in range(keys):
                products[j] = to_row[j] * probs[j]
            total = row_sum(products, lanes)
            for j in range(keys):
                to_row[j] = products[j] - probs[j] * total
