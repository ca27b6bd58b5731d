"""What a training step is given, as a pure function of the global step."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.sampler import Sampler, shard
from tinybert.data.store import TokenStore
from tinybert.distill.losses import Padding, row_weights
from tinybert.model.dropout import DropoutSite
from tinybert.randomness import keep_mask


@dataclass(frozen=True)
class StepInputs:
    """One step's inputs on this process."""

    arrays: tuple[npt.NDArray[np.generic] | None, ...]
    """What the network takes; the first dimension of a batch is the same in every step."""
    rows: int
    """Rows of the global batch."""
    batch_digest: str
    """SHA-256 of the global batch, without fillers and masks."""


class DistillFeed:
    """Inputs of a `Distiller`.

    Args:
        store: The training rows.
        sampler: Which rows a step trains on.
        global_batch_size: Rows a step over all processes; a short last batch is filled up with
            rows of weight 0.
        sites: The student's dropout sites, of the full sequence length.
        seed: The recipe's seed.
        padding: Whether padding positions count in the losses.
        rank: This process.
        world: Number of processes; divides the global batch size.
    """

    def __init__(
        self,
        store: TokenStore,
        sampler: Sampler,
        *,
        global_batch_size: int,
        sites: Sequence[DropoutSite],
        seed: int,
        padding: Padding,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._store = store
        self._sampler = sampler
        self._global_batch_size = global_batch_size
        self._sites = sites
        self._seed = seed
        self._padding = padding
        self._places = shard(np.arange(global_batch_size), rank, world)

    def __call__(self, global_step: int) -> StepInputs:
        """Return the inputs of one step."""
        batch = self._store.batch(self._sampler.indices(global_step))
        rows = len(batch.input_ids)
        local = self._local(batch)
        tokens = np.zeros(self._global_batch_size, np.int64)
        tokens[:rows] = batch.input_mask.sum(axis=1)
        filled = np.arange(self._global_batch_size) < rows
        weights = row_weights(tokens, filled, batch.input_ids.shape[1], self._padding)
        masks = self._masks(global_step, self._places)
        arrays = (*local, *(weight[self._places] for weight in weights), *masks)
        return StepInputs(arrays, rows, batch.digest())

    def mask_digest(self, global_step: int) -> str:
        """Return SHA-256 of the masks of a whole global batch, the same on any process."""
        digest = hashlib.sha256()
        for stack in self._masks(global_step, np.arange(self._global_batch_size)):
            if stack is not None:
                digest.update(np.packbits(stack).tobytes())
        return digest.hexdigest()

    def _local(self, batch: Batch) -> tuple[npt.NDArray[np.int32], ...]:
        """Return this process's rows; the first row stands in for those that are missing."""
        places = np.where(self._places < len(batch.input_ids), self._places, 0)
        return batch.input_ids[places], batch.segment_ids[places], batch.input_mask[places]

    def _masks(
        self, global_step: int, places: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.bool_] | None, ...]:
        """Return the keep masks of all hidden sites and of all attention sites, stacked."""
        samples = (global_step * self._global_batch_size + places).astype(np.uint64)
        stacks: dict[str, list[npt.NDArray[np.bool_]]] = {"hidden": [], "attention": []}
        for site in self._sites:
            mask = keep_mask(self._seed, site.name, samples, site.shape, site.rate)
            stacks[site.kind].append(mask)
        return tuple(np.stack(stack) if stack else None for stack in stacks.values())
