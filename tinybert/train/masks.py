"""The dropout masks of a training: made by the host, or by the graph from what the host gives."""

import hashlib
from collections.abc import Sequence

import mindspore as ms
import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.packing import Layout
from tinybert.errors import TrainingError
from tinybert.model.dropout import DropoutSite, keep_masks, packed_keep_masks
from tinybert.model.graph_masks import GraphMasks, ordinal_words


class DropoutMasks:
    """The masks of rows, as functions of the rows' ordinals in the run.

    Args:
        seed: The recipe's seed.
        sites: The student's dropout sites, of the full sequence length.
        in_graph: Give the graph the words of the ordinals, from which it makes the masks.
    """

    def __init__(self, seed: int, sites: Sequence[DropoutSite], *, in_graph: bool = False) -> None:
        self._seed = seed
        self._sites = sites
        self._in_graph = in_graph

    def add_to(self, part: Batch, ordinals: npt.NDArray[np.uint64], layout: Layout | None) -> Batch:
        """Return a part of a batch with its masks, or with what the graph makes them from.

        Args:
            part: B rows.
            ordinals: (B,) ordinals of the rows.
            layout: Where the rows lie; None: they are not packed.
        """
        if self._in_graph:
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

    def digest(self, ordinals: npt.NDArray[np.uint64]) -> str:
        """Return SHA-256, in hexadecimal, of the masks of rows that are not packed."""
        digest = hashlib.sha256()
        for stack in keep_masks(self._seed, self._sites, ordinals):
            if stack is not None:
                digest.update(np.packbits(stack).tobytes())
        return digest.hexdigest()

    def graph_masks(self) -> GraphMasks | None:
        """Return what makes the masks in the graph; None: they are among the inputs.

        Raises:
            TrainingError: The device does not make the bits that the host makes.
        """
        if not self._in_graph:
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
