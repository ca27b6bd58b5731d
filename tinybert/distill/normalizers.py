"""Loss normalizers: the factors that make sums over a batch means over the global batch.

They come from the host and are 0 for what does not count, so that filler rows, short last batches,
padding and ignored labels weigh nothing, and processes share one mean. Each function returns the
batch with the inputs of a loss, from the global batch, filled up to G rows, and `filled` (G,) bool,
False for a row that only fills it up.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch, FloatArray
from tinybert.data.labels import IGNORED

Padding = Literal["include", "ignore"]
Filled = npt.NDArray[np.bool_]


def label_inputs(batch: Batch, filled: Filled, by_token: bool = True) -> Batch:
    """Return a batch with the normalizers of its labels, ignored ones of which become 0.

    Labels with two dimensions are those of tokens (`by_token`), or each row's own (B, C).
    """
    assert batch.label_ids is not None
    label_ids, counted = batch.label_ids.copy(), filled
    if label_ids.ndim == 1 or by_token:
        counted = filled if label_ids.ndim == 1 else filled[:, None]
        counted = counted & (label_ids != IGNORED) if label_ids.dtype.kind == "i" else counted
    label_ids[~counted] = 0
    return batch._replace(label_ids=label_ids, label_normalizers=_shares(counted))


def logit_inputs(batch: Batch, filled: Filled, by_token: bool) -> Batch:
    """Return a batch with the normalizers of its labels, and of logits of rows or of tokens."""
    counted = filled[:, None] & (batch.input_mask == 1) if by_token else filled
    return label_inputs(batch, filled, by_token)._replace(logit_normalizers=_shares(counted))


def layer_inputs(batch: Batch, filled: Filled, padding: Padding) -> Batch:
    """Return a batch with the normalizers of the differences between layers, without labels."""
    tokens, seq_length = batch.input_mask.sum(axis=1), batch.input_mask.shape[1]
    attention, hidden = layer_normalizers(tokens, filled, seq_length, padding)
    return batch._replace(
        label_ids=None, attention_normalizers=attention, hidden_normalizers=hidden
    )


def layer_normalizers(
    tokens: npt.NDArray[np.int64], filled: Filled, seq_length: int, padding: Padding
) -> tuple[FloatArray, FloatArray]:
    """Return the normalizers of each row's differences of attention scores and hidden states.

    Args:
        tokens: (G,) number of unmasked tokens of each row.
        filled: (G,) bool.
        seq_length: S of the batch.
        padding: `include`: means over all S positions, as the published losses; `ignore`: over
            unmasked tokens and pairs of them.

    Returns:
        Two arrays (G,).
    """
    lengths = tokens if padding == "ignore" else np.full(len(tokens), seq_length)
    counted = lengths[filled]
    attention = filled / max(int(np.sum(counted**2)), 1)
    hidden = filled / max(int(np.sum(counted)), 1)
    return attention.astype(np.float32), hidden.astype(np.float32)


def _shares(counted: npt.NDArray[np.bool_]) -> FloatArray:
    return (counted / max(int(np.sum(counted)), 1)).astype(np.float32)
