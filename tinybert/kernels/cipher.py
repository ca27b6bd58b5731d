"""The cipher that all random choices come from."""

import numpy as np

from tinybert.kernels.loops import Words, compiled

COUNTERS = 1024
"""Counters at a time: their words stay in the first-level cache."""


@compiled
def encipher(
    schedule: Words, rotations: tuple[tuple[int, int], ...], counters: tuple[Words, ...], out: Words
) -> None:
    """Fill `out` with the cipher of N counters; see `randomness.threefry`.

    Args:
        schedule: What is added to the words before the rounds, and after every fourth of them,
            (rounds / 4 + 1, 4).
        rotations: Bits by which the first and the second pair of words are rotated, from round to
            round.
        counters: Four words (N,) each.
        out: (N, 4).
    """
    words = np.empty((4, COUNTERS), np.uint32)
    for start in range(0, out.shape[0], COUNTERS):
        part = out[start : start + COUNTERS]
        size = part.shape[0]
        x = (words[0][:size], words[1][:size], words[2][:size], words[3][:size])
        for word in range(4):
            x[word][:] = counters[word][start : start + COUNTERS]
            _add(x[word], schedule[0, word])
        for step in range(4 * (schedule.shape[0] - 1)):
            first, second = rotations[step % len(rotations)]
            a = 1 if step % 2 == 0 else 3
            _mix(x[0], x[a], first)
            _mix(x[2], x[4 - a], second)
            if step % 4 == 3:
                for word in range(4):
                    _add(x[word], schedule[step // 4 + 1, word])
        for word in range(4):
            part[:, word] = x[word]


@compiled
def _add(words: Words, word: np.uint32) -> None:
    for i in range(words.size):
        words[i] += word


@compiled
def _mix(left: Words, right: Words, bits: int) -> None:
    """Add `right` to `left`, rotate `right` by `bits`, and xor it with the sum; in place."""
    up, down = np.uint32(bits), np.uint32(32 - bits)
    for i in range(left.size):
        total = np.uint32(left[i] + right[i])
        left[i] = total
        right[i] = np.uint32(np.uint32(right[i] << up) | np.uint32(right[i] >> down)) ^ total
