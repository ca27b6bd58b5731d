"""Layer norm (Ba et al., arXiv 1607.06450), and the residual sum before it."""

import numpy as np

from tinybert.kernels.loops import (
    ONE,
    ROW_GROUPS,
    ZERO,
    Bools,
    Floats,
    column_sums,
    compiled,
    row_sum,
)


@compiled
def _normalize(row: Floats, eps: np.float32, squares: Floats) -> np.float32:
    """Make the mean of a row 0 and its variance 1, in place; return the factor."""
    inverse = ONE / np.float32(row.size)
    mean = row_sum(row) * inverse
    for j in range(row.size):
        row[j] -= mean
        squares[j] = row[j] * row[j]
    factor: np.float32 = ONE / np.sqrt(row_sum(squares) * inverse + eps)
    for j in range(row.size):
        row[j] *= factor
    return factor


@compiled
def layer_norm(x: Floats, weight: Floats, bias: Floats, eps: np.float32, out: Floats) -> None:
    """Fill `out` with the layer norm (Ba et al., arXiv 1607.06450) of the rows of `x`.

    Args:
        x: (N, H) float32.
        weight: (H,).
        bias: (H,).
        eps: Added to the variance.
        out: (N, H).
    """
    squares = np.empty(x.shape[1], np.float32)
    for i in range(x.shape[0]):
        out[i] = x[i]
        _normalize(out[i], eps, squares)
        for j in range(x.shape[1]):
            out[i, j] = out[i, j] * weight[j] + bias[j]


@compiled
def layer_norm_gradient(
    x: Floats,
    weight: Floats,
    eps: np.float32,
    gradient: Floats,
    to_x: Floats,
    to_weight: Floats,
    to_bias: Floats,
) -> None:
    """Fill `to_x` (N, H), `to_weight` and `to_bias` (H,) with the gradients of `layer_norm`."""
    rows, width = x.shape
    inverse = ONE / np.float32(width)
    normed, scaled = np.empty(width, np.float32), np.empty(width, np.float32)
    products = np.empty(width, np.float32)
    part = np.empty(width, np.float32)
    to_weight[:] = ZERO
    for group in range(ROW_GROUPS):
        part[:] = ZERO
        for i in range(rows * group // ROW_GROUPS, rows * (group + 1) // ROW_GROUPS):
            normed[:] = x[i]
            factor = _normalize(normed, eps, products)
            for j in range(width):
                part[j] += gradient[i, j] * normed[j]
                scaled[j] = gradient[i, j] * weight[j]
                products[j] = scaled[j] * normed[j]
            mean, slope = row_sum(scaled) * inverse, row_sum(products) * inverse
            for j in range(width):
                to_x[i, j] = (scaled[j] - mean - normed[j] * slope) * factor
        for j in range(width):
            to_weight[j] += part[j]
    column_sums(gradient, to_bias)


@compiled
def residual_sum(
    x: Floats, bias: Floats, keep: Bools, keep_scale: np.float32, residual: Floats, out: Floats
) -> None:
    """Fill `out` with dropout(x + bias) + residual.

    Args:
        x: (N, H) float32.
        bias: (H,).
        keep: Keep mask (N, H), or one element: nothing is dropped.
        keep_scale: Factor of what is kept.
        residual: (N, H).
        out: (N, H).
    """
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] + bias[j]
        if keep.size > 1:
            for j in range(x.shape[1]):
                out[i, j] *= np.float32(keep[i, j]) * keep_scale
        for j in range(x.shape[1]):
            out[i, j] += residual[i, j]


@compiled
def residual_sum_gradient(
    keep: Bools, keep_scale: np.float32, gradient: Floats, to_x: Floats, to_bias: Floats
) -> None:
    """Fill `to_x` (N, H) and `to_bias` (H,) with the gradients of `residual_sum`."""
    for i in range(to_x.shape[0]):
        for j in range(to_x.shape[1]):
            to_x[i, j] = gradient[i, j]
        if keep.size > 1:
            for j in range(to_x.shape[1]):
                to_x[i, j] *= np.float32(keep[i, j]) * keep_scale
    column_sums(to_x, to_bias)
