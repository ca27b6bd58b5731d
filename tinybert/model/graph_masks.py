"""The dropout masks of `randomness.keep_mask`, made in the graph from the ordinals of the samples.

Where a device trains faster than the host draws, only the ordinals go to it. The operators are
additions, products, bitwise and, exclusive or, and casts of int32, which wrap like the uint32 of
the host. Bits are moved by products with powers of two: of the framework's shifts there is no
form for the vector units of an Ascend card, only one for its slow scalar processors.
"""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from tinybert.model.dropout import KINDS, DropoutSite
from tinybert.model.layers import Cell
from tinybert.randomness import ROTATIONS, ROUNDS, drop_threshold, dropout_key, subkeys

Masks = tuple[Tensor | None, ...]
_EXACT = 24
"""Bits of an integer that float32 holds."""


def ordinal_words(
    samples: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the low and the high word of ordinals (B,), as int32 of the same bits."""
    low, high = samples.astype(np.uint32), (samples >> np.uint64(32)).astype(np.uint32)
    return low.view(np.int32), high.view(np.int32)


def _top(x: Tensor, bits: int) -> Tensor:
    """Return the upper `bits` <= 24 bits of int32 words as numbers that are not negative.

    The cleared rest leaves a number that float32 holds, and so does its part.
    """
    upper = ops.bitwise_and(x, Tensor(-(1 << (32 - bits)), ms.int32))
    moved = ops.cast(ops.cast(upper, ms.float32) * 0.5 ** (32 - bits), ms.int32)
    return ops.bitwise_and(moved, Tensor((1 << bits) - 1, ms.int32))


def _rotated(x: Tensor, bits: int) -> Tensor:
    """Return int32 words rotated to the left."""
    for part in (bits,) if bits <= _EXACT else (16, bits - 16):
        x = x * (1 << part) + _top(x, part)
    return x


def cipher(counters: tuple[Tensor, ...], schedule: Tensor) -> tuple[Tensor, ...]:
    """Return Threefry-4x32-20 of int32 words that have the bits of `randomness.threefry`.

    Args:
        counters: The four words of the counters, shapes that broadcast to one another.
        schedule: (6, 4, ...) int32, `randomness.subkeys`.

    Returns:
        The four words of the output.
    """
    x = [counters[word] + schedule[0, word] for word in range(4)]
    for step in range(ROUNDS):
        first, second = ROTATIONS[step % 8]
        a, b = (1, 3) if step % 2 == 0 else (3, 1)
        x[0] = x[0] + x[a]
        x[2] = x[2] + x[b]
        x[a] = ops.bitwise_xor(_rotated(x[a], first), x[0])
        x[b] = ops.bitwise_xor(_rotated(x[b], second), x[2])
        if step % 4 == 3:
            for word in range(4):
                x[word] = x[word] + schedule[step // 4 + 1, word]
    return x[0], x[1], x[2], x[3]


class SiteMasks(Cell):
    """The masks of sites of one kind, which have one shape.

    Args:
        seed: The recipe's seed.
        sites: At least one.
    """

    def __init__(self, seed: int, sites: Sequence[DropoutSite]) -> None:
        super().__init__()
        self.sites = len(sites)
        self.shape = sites[0].shape
        self.elements = int(np.prod(self.shape, dtype=np.int64))
        self.blocks = -(-self.elements // 8)
        keys = np.stack([subkeys(dropout_key(seed, site.name)) for site in sites], -1)
        self.schedule = Tensor(keys.view(np.int32).reshape(*keys.shape, 1, 1))  # (6, 4, n, 1, 1)
        self.block = Tensor(np.arange(self.blocks, dtype=np.int32).reshape(1, 1, -1))
        rates = np.array([drop_threshold(site.rate) for site in sites], np.int32)
        self.thresholds = Tensor(rates.reshape(-1, *(1,) * (1 + len(self.shape))))

    def construct(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the masks (n, B, *shape) bool of ordinals' words (B,) int32."""
        batch = low.shape[0]
        low, high = low.reshape(1, batch, 1), high.reshape(1, batch, 1)
        words = cipher((self.block, low, high, ops.zeros_like(low)), self.schedule)
        pairs: tuple[Tensor, ...] = ()
        for word in words:
            lower = ops.bitwise_and(word, Tensor(0xFFFF, ms.int32))
            pairs += (ops.stack((lower, _top(word, 16)), -1),)  # (n, B, blocks, 2) each
        draws = ops.stack(pairs, 3).reshape(self.sites, batch, 8 * self.blocks)
        draws = draws[:, :, : self.elements].reshape(self.sites, batch, *self.shape)
        return ops.greater_equal(draws, self.thresholds)


class GraphMasks(Cell):
    """The masks of all sites, as `dropout.keep_masks` makes them on the host.

    Args:
        seed: The recipe's seed.
        sites: The network's dropout sites.
    """

    def __init__(self, seed: int, sites: Sequence[DropoutSite]) -> None:
        super().__init__()
        by_kind = [[site for site in sites if site.kind == kind] for kind in KINDS]
        while by_kind and not by_kind[-1]:
            by_kind.pop()
        self.present = tuple(map(bool, by_kind))
        self.kinds = nn.CellList(
            [SiteMasks(seed, some) for some in by_kind if some], auto_prefix=False
        )

    def construct(self, low: Tensor, high: Tensor) -> Masks:
        """Return the stacked masks (n, B, ...) bool of each kind up to the last one with sites.

        A kind without sites before that has None.

        Args:
            low: Low words of the samples' ordinals (B,) int32.
            high: High words (B,) int32.
        """
        masks: Masks = ()
        place = 0
        for present in self.present:
            if present:
                masks += (self.kinds[place](low, high),)
                place += 1
            else:
                masks += (None,)
        return masks


def _packed(masks: Masks, row_ids: Tensor, position_ids: Tensor) -> Masks:
    """Return masks of rows as those of packed rows, as `dropout.packed_keep_masks` makes them.

    Where no row lies they are those of any row.

    Args:
        masks: (n, B, S_row, H), (n, B, A, S_row, S_row), and (n, B, H), which stays.
        row_ids: (P, S) int32; see `Batch`.
        position_ids: (P, S) int32.
    """
    blocks, length = row_ids.shape
    rows = ops.relu(row_ids - 1)
    packed: Masks = ()
    for mask in masks:
        if mask is None or mask.ndim == 3:
            packed += (mask,)
            continue
        sites, batch, width = mask.shape[0], mask.shape[1], mask.shape[-1]
        # a token's place among those of all rows, then the tokens' parts of the mask
        by_token = mask if mask.ndim == 4 else ops.transpose(mask, (0, 1, 3, 2, 4))
        places = (rows * by_token.shape[2] + position_ids).reshape(-1)
        flat = by_token.reshape(sites, batch * by_token.shape[2], -1)
        tokens = ops.gather(flat, places, 1)  # (n, P * S, H or A * S_row)
        if mask.ndim == 4:
            packed += (tokens.reshape(sites, blocks, length, width),)
            continue
        heads = mask.shape[2]
        tokens = tokens.reshape(sites, blocks, length, heads, width)
        keys = position_ids.reshape(1, blocks, 1, 1, length)
        keys = ops.tile(keys, (sites, 1, length, heads, 1))
        pairs = ops.gather_elements(tokens, 4, keys)  # (n, P, S, A, S)
        packed += (ops.transpose(pairs, (0, 1, 3, 2, 4)),)
    return packed


class MaskedNetwork(Cell):
    """A network that takes the ordinals of its samples where it would take masks.

    Args:
        network: construct(*batch, *masks).
        masks: What makes the masks.
    """

    def __init__(self, network: nn.Cell, masks: GraphMasks) -> None:
        super().__init__()
        self.network = network
        self.masks = masks

    def construct(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Return the network's outputs.

        Args:
            inputs: What the network takes before its masks, as in `Batch`, then the low and the
                high words of the ordinals, (B,) int32 each.
        """
        masks = self.masks(inputs[-2], inputs[-1])
        row_ids, position_ids = inputs[3], inputs[4]
        if row_ids is not None:
            masks = _packed(masks, row_ids, position_ids)
        outputs: tuple[Tensor, ...] = self.network(*inputs[:-2], *masks)
        return outputs
