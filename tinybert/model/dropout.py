"""Where a network drops activations, so that the masks can be drawn outside of it.

The framework's own dropout is not reproducible on CPU; the masks are inputs of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tinybert.data.packing import Layout
from tinybert.model.parameters import layer_name
from tinybert.randomness import Runs, drop_threshold, keep_mask, keep_runs
from tinybert.recipe.network import NetworkConfig

Kind = Literal["hidden", "attention", "classifier"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which the networks take their masks."""


@dataclass(frozen=True)
class DropoutSite:
    """One place where activations are dropped."""

    name: str
    """Canonical name of the place, which keys its draws."""
    kind: Kind
    """The network's input that the masks of this site are stacked in."""
    shape: tuple[int, ...]
    """Shape of one sample's activations: (S, H), (A, S, S) or (H,)."""
    rate: float
    """Probability of dropping, as in the recipe."""


def dropout_sites(config: NetworkConfig, seq_length: int) -> tuple[DropoutSite, ...]:
    """Return the sites of a network in the order in which it takes their masks.

    `hidden_keep` (2L+1, B, S, H) stacks the hidden sites: embeddings, then for each layer the
    attention output and the feed-forward output. `attention_keep` (L, B, A, S, S) stacks the
    attention sites. A kind whose rate is 0 has no sites, and the network takes None for it.
    """
    layers = [layer_name(layer) for layer in range(config.num_hidden_layers)]
    sites: list[DropoutSite] = []
    if drop_threshold(config.hidden_dropout_prob):
        names = ["embeddings"]
        for layer in layers:
            names += [f"{layer}.attention.output", f"{layer}.output"]
        shape = (seq_length, config.hidden_size)
        sites += [DropoutSite(n, "hidden", shape, config.hidden_dropout_prob) for n in names]
    if drop_threshold(config.attention_probs_dropout_prob):
        rate = config.attention_probs_dropout_prob
        pairs = (config.num_attention_heads, seq_length, seq_length)
        sites += [DropoutSite(f"{n}.attention.self", "attention", pairs, rate) for n in layers]
    return tuple(sites)


def keep_masks(
    seed: int, sites: Sequence[DropoutSite], ordinals: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.bool_] | None, ...]:
    """Return the masks of each kind of site: (n, B, ...) stacked by site, None without sites.

    Args:
        seed: The recipe's seed.
        sites: The network's dropout sites.
        ordinals: (B,) ordinals of the rows in the run.
    """
    stacks: dict[Kind, list[npt.NDArray[np.bool_]]] = {kind: [] for kind in KINDS}
    for site in sites:
        stacks[site.kind].append(keep_mask(seed, site.name, ordinals, site.shape, site.rate))
    return tuple(np.stack(stack) if stack else None for stack in stacks.values())


def packed_keep_masks(
    seed: int, sites: Sequence[DropoutSite], ordinals: npt.NDArray[np.uint64], layout: Layout
) -> tuple[npt.NDArray[np.bool_] | None, ...]:
    """Return the masks of each kind of site for packed rows, None without sites.

    They are those of `keep_masks`, cropped to the rows' tokens: (n, P, S, H), (n, P, A, S, S), and
    of a head on rows (n, B, H). Nothing is dropped elsewhere.

    Args:
        seed: The recipe's seed.
        sites: The network's dropout sites.
        ordinals: (B,) ordinals of the rows in the run.
        layout: Where the rows lie.
    """
    masks: list[npt.NDArray[np.bool_] | None] = []
    for kind in KINDS:
        some = [site for site in sites if site.kind == kind]
        if not some:
            masks.append(None)
        elif len(some[0].shape) == 1:
            masks.append(
                np.stack([keep_mask(seed, s.name, ordinals, s.shape, s.rate) for s in some])
            )
        elif kind == "attention":
            masks.append(_packed_attention(seed, some, ordinals, layout))
        else:
            masks.append(_packed_hidden(seed, some, ordinals, layout))
    return tuple(masks)


def _packed_hidden(
    seed: int, sites: Sequence[DropoutSite], ordinals: npt.NDArray[np.uint64], layout: Layout
) -> npt.NDArray[np.bool_]:
    """Return the masks (n, P, S, H) of sites of shape (S_row, H)."""
    width = sites[0].shape[-1]
    runs = Runs(ordinals, np.zeros_like(layout.lengths), layout.lengths * width)
    masks = np.ones((len(sites), layout.blocks * layout.block_length, width), bool)
    ends = np.cumsum(layout.lengths)
    for mask, site in zip(masks, sites, strict=True):
        drawn = keep_runs(seed, site.name, runs, site.rate).reshape(-1, width)  # (T, H)
        for first, length, end in zip(layout.firsts, layout.lengths, ends, strict=True):
            mask[first : first + length] = drawn[end - length : end]
    return masks.reshape(len(sites), layout.blocks, layout.block_length, width)


def _packed_attention(
    seed: int, sites: Sequence[DropoutSite], ordinals: npt.NDArray[np.uint64], layout: Layout
) -> npt.NDArray[np.bool_]:
    """Return the masks (n, P, A, S, S) of sites of shape (A, S_row, S_row)."""
    heads, seq_length, _ = sites[0].shape
    # a run for each head and query: a row's first element of it
    firsts = [
        np.arange(heads)[:, None] * seq_length**2 + np.arange(length) * seq_length
        for length in layout.lengths
    ]
    runs = Runs(
        np.repeat(ordinals, heads * layout.lengths),
        np.concatenate([first.reshape(-1) for first in firsts]),
        np.repeat(layout.lengths, heads * layout.lengths),
    )
    size = layout.block_length
    masks = np.ones((len(sites), layout.blocks, heads, size, size), bool)
    ends = np.cumsum(heads * layout.lengths**2)
    for mask, site in zip(masks, sites, strict=True):
        drawn = keep_runs(seed, site.name, runs, site.rate)
        for first, length, end in zip(layout.firsts, layout.lengths, ends, strict=True):
            (block, start), pairs = divmod(first, size), (heads, length, length)
            row = drawn[end - heads * length**2 : end].reshape(pairs)
            mask[block, :, start : start + length, start : start + length] = row
    return masks


def keep_scale(rate: float) -> float:
    """Return the factor of the kept activations, 1 / (1 - q), q the rate in 1/65,536 steps."""
    return 65536.0 / (65536 - drop_threshold(rate))
