"""A batch, as the networks take it."""

import hashlib
from dataclasses import dataclass

import numpy as np

from tinybert.data.rows import Int32Array, LabelArray


@dataclass(frozen=True)
class Batch:
    """B rows of S tokens, in the order that the networks take them."""

    input_ids: Int32Array
    """(B, S) token ids."""
    segment_ids: Int32Array
    """(B, S) segment ids."""
    input_mask: Int32Array
    """(B, S), 1 where a position counts as a token."""
    label_ids: LabelArray | None = None
    """(B,) int32 classes, (B,) float32 numbers, (B, S) int32 classes, or None."""

    def digest(self) -> str:
        """Return SHA-256, in hexadecimal, of shapes, types and values."""
        digest = hashlib.sha256()
        for values in (self.input_ids, self.segment_ids, self.input_mask, self.label_ids):
            if values is None:
                digest.update(b"none")
            else:
                digest.update(f"{values.dtype.str}{values.shape}".encode())
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()
