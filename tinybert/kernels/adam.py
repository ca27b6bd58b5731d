"""The update of a tensor, and the norm that gradients are clipped by."""

import numpy as np

from tinybert.kernels.loops import LANES, ZERO, Floats, compiled

CHUNK = 4096
"""Elements whose squares are added in float32, before the sums of chunks in float64."""


@compiled
def sum_of_squares(x: Floats) -> float:
    """Return the sum of the squares of (N,) float32; not finite if an element is not."""
    total = 0.0
    lanes = np.empty(LANES, np.float32)
    for start in range(0, x.size, CHUNK):
        part = x[start : start + CHUNK]
        lanes[:] = ZERO
        full = part.size // LANES * LANES
        for first in range(0, full, LANES):
            for lane in range(LANES):
                lanes[lane] += part[first + lane] * part[first + lane]
        for lane in range(part.size - full):
            lanes[lane] += part[full + lane] * part[full + lane]
        for lane in range(LANES):
            total += lanes[lane]
    return total


@compiled
def adam(
    weight: Floats,
    first: Floats,
    second: Floats,
    gradient: Floats,
    factor: np.float32,
    betas: Floats,
    rate: np.float32,
    eps: np.float32,
    decay: np.float32,
) -> None:
    """Update a tensor and its moments in place; all (N,) float32.

    With g = factor * gradient: m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    w = w - rate (m / (sqrt(v) + eps) + decay w).

    Args:
        weight: w.
        first: m.
        second: v.
        gradient: As it came.
        factor: What unscales and clips it.
        betas: b1, 1 - b1, b2, 1 - b2.
        rate: Learning rate.
        eps: Added to the root of the second moment.
        decay: Weight decay.
    """
    b1, c1, b2, c2 = betas[0], betas[1], betas[2], betas[3]
    for i in range(weight.size):
        g = gradient[i] * factor
        first[i] = b1 * first[i] + c1 * g
        second[i] = b2 * second[i] + c2 * (g * g)
        weight[i] -= rate * (first[i] / (np.sqrt(second[i]) + eps) + decay * weight[i])
