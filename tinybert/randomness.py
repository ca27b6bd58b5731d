"""Every random choice of a run: initial weights, sample order, dropout masks.

Each is a pure function of (seed, purpose, epoch or global step, global sample), computed by
Threefry-4x32 with 20 rounds (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC11)
from a key and a counter. Nothing is carried along, so nothing has to be restored on resume,
and a sample's draws do not depend on the process or the batch that it lands in. The generator
is here, rather than NumPy's, because NumPy's distributions may change between versions, and
because additions, rotations and exclusive ors can be repeated in the graph of any device.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from tinybert.kernels import cipher
from tinybert.kernels.loops import Words

_PARITY = np.uint32(0x1BD11BDA)
ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))
"""Bits by which the first and the second pair of words are rotated, from round to round."""
ROUNDS = 20
_DRAWS = 8
"""Draws of 16 bits from one counter."""


def key(seed: int, purpose: str) -> Words:
    """Return the four key words of one purpose, such as `dropout/encoder.layer.0`."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u4").astype(np.uint32)


def dropout_key(seed: int, site: str) -> Words:
    """Return the four key words of the dropout masks of one site."""
    return key(seed, f"dropout/{site}")


def subkeys(key_words: Words) -> Words:
    """Return what is added to the four words before the rounds, and after every fourth.

    Args:
        key_words: (4,) uint32.

    Returns:
        (6, 4) uint32.
    """
    words = np.array([*key_words, _PARITY ^ np.bitwise_xor.reduce(key_words)], np.uint32)
    injection = np.arange(ROUNDS // 4 + 1, dtype=np.uint32)
    added: Words = words[(injection[:, None] + np.arange(4)) % 5]
    added[:, 3] += injection
    return added


def threefry(key_words: Words, counters: tuple[Words, Words, Words, Words]) -> Words:
    """Return Threefry-4x32-20 of many counters.

    Args:
        key_words: (4,) uint32.
        counters: Four uint32 arrays of one shape (N,), the counter's words.

    Returns:
        (4, N) uint32, the output's words.
    """
    out = np.empty((counters[0].size, 4), np.uint32)
    cipher.encipher(subkeys(key_words), ROTATIONS, counters, out)
    return out.T


def uniform(seed: int, purpose: str, size: int) -> npt.NDArray[np.float64]:
    """Return (size,) float64, uniform in the open interval (0, 1), 32 bits each."""
    blocks = -(-size // 4)
    block = np.arange(blocks, dtype=np.uint32)
    zero = np.zeros_like(block)
    words = threefry(key(seed, purpose), (block, zero, zero, zero))
    return ((words.T.reshape(-1)[:size] + 0.5) / 2.0**32).astype(np.float64)


def truncated_normal(
    seed: int, name: str, shape: tuple[int, ...], std: float
) -> npt.NDArray[np.float32]:
    """Return the initial values of parameter `name`: a normal cut at two deviations.

    Args:
        seed: The recipe's seed.
        name: The parameter's canonical name, which keys its draws.
        shape: The parameter's shape.
        std: Standard deviation before the cut.

    Returns:
        float32 of `shape`, within [-2 std, 2 std], by inversion of the distribution function.
    """
    from scipy.special import ndtr, ndtri

    size = int(np.prod(shape, dtype=np.int64))
    low, high = ndtr(-2.0), ndtr(2.0)
    draws = ndtri(low + (high - low) * uniform(seed, f"weights/{name}", size))
    return np.asarray(draws * std, dtype=np.float32).reshape(shape)


def permutation(seed: int, epoch: int, rows: int) -> npt.NDArray[np.int64]:
    """Return the order of one epoch: (rows,) int64, each row once.

    Rows are sorted by 64 random bits each; ties, if ever, by row.
    """
    row = np.arange(rows, dtype=np.uint64)
    low, high = row.astype(np.uint32), (row >> np.uint64(32)).astype(np.uint32)
    zero = np.zeros_like(low)
    words = threefry(key(seed, "order"), (low, high, zero + np.uint32(epoch), zero))
    return np.argsort(words[0].astype(np.uint64) << np.uint64(32) | words[1], kind="stable")


def drop_threshold(rate: float) -> int:
    """Return the number of the 65,536 draws that drop; the rate is exact to 1/65,536."""
    return round(rate * 65536)


def keep_mask(
    seed: int, site: str, samples: npt.NDArray[np.uint64], shape: tuple[int, ...], rate: float
) -> npt.NDArray[np.bool_]:
    """Return the dropout mask of one site for some samples of the run.

    Args:
        seed: The recipe's seed.
        site: Name of the place in the network, which keys its draws.
        samples: (B,) uint64, each row's ordinal in the run: global step * global batch + position
            in the global batch.
        shape: Shape of one sample's activations at the site.
        rate: Probability of dropping.

    Returns:
        bool (B, *shape), True where the activation is kept. A sample's mask depends on nothing
        but (seed, site, ordinal): not on the process or the other rows.
    """
    elements = int(np.prod(shape, dtype=np.int64))
    runs = Runs(samples, np.zeros(len(samples), np.int64), np.full(len(samples), elements))
    return keep_runs(seed, site, runs, rate).reshape(len(samples), *shape)


class Runs:
    """Runs of consecutive elements of samples' masks.

    Elements count from 0 in the order of a mask's memory (C order).

    Args:
        samples: (R,) uint64, the ordinal of each run's sample.
        firsts: (R,) the run's first element.
        lengths: (R,) its number of elements.
    """

    def __init__(
        self,
        samples: npt.NDArray[np.uint64],
        firsts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> None:
        first_blocks = firsts // _DRAWS
        blocks = -(-(firsts + lengths) // _DRAWS) - first_blocks  # (R,) counters of each run
        starts = np.cumsum(blocks) - blocks
        run = np.repeat(np.arange(len(samples)), blocks)
        block = (np.arange(len(run)) - (starts - first_blocks)[run]).astype(np.uint32)
        low, high = samples.astype(np.uint32), (samples >> np.uint64(32)).astype(np.uint32)
        self.counters = (block, low[run], high[run], np.zeros_like(block))
        """Four words of each counter, which gives `_DRAWS` elements."""
        self.elements: npt.NDArray[np.int64] | None = None
        """Places of the runs' elements among all draws; None: they are all of them."""
        if (firsts % _DRAWS).any() or (lengths % _DRAWS).any():
            before = np.cumsum(lengths) - lengths
            first = _DRAWS * starts + firsts % _DRAWS
            self.elements = np.arange(int(lengths.sum())) + np.repeat(first - before, lengths)


def keep_runs(seed: int, site: str, runs: Runs, rate: float) -> npt.NDArray[np.bool_]:
    """Return elements of the dropout masks of one site, those of `runs` one after the other.

    They are the elements that `keep_mask` gives to the samples; no others are drawn.
    """
    words = threefry(dropout_key(seed, site), runs.counters)  # (4, counters)
    kept = np.ascontiguousarray(words.T).view("<u2").reshape(-1) >= drop_threshold(rate)
    return kept if runs.elements is None else kept[runs.elements]
