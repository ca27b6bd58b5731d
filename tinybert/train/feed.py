"""What a training step is given, as a pure function of the global step."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.sampler import Sampler, shard
from tinybert.data.store import TokenStore
from tinybert.errors import TrainingError
from tinybert.model.dropout import DropoutSite
from tinybert.model.graph_masks import GraphMasks, ordinal_words
from tinybert.randomness import keep_mask
from tinybert.train.world import ALONE, World

Weigh = Callable[[Batch, npt.NDArray[np.bool_]], Sequence[npt.NDArray[np.generic]]]


@dataclass(frozen=True)
class StepInputs:
    """One step's inputs on this process."""

    arrays: tuple[npt.NDArray[np.generic] | None, ...]
    """What the network takes; the first dimension of a batch is the same in every step."""
    rows: int
    """Rows of the global batch."""
    batch_digest: str
    """SHA-256 of the global batch, without fillers and masks."""


class Feed:
    """Inputs of a network that is trained: a batch, what `weigh` makes of it, dropout masks.

    Args:
        store: The training rows.
        sampler: Which rows a step trains on.
        global_batch_size: Rows a step over all processes; a short last batch is filled up with
            copies of its first row.
        sites: The student's dropout sites, of the full sequence length.
        kinds: Kinds of dropout sites, in the order in which the network takes their masks.
        seed: The recipe's seed.
        weigh: Makes what the network takes between batch and masks, of the filled global batch
            and of (G,) bool, False for a filler: arrays whose first dimension is G.
        world: The processes that share a batch; their number divides the global batch size.
        graph_masks: Give the words of the samples' ordinals instead of masks, which the graph
            makes of them; see `masks_in_graph`.
    """

    def __init__(
        self,
        store: TokenStore,
        sampler: Sampler,
        *,
        global_batch_size: int,
        sites: Sequence[DropoutSite],
        kinds: Sequence[str],
        seed: int,
        weigh: Weigh,
        world: World = ALONE,
        graph_masks: bool = False,
    ) -> None:
        self._store = store
        self._sampler = sampler
        self._global_batch_size = global_batch_size
        self._sites = sites
        self._kinds = kinds
        self._seed = seed
        self._weigh = weigh
        self._graph_masks = graph_masks
        self._places = shard(np.arange(global_batch_size), world.rank, world.size)

    def __call__(self, global_step: int) -> StepInputs:
        """Return the inputs of one step."""
        indices = self._sampler.indices(global_step)
        rows = len(indices)
        batch = self._store.batch(indices)
        digest = batch.digest()
        filled = np.arange(self._global_batch_size) < rows
        if rows < self._global_batch_size:
            batch = self._store.batch(np.where(filled, np.resize(indices, len(filled)), indices[0]))
        arrays = (batch.input_ids, batch.segment_ids, batch.input_mask, *self._weigh(batch, filled))
        samples = self._samples(global_step, self._places)
        masks = ordinal_words(samples) if self._graph_masks else self._masks(samples)
        return StepInputs((*(array[self._places] for array in arrays), *masks), rows, digest)

    def mask_digest(self, global_step: int) -> str:
        """Return SHA-256 of the masks of a whole global batch, the same on any process."""
        digest = hashlib.sha256()
        for stack in self._masks(self._samples(global_step, np.arange(self._global_batch_size))):
            if stack is not None:
                digest.update(np.packbits(stack).tobytes())
        return digest.hexdigest()

    def masks_in_graph(self) -> GraphMasks | None:
        """Return what makes the masks in the graph; None: they are among the inputs.

        Raises:
            TrainingError: The device does not make the bits that the host makes.
        """
        if not self._graph_masks:
            return None
        masks = GraphMasks(self._seed, self._sites, self._kinds)
        samples = np.array([1, 2**63 + 2**31 + 1], np.uint64)
        found = masks(*map(ms.Tensor, ordinal_words(samples)))
        pairs = zip(found, self._masks(samples), strict=True)
        if any(m is not None and (m.asnumpy() != wanted).any() for m, wanted in pairs):
            raise TrainingError(
                "the dropout masks that this device makes are not those of the host",
                cure='write `dropout_masks = "host"` in [runtime]',
            )
        return masks

    def _samples(self, global_step: int, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Return the ordinals in the run of some rows of a step's global batch."""
        return (global_step * self._global_batch_size + places).astype(np.uint64)

    def _masks(self, samples: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.bool_] | None, ...]:
        """Return the keep masks of the sites of each kind, stacked."""
        stacks: dict[str, list[npt.NDArray[np.bool_]]] = {kind: [] for kind in self._kinds}
        for site in self._sites:
            mask = keep_mask(self._seed, site.name, samples, site.shape, site.rate)
            stacks[site.kind].append(mask)
        return tuple(np.stack(stack) if stack else None for stack in stacks.values())
