"""A batch, from the store to the call of the device."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tinybert.data.rows import Int32Array, LabelArray

if TYPE_CHECKING:
    from mindspore import Tensor

FloatArray = npt.NDArray[np.float32]
MaskArray = npt.NDArray[np.bool_]
_ROWS, _MASKS = 6, 3
"""Numbers of fields: of the rows, which come first, and of the dropout masks, which come last."""


class Batch(NamedTuple):
    """B rows of S tokens, and what losses and dropout need, in the order of a network's inputs.

    A field is None where the network that is called has no such input. In a packed batch the rows
    lie in P blocks of S positions, and (P, S) stands where (B, S) is written; see `data.packing`.
    """

    input_ids: Int32Array
    """(B, S) token ids."""
    segment_ids: Int32Array
    """(B, S) segment ids."""
    input_mask: Int32Array
    """(B, S), 1 where a position counts as a token."""
    row_ids: Int32Array | None = None
    """(P, S), 1 + the place in the batch of the row that lies here, 0 for none; None: B rows."""
    position_ids: Int32Array | None = None
    """(P, S), the place in its row of what lies here; None: B rows."""
    first_positions: Int32Array | None = None
    """(B,), position of each row's first token in the blocks end to end; None: B rows."""
    label_ids: LabelArray | None = None
    """(B,) int32 classes, (B,) float32 numbers, (B, C) int32 with 1 where a row has the class,
    (B, 2) int32 first and last token of an answer, or (B, S) int32 classes of tokens."""
    label_normalizers: FloatArray | None = None
    """(B,) or (B, S), factors of the losses against labels; see `distill.normalizers`."""
    logit_normalizers: FloatArray | None = None
    """(B,) or (B, S), factors of the losses between logits."""
    teacher_logits: FloatArray | None = None
    """(B, C) or (B, S, C), where they were computed before; None: the network computes them."""
    attention_normalizers: FloatArray | None = None
    """(B,), factors of the rows' differences of attention scores; packed: (P,), of the blocks'."""
    hidden_normalizers: FloatArray | None = None
    """(B,), factors of the rows' differences of hidden states; packed: (P,), of the blocks'."""
    teacher_hidden_states: FloatArray | None = None
    """(B, N, S, H) of the embeddings and the mapped layers, then queries, keys and values; see
    `data.teacher_outputs`. None as `teacher_logits`."""
    teacher_attention_scores: FloatArray | None = None
    """(B, M, A, S, S) of the mapped layers, and of one more whose distributions are compared; None,
    too, where scores are not compared."""
    low_ordinals: Int32Array | None = None
    """(B,), low words of the rows' ordinals in the run, where the graph makes the masks."""
    high_ordinals: Int32Array | None = None
    """(B,), high words of the rows' ordinals."""
    hidden_keep: MaskArray | None = None
    """(2L+1, B, S, H) dropout masks; see `model.dropout.dropout_sites`."""
    attention_keep: MaskArray | None = None
    """(L, B, A, S, S) dropout masks."""
    classifier_keep: MaskArray | None = None
    """(1, B, H) or (1, B, S, H) dropout masks."""

    def digest(self) -> str:
        """Return SHA-256, in hexadecimal, of tokens and labels: shapes, types and values."""
        digest = hashlib.sha256()
        for values in (self.input_ids, self.segment_ids, self.input_mask, self.label_ids):
            if values is None:
                digest.update(b"none")
            else:
                digest.update(f"{values.dtype.str}{values.shape}".encode())
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def take(self, places: npt.NDArray[np.int64]) -> "Batch":
        """Return some rows of a batch without masks."""
        return Batch._make(None if values is None else values[places] for values in self)

    @classmethod
    def stack(cls, batches: Sequence["Batch"]) -> "Batch":
        """Return the batches of several steps as one, whose arrays have the steps first."""
        columns = zip(*batches, strict=True)
        return cls._make(None if column[0] is None else np.stack(column) for column in columns)

    def tensors(self) -> "list[Tensor | None]":
        """Return the fields that are there, as the positional arguments of a network.

        Those of a packed batch are None in another one; so are outputs of a teacher that is in the
        network, and a mask that is missing before one that is there.
        """
        from mindspore import Tensor  # here alone: a batch is made without the framework

        needed: tuple[str, ...] = ()
        if self.logit_normalizers is not None:
            needed = ("teacher_logits",)
        elif self.hidden_normalizers is not None:
            needed = ("teacher_hidden_states", "teacher_attention_scores")
        rows, others, masks = self[:_ROWS], self[_ROWS:-_MASKS], list(self[-_MASKS:])
        inputs = [
            values
            for name, values in zip(self._fields[_ROWS:-_MASKS], others, strict=True)
            if values is not None or name in needed
        ]
        while masks and masks[-1] is None:
            masks.pop()
        given = [*rows, *inputs, *masks]
        return [None if values is None else Tensor(values) for values in given]
