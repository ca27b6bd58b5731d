"""What a training step is given, as a pure function of the global step."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.packing import Layout, Packing, pack_batch
from tinybert.data.sampler import IndexArray, Sampler
from tinybert.data.store import TokenStore
from tinybert.data.teacher_outputs import TeacherOutputs
from tinybert.errors import TrainingError
from tinybert.model.dropout import DropoutSite, keep_masks, packed_keep_masks
from tinybert.model.graph_masks import GraphMasks, ordinal_words
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
        sampler: Which rows a step trains on.
        global_batch_size: Rows a step over all processes; a short last batch is filled up with
            copies of its first row.
        sites: The student's dropout sites, of the full sequence length.
        seed: The recipe's seed.
        loss_inputs: Adds the loss normalizers; see `distill.normalizers`.
        world: The processes that share a batch; their number divides the global batch size.
        micro_batches: Equal parts that a global batch is cut into; None: one a process.
        graph_masks: Give the words of the rows' ordinals instead of masks, which the graph makes
            of them; see `masks_in_graph`.
        packing: The shapes of packed batches; None: batches are not packed.
        teacher_outputs: Those of the training rows; None: the network computes them.
    """

    def __init__(
        self,
        store: TokenStore,
        sampler: Sampler,
        *,
        global_batch_size: int,
        sites: Sequence[DropoutSite],
        seed: int,
        loss_inputs: LossInputs,
        world: World = ALONE,
        micro_batches: int | None = None,
        graph_masks: bool = False,
        packing: Packing | None = None,
        teacher_outputs: TeacherOutputs | None = None,
    ) -> None:
        self._store = store
        self._sampler = sampler
        self._global_batch_size = global_batch_size
        self._sites = sites
        self._seed = seed
        self._loss_inputs = loss_inputs
        self._graph_masks = graph_masks
        self.packing = packing
        self._teacher_outputs = teacher_outputs
        self._own = world.own_parts(world.parts(micro_batches), global_batch_size)

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
            parts.append(self._with_masks(part, self._ordinals(global_step, places), layout))
        return StepInputs(tuple(parts), rows, digest)

    def _with_masks(
        self, part: Batch, ordinals: npt.NDArray[np.uint64], layout: Layout | None
    ) -> Batch:
        """Return a part of a batch with masks, or with what the graph makes them of."""
        if self._graph_masks:
            low, high = ordinal_words(ordinals)
            return part._replace(low_ordinals=low, high_ordinals=high)
        if layout is None:
            masks = keep_masks(self._seed, self._sites, ordinals)
        else:
            masks = packed_keep_masks(self._seed, self._sites, ordinals, layout)
        hidden, attention, classifier = masks
        return part._replace(
            hidden_keep=hidden, attention_keep=attention, classifier_keep=classifier
        )

    def mask_digest(self, global_step: int) -> str:
        """Return SHA-256 of the masks of a whole global batch, the same on any process."""
        digest = hashlib.sha256()
        ordinals = self._ordinals(global_step, np.arange(self._global_batch_size))
        for stack in keep_masks(self._seed, self._sites, ordinals):
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
        masks = GraphMasks(self._seed, self._sites)
        ordinals = np.array([1, 2**63 + 2**31 + 1], np.uint64)
        made = masks(*map(ms.Tensor, ordinal_words(ordinals)))
        wanted = keep_masks(self._seed, self._sites, ordinals)[: len(made)]
        pairs = zip(made, wanted, strict=True)
        if any(mask is not None and (mask.asnumpy() != own).any() for mask, own in pairs):
            raise TrainingError(
                "the dropout masks that this device makes are not those of the host",
                cure='write `dropout_masks = "host"` in [runtime]',
            )
        return masks

    def _ordinals(self, global_step: int, places: IndexArray) -> npt.NDArray[np.uint64]:
        """Return the ordinals in the run of some rows of a step's global batch."""
        return (global_step * self._global_batch_size + places).astype(np.uint64)
