"""What a training step is given, as a pure function of the global step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.packing import Packing, pack_batch
from tinybert.data.sampler import IndexArray, Sampler
from tinybert.data.store import TokenStore
from tinybert.data.teacher_outputs import TeacherOutputs
from tinybert.train.masks import DropoutMasks
from tinybert.train.world import ALONE, World

LossInputs = Callable[[Batch, npt.NDArray[np.bool_]], Batch]


@dataclass(frozen=True)
class StepInputs:
    """One step's inputs on this process."""

    parts: tuple[Batch, ...]
    """Its parts of the global batch, in order: its micro-batches, or all its rows as one. They are
    of one shape, the same in every step, or one of a few."""
    rows: int
    """Rows of the global batch, without fillers."""
    batch_digest: str
    """SHA-256 of the global batch, without fillers and masks."""


class Feed:
    """Inputs of a network that is trained: rows, loss normalizers, dropout masks.

    Args:
        store: The training rows.
        sampler: Which rows a step trains on; a short last batch is filled up with copies of its
            first row.
        masks: The dropout masks of the rows.
        loss_inputs: Adds the loss normalizers; see `distill.normalizers`.
        world: The processes that share a batch; their number divides its size.
        micro_batches: Equal parts that a global batch is cut into; None: one a process.
        packing: The shapes of packed batches; None: batches are not packed.
        teacher_outputs: Those of the training rows; None: the network computes them.
    """

    def __init__(
        self,
        store: TokenStore,
        sampler: Sampler,
        masks: DropoutMasks,
        *,
        loss_inputs: LossInputs,
        world: World = ALONE,
        micro_batches: int | None = None,
        packing: Packing | None = None,
        teacher_outputs: TeacherOutputs | None = None,
    ) -> None:
        self._store = store
        self._sampler = sampler
        self._global_batch_size = sampler.global_batch_size
        self.masks = masks
        self._loss_inputs = loss_inputs
        self.packing = packing
        self._teacher_outputs = teacher_outputs
        self._own = world.own_parts(world.parts(micro_batches), sampler.global_batch_size)

    def __call__(self, global_step: int) -> StepInputs:
        """Return the inputs of one step."""
        indices = self._sampler.indices(global_step)
        batch, rows = self._store.batch(indices), len(indices)
        digest = batch.digest()
        filled = np.arange(self._global_batch_size) < rows
        used = indices
        if not filled.all():
            used = np.pad(indices, (0, len(filled) - rows), constant_values=indices[0])
            batch = self._store.batch(used)
        batch = self._loss_inputs(batch, filled)
        layouts = None
        if self.packing is not None:
            lengths = self._store.batch_lengths(indices, self._global_batch_size)
            layouts = self.packing.layouts(lengths)
        parts = []
        for number, places in self._own.items():
            part = batch.take(places)
            if self._teacher_outputs is not None:
                part = self._teacher_outputs.add_to(part, used[places])
            layout = None if layouts is None else layouts[number]
            if layout is not None:
                part = pack_batch(part, layout)
            parts.append(self.masks.add_to(part, self._ordinals(global_step, places), layout))
        return StepInputs(tuple(parts), rows, digest)

    def mask_digest(self, global_step: int) -> str:
        """Return SHA-256 of the masks of a whole global batch, the same on any process."""
        return self.masks.digest(self._ordinals(global_step, np.arange(self._global_batch_size)))

    def _ordinals(self, global_step: int, places: IndexArray) -> npt.NDArray[np.uint64]:
        """Return the ordinals in the run of some rows of a step's global batch."""
        return (global_step * self._global_batch_size + places).astype(np.uint64)
