"""Layer norm (Ba et al., arXiv 1607.06450), and the residual sum before it."""

import numpy as np

from tinybert.kernels.loops import (
    LANES,
    ONE,
    ROW_GROUPS,
    Bools,
    Floats,
    add_groups,
    add_row,
    compiled,
    new_group_sums,
    row_sum,
    rows_of_group,
)
from tinybert.kernels.threads import THREADS


def layer_norm(x: Floats, weight: Floats, bias: Floats, eps: np.float32, out: Floats) -> None:
    """Fill `out` with the layer norm (Ba et al., arXiv 1607.06450) of the rows of `x`.

    Args:
        x: (N, H) float32.
        weight: (H,).
        bias: (H,).
        eps: Added to the variance.
        out: (N, H), which may be `x`.
    """
    THREADS.share(len(x), x.size, _layer_norm, x, weight, bias, eps, out)


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
    sums = new_group_sums(to_weight), new_group_sums(to_bias)
    THREADS.share(ROW_GROUPS, x.size, _layer_norm_gradient, x, weight, eps, gradient, to_x, *sums)
    add_groups(sums[0], to_weight)
    add_groups(sums[1], to_bias)


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
    THREADS.share(len(x), x.size, _residual_sum, x, bias, keep, keep_scale, residual, out)


def residual_sum_gradient(
    keep: Bools, keep_scale: np.float32, gradient: Floats, to_x: Floats, to_bias: Floats
) -> None:
    """Fill `to_x` (N, H) and `to_bias` (H,) with the gradients of `residual_sum`."""
    sums = new_group_sums(to_bias)
    arrays = keep, keep_scale, gradient, to_x, sums
    THREADS.share(ROW_GROUPS, to_x.size, _residual_sum_gradient, *arrays)
    add_groups(sums, to_bias)


@compiled
def _normalize(row: Floats, eps: np.float32, squares: Floats, lanes: Floats) -> np.float32:
    """Make the mean of a row (H,) 0 and its variance 1, in place; return the factor.

    `squares` (H,) and `lanes` (LANES,) are overwritten.
    """
    inverse = ONE / np.float32(row.size)
    mean = row_sum(row, lanes) * inverse
    for j in range(row.size):
        row[j] -= mean
        squares[j] = row[j] * row[j]
    factor: np.float32 = ONE / np.sqrt(row_sum(squares, lanes) * inverse + eps)
    for j in range(row.size):
        row[j] *= factor
    return factor


@compiled
def _layer_norm(
    x: Floats, weight: Floats, bias: Floats, eps: np.float32, out: Floats, start: int, end: int
) -> None:
    squares, lanes = np.empty(x.shape[1], np.float32), np.empty(LANES, np.float32)
    for i in range(start, end):
        row = out[i]
        row[:] = x[i]
        _normalize(row, eps, squares, lanes)
        for j in range(row.size):
            row[j] = row[j] * weight[j] + bias[j]


@compiled
def _layer_norm_gradient(
    x: Floats,
    weight: Floats,
    eps: np.float32,
    gradient: Floats,
    to_x: Floats,
    weight_sums: Floats,
    bias_sums: Floats,
    start: int,
    end: int,
) -> None:
    rows, width = x.shape
    inverse = ONE / np.float32(width)
    normed, scaled = np.empty(width, np.float32), np.empty(width, np.float32)
    products, lanes = np.empty(width, np.float32), np.empty(LANES, np.float32)
    for group in range(start, end):
        part = weight_sums[group]
        first, last = rows_of_group(group, rows)
        for i in range(first, last):
            normed[:] = x[i]
            factor = _normalize(normed, eps, products, lanes)
            given, to_row = gradient[i], to_x[i]
            add_row(given, bias_sums[group])
            for j in range(width):
                part[j] += given[j] * normed[j]
                scaled[j] = given[j] * weight[j]
                products[j] = scaled[j] * normed[j]
            mean = row_sum(scaled, lanes) * inverse
            slope = row_sum(products, lanes) * inverse
            for j in range(width):
                to_row[j] = (scaled[j] - mean - normed[j] * slope) * factor


@compiled
def _residual_sum(
    x: Floats,
    bias: Floats,
    keep: Bools,
    keep_scale: np.float32,
    residual: Floats,
    out: Floats,
    start: int,
    end: int,
) -> None:
    for i in range(start, end):
        row, given, added = out[i], x[i], residual[i]
        for j in range(row.size):
            row[j] = given[j] + bias[j]
        if keep.size > 1:
            kept = keep[i]
            for j in range(row.size):
                row[j] *= np.float32(kept[j]) * keep_scale
        add_row(added, row)


@compiled
def _residual_sum_gradient(
    keep: Bools,
    keep_scale: np.float32,
    gradient: Floats,
    to_x: Floats,
    sums: Floats,
    start: int,
    end: int,
) -> None:
    for group in range(start, end):
        first, last = rows_of_group(group, len(to_x))
        for i in range(first, last):
            row = to_x[i]
            row[:] = gradient[i]
            if keep.size > 1:
                kept = keep[i]
                for j in range(row.size):
                    row[j] *= np.float32(kept[j]) * keep_scale
            add_row(row, sums[group])
