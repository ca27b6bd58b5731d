"""The largest of many scores, in a deterministic order."""

import numpy as np
import numpy.typing as npt

from tinybert.data.rows import Int32Array

NONE = -1
"""In the place of an index, where there are fewer than were asked for."""
_SIGN = np.uint32(1 << 31)


def largest(scores: npt.NDArray[np.float32], count: int) -> Int32Array:
    """Return the places of the `count` largest scores of each row, largest first.

    Of equal scores the first comes first. A score of minus infinity is none of them.

    Args:
        scores: (N, C) float32 without NaN.
        count: At least 1.

    Returns:
        (N, count) int32; `NONE` where there are no more.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0, which it equals
    ascending = np.where(bits & _SIGN, ~bits, bits | _SIGN)  # in the order of the numbers
    places = np.arange(scores.shape[1], dtype=np.uint64)
    keys = (~ascending).astype(np.uint64) << np.uint64(32) | places
    kept = min(count, scores.shape[1])
    if kept < scores.shape[1]:
        keys = np.partition(keys, kept - 1, axis=1)[:, :kept]
    chosen = (np.sort(keys, axis=1) & np.uint64(0xFFFFFFFF)).astype(np.int32)
    chosen[np.isneginf(np.take_along_axis(scores, chosen, axis=1))] = NONE
    return np.pad(chosen, ((0, 0), (0, count - kept)), constant_values=NONE)
