"""Where a network drops activations, so that the masks can be drawn outside of it.

The framework's own dropout is not reproducible on CPU; the masks are inputs of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tinybert.model.parameters import layer_name
from tinybert.randomness import drop_threshold, keep_mask
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
    """Probability of dropping, as the recipe says it."""


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


def keep_scale(rate: float) -> float:
    """Return the factor of the kept activations, 1 / (1 - q), q the rate in 1/65,536 steps."""
    return 65536.0 / (65536 - drop_threshold(rate))
