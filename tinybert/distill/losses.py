"""The losses between layers: mean squared differences of attention scores and hidden states.

TinyBERT (Jiao et al., arXiv 1909.10351), equations 7 to 9; scores are compared before softmax,
and a score of -100 or less counts as 0. Both are sums over the rows of a batch with weights from
the host, so that processes and filler rows share one mean over the global batch.
"""

from typing import Literal

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import ops

from tinybert.model.layers import Cell

MASKED_SCORE = -100.0
"""Scores up to this one are those of masked keys, and count as 0."""

Padding = Literal["include", "ignore"]


def layer_loss_normalizers(
    tokens: npt.NDArray[np.int64],
    filled: npt.NDArray[np.bool_],
    seq_length: int,
    padding: Padding,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the factors of each row's sums that make them means over the global batch.

    Args:
        tokens: (G,) number of unmasked tokens of each row of the global batch.
        filled: (G,) bool, False for a row that only fills up the batch.
        seq_length: S of the batch.
        padding: `include`: means over all S positions, as the published losses; `ignore`: over
            unmasked tokens and pairs of them.

    Returns:
        attention_weights and hidden_weights, each (G,) float32, 0 where not filled.
    """
    lengths = tokens if padding == "ignore" else np.full(len(tokens), seq_length)
    counted = lengths[filled]
    attention = filled / max(int(np.sum(counted**2)), 1)
    hidden = filled / max(int(np.sum(counted)), 1)
    return attention.astype(np.float32), hidden.astype(np.float32)


class WeightedSumOfSquares(Cell):
    """Weighted sum over rows of each row's sum of squares, in float32.

    On CPU a matrix product of a row with itself is several times faster than a reduction. On
    other devices a matrix unit may round its inputs, so there it is a reduction.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.by_product = device == "CPU"
        self.product = ops.BatchMatMul()
        self.sum = ops.ReduceSum()

    def construct(self, x: ms.Tensor, weights: ms.Tensor) -> ms.Tensor:
        """Return a scalar from x (B, ...) and weights (B,), float32."""
        rows = x.reshape(x.shape[0], 1, -1)
        if self.by_product:
            squares = self.product(rows, rows.reshape(x.shape[0], -1, 1)).reshape(-1)
        else:
            squares = self.sum(ops.square(rows), (1, 2))
        return self.sum(squares * weights)


def zero_masked_scores(scores: ms.Tensor) -> ms.Tensor:
    """Return attention scores float32 with those of masked keys 0."""
    return scores * ops.cast(scores > MASKED_SCORE, ms.float32)
