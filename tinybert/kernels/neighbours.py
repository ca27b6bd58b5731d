"""Inner products of vectors, for those that are nearest to one."""

import numpy as np

from tinybert.kernels.loops import LANES, ZERO, Floats, compiled, row_sum


@compiled
def normalize_rows(x: Floats) -> None:
    """Divide each row of (N, D) by its Euclidean norm; rows of zeros stay."""
    squares, lanes = np.empty(x.shape[1], np.float32), np.empty(LANES, np.float32)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            squares[j] = x[i, j] * x[i, j]
        norm = np.sqrt(row_sum(squares, lanes))
        if norm > ZERO:
            for j in range(x.shape[1]):
                x[i, j] /= norm


@compiled
def inner_products(x: Floats, y: Floats, out: Floats) -> None:
    """Fill `out` (N,) with the inner products of the rows of x (N, D) with y (D,)."""
    products, lanes = np.empty_like(y), np.empty(LANES, np.float32)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            products[j] = x[i, j] * y[j]
        out[i] = row_sum(products, lanes)
