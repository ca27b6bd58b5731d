"""The losses between layers: mean squared differences of attention scores and hidden states.

TinyBERT (Jiao et al., arXiv 1909.10351), equations 7 to 9; scores are compared before softmax,
and a score of -100 or less counts as 0. Both are sums over the rows of a batch with normalizers
from the host.
"""

import mindspore as ms
from mindspore import ops

from tinybert.model.layers import Cell

MASKED_SCORE = -100.0
"""Scores up to this one are those of masked keys, and count as 0."""


class WeightedSumOfSquares(Cell):
    """Sum over rows of each row's sum of squares times its factor, in float32.

    On CPU a matrix product of a row with itself is several times faster than a reduction. On
    other devices a matrix unit may round its inputs, so there it is a reduction.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.by_product = device == "CPU"
        self.product = ops.BatchMatMul()
        self.sum = ops.ReduceSum()

    def construct(self, x: ms.Tensor, normalizers: ms.Tensor) -> ms.Tensor:
        """Return a scalar from x (B, ...) and normalizers (B,), float32."""
        rows = x.reshape(x.shape[0], 1, -1)
        if self.by_product:
            squares = self.product(rows, rows.reshape(x.shape[0], -1, 1)).reshape(-1)
        else:
            squares = self.sum(ops.square(rows), (1, 2))
        return self.sum(squares * normalizers)


def zero_masked_scores(scores: ms.Tensor) -> ms.Tensor:
    """Return attention scores float32 with those of masked keys 0."""
    return scores * ops.cast(scores > MASKED_SCORE, ms.float32)
