"""GELU after the sum with a bias, in both forms of Hendrycks and Gimpel, arXiv 1606.08415."""

from typing import NamedTuple

import numpy as np

from tinybert.kernels.loops import (
    HALF,
    ROW_GROUPS,
    ZERO,
    Floats,
    add_groups,
    add_row,
    compiled,
    float32,
    new_group_sums,
    polynomial,
    rows_of_group,
)
from tinybert.kernels.threads import THREADS


class OddFit(NamedTuple):
    """x P(x^2) / Q(x^2) in the place of an odd function, up to where that is 1/2 to float32."""

    end: np.float32
    p: tuple[np.float32, ...]
    q: tuple[np.float32, ...]


class Gelu(NamedTuple):
    """A form of GELU: x (1/2 + phi(x)), whose derivative is 1/2 + slope(x)."""

    phi: OddFit
    slope: OddFit


# fitted by tools/fit_gelu.py
_PHI = OddFit(
    np.float32(5.6),
    float32(
        *(3.98942222e-01, 3.43760575e-02, 4.70725461e-03),
        *(1.73849900e-04, 6.35649736e-06, 2.21451914e-08),
    ),
    float32(
        *(1.0, 2.52833711e-01, 2.89400546e-02),
        *(1.91297394e-03, 7.51014942e-05, 1.18020576e-06),
    ),
)
_SLOPE = OddFit(
    np.float32(6.0),
    float32(
        *(7.97884560e-01, -3.58334236e-02, 1.47541847e-02, -5.36669857e-05),
        *(4.05294396e-05, 3.02176381e-07, 2.96115231e-08, 8.99493933e-11),
    ),
    float32(
        *(1.0, 2.88422793e-01, 3.96325623e-02, 3.41665045e-03),
        *(2.04071140e-04, 8.74667914e-06, 2.61971773e-07, 5.40654804e-09),
    ),
)
_TANH_PHI = OddFit(
    np.float32(5.1),
    float32(
        *(3.98942319e-01, 3.04328621e-02, 3.62877113e-03),
        *(1.33293516e-04, 6.98538153e-06, 2.35351979e-08),
    ),
    float32(
        *(1.0, 2.43776182e-01, 2.43533817e-02),
        *(1.29672816e-03, 7.53988808e-05, 1.29640952e-06),
    ),
)
_TANH_SLOPE = OddFit(
    np.float32(5.5),
    float32(
        *(7.97884573e-01, -5.38417666e-02, 1.39703507e-02, -3.70142651e-04),
        *(3.48916757e-05, -1.61606739e-07, 2.04664790e-08, 3.38321397e-11),
    ),
    float32(
        *(1.0, 2.67502717e-01, 3.04029473e-02, 1.66361121e-03),
        *(1.25296442e-04, 4.15416924e-06, 1.44392377e-07, 3.12868483e-09),
    ),
)
ERF_GELU, TANH_GELU = Gelu(_PHI, _SLOPE), Gelu(_TANH_PHI, _TANH_SLOPE)
"""The exact form, with the normal distribution function, and the one with the tanh."""


def bias_gelu(x: Floats, bias: Floats, phi: OddFit, out: Floats) -> None:
    """Fill `out` with y (1/2 + phi(y)), y = x + bias, which is within 3e-7 |y| of the exact.

    Args:
        x: (N, H) float32.
        bias: (H,).
        phi: That of a form of GELU.
        out: (N, H).
    """
    THREADS.share(len(x), x.size, _bias_gelu, x, bias, phi, out)


def bias_gelu_gradient(
    x: Floats, bias: Floats, slope: OddFit, gradient: Floats, to_x: Floats, to_bias: Floats
) -> None:
    """Fill `to_x` (N, H) and `to_bias` (H,) with the gradients of `bias_gelu`.

    The factor of `gradient` (N, H) is within 4e-7 of the exact derivative.
    """
    sums = new_group_sums(to_bias)
    THREADS.share(ROW_GROUPS, x.size, _bias_gelu_gradient, x, bias, slope, gradient, to_x, sums)
    add_groups(sums, to_bias)


@compiled
def _odd(x: np.float32, fit: OddFit) -> np.float32:
    near = min(max(x, -fit.end), fit.end)
    square = near * near
    return near * (polynomial(square, fit.p) / polynomial(square, fit.q))


@compiled
def _bias_gelu(x: Floats, bias: Floats, phi: OddFit, out: Floats, start: int, end: int) -> None:
    for i in range(start, end):
        row, given = out[i], x[i]
        for j in range(row.size):
            y = given[j] + bias[j]
            row[j] = y * (HALF + _odd(y, phi) if y > -phi.end else ZERO)


@compiled
def _bias_gelu_gradient(
    x: Floats,
    bias: Floats,
    slope: OddFit,
    gradient: Floats,
    to_x: Floats,
    sums: Floats,
    start: int,
    end: int,
) -> None:
    for group in range(start, end):
        first, last = rows_of_group(group, len(x))
        for i in range(first, last):
            row, given, factors = to_x[i], x[i], gradient[i]
            for j in range(row.size):
                row[j] = factors[j] * (HALF + _odd(given[j] + bias[j], slope))
            add_row(row, sums[group])
