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

Integers = npt.NDArray[np.int32]

# exp(x) = 2^k exp(x - k ln 2), with ln 2 in two parts whose first has zeros at its end
_EXP_END, _LOG2_E, _LN2_HIGH, _LN2_LOW = float32(87.0, 1.44269504, 0.693359375, -2.12194440e-4)
_EXP_P = float32(*(1 / math.factorial(i) for i in range(8)))


@compiled
def split_heads(x: Floats, bias: Floats, scale: np.float32, first: int, out: Floats) -> None:
    """Fill `out` (B, A, S, D) with (x + bias) * scale, of A * D columns of x from `first` on.

    x is (B * S, W), bias (W,).
    """
    batch, heads, length, size = out.shape
    for b in range(batch):
        for a in range(heads):
            at = first + a * size
            for s in range(length):
                for d in range(size):
                    out[b, a, s, d] = (x[b * length + s, at + d] + bias[at + d]) * scale


@compiled
def join_heads(gradient: Floats, scale: np.float32, first: int, to_x: Floats) -> None:
    """Fill columns of `to_x` (B * S, W) from `first` on with the gradient of `split_heads`."""
    batch, heads, length, size = gradient.shape
    for b in range(batch):
        for s in range(length):
            for a in range(heads):
                at = first + a * size
                for d in range(size):
                    to_x[b * length + s, at + d] = gradient[b, a, s, d] * scale


@compiled
def _row_max(row: Floats) -> np.float32:
    """Return the largest of (N,) float32; of no numbers, any or none."""
    lanes = np.full(LANES, -np.inf, np.float32)
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
def _softmax(scores: Floats, bias: Floats, out: Floats, exponents: Integers) -> None:
    """Fill `out` with the softmax of scores + bias, all (S,)."""
    for j in range(out.size):
        out[j] = scores[j] + bias[j]
    largest = _row_max(out)
    for j in range(out.size):
        out[j] -= largest
    _exp(out, exponents)
    factor = ONE / row_sum(out)
    for j in range(out.size):
        out[j] *= factor


@compiled
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
    batch, heads, queries, keys = out.shape
    exponents = np.empty(keys, np.int32)
    for b in range(batch):
        for a in range(heads):
            for i in range(queries):
                probs = out[b, a, i]
                _softmax(scores[b, a, i], bias[b, 0, i % bias.shape[2]], probs, exponents)
                if keep.size > 1:
                    for j in range(keys):
                        probs[j] *= np.float32(keep[b, a, i, j]) * keep_scale


@compiled
def attention_probs_gradient(
    scores: Floats,
    bias: Floats,
    keep: Bools,
    keep_scale: np.float32,
    gradient: Floats,
    to_scores: Floats,
) -> None:
    """Fill `to_scores` (B, A, S, S) with the gradient of `attention_probs`."""
    batch, heads, queries, keys = scores.shape
    exponents = np.empty(keys, np.int32)
    probs, products = np.empty(keys, np.float32), np.empty(keys, np.float32)
    for b in range(batch):
        for a in range(heads):
            for i in range(queries):
                _softmax(scores[b, a, i], bias[b, 0, i % bias.shape[2]], probs, exponents)
                to_row = to_scores[b, a, i]
                for j in range(keys):
                    to_row[j] = gradient[b, a, i, j]
                if keep.size > 1:
                    for j in range(keys):
                        to_row[j] *= np.float32(keep[b, a, i, j]) * keep_scale
                for j in range(keys):
                    products[j] = to_row[j] * probs[j]
                total = row_sum(products)
                for j in range(keys):
                    to_row[j] = products[j] - probs[j] * total
