"""Fit the rational functions of `kernels.bias_gelu` and its gradient, and print their coefficients.

    python -m tools.fit_gelu

x P(x^2) / Q(x^2) is fitted to an odd function so that the largest error is as small as it gets: by
weighted least squares, whose weights grow where the error is large (Lawson's method).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
POINTS, ROUNDS = 4000, 200


def phi(x: Array) -> Array:
    """Return the normal distribution function, less 1/2."""
    return np.asarray(ndtr(x) - 0.5)


def slope(x: Array) -> Array:
    """Return the derivative of x Phi(x), less 1/2."""
    return np.asarray(phi(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


def tanh_phi(x: Array) -> Array:
    """Return what takes the place of `phi` in the tanh form of GELU."""
    return np.asarray(np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)) / 2)


def tanh_slope(x: Array) -> Array:
    """Return the same of `slope`."""
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return np.asarray(tanh_phi(x) + x * inner * (0.5 - 2 * tanh_phi(x) ** 2))


def fitted(
    function: Callable[[Array], Array], end: float, degrees: tuple[int, int]
) -> tuple[float, Array, Array]:
    """Return the largest error for |x| <= end, and the coefficients of P and Q in x^2."""
    square = (np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS) + 1) / 2  # of x / end
    x = end * np.sqrt(square)
    wanted = function(x) / x
    above, below = (np.vander(square, degree + 1, increasing=True) for degree in degrees)
    weights, divisor = np.ones(POINTS), np.ones(POINTS)
    best: tuple[float, Array, Array] = (np.inf, np.empty(0), np.empty(0))
    for _ in range(ROUNDS):
        scale = np.sqrt(weights) * x / divisor
        columns = np.hstack([above, -wanted[:, None] * below[:, 1:]])
        found = np.linalg.lstsq(columns * scale[:, None], wanted * scale, rcond=None)[0]
        p, q = found[: degrees[0] + 1], np.append(1.0, found[degrees[0] + 1 :])
        divisor = below @ q
        errors = x * np.abs(above @ p / divisor - wanted)
        if errors.max() < best[0]:
            powers = [end ** (2.0 * np.arange(len(each))) for each in (p, q)]
            best = (float(errors.max()), p / powers[0], q / powers[1])
        weights *= errors / errors.max() + 1e-3
        weights *= POINTS / weights.sum()
    return best


FITS = (
    (phi, 5.6, (5, 5)),
    (slope, 6.0, (7, 7)),
    (tanh_phi, 5.1, (5, 5)),
    (tanh_slope, 5.5, (7, 7)),
)
"""Function, range, and degrees of P and Q."""


def main() -> None:
    """Print the fits."""
    for function, end, degrees in FITS:
        error, p, q = fitted(function, end, degrees)
        print(f"{function.__name__}: within {error:.1e} for |x| <= {end}")
        for name, coefficients in (("P", p), ("Q", q)):
            print(f"  {name} ", *(f"{value:.8e}" for value in coefficients))


if __name__ == "__main__":
    main()
