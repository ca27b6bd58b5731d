"""The losses between mapped layers: of attention and of hidden states.

Each is a sum over the rows of a batch with normalizers from the host. TinyBERT (Jiao et al., arXiv
1909.10351), equations 7 to 9; its attention scores are compared before softmax, and a score of -100
or less counts as 0.
"""

import mindspore as ms
from mindspore import ops

from tinybert.model.layers import Cell, softmax_and_log

MASKED_SCORE = -100.0
"""Scores up to this one are those of masked keys, and count as 0."""
SMALLEST_NORM = 1e-8
"""Norms are no smaller in a cosine, so that the one of a zero vector is 0, as in PyTorch."""


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


def masked_softmax(scores: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
    """Return softmax of scores (B, A, S, S), with the probabilities of masked keys 0, float32.

    Scores of a teacher that were kept are 0 for masked keys, so that the mask is added here, to
    those that have it already too: it changes nothing there.

    Args:
        scores: (B, A, S, S) float32.
        bias: (B, 1, 1 or S, S) float32; see `model.bert.attention_bias`.
    """
    probs, _ = softmax_and_log(scores + bias)
    return probs


class WeightedSumOfPositions(Cell):
    """Sum over rows of the sum over positions, times the row's factor, in float32.

    Args:
        tokens_only: Positions without a token do not count.
    """

    def __init__(self, *, tokens_only: bool) -> None:
        super().__init__()
        self.tokens_only = tokens_only
        self.sum = ops.ReduceSum()

    def construct(self, x: ms.Tensor, tokens: ms.Tensor, normalizers: ms.Tensor) -> ms.Tensor:
        """Return a scalar from x and tokens, (B, S), and normalizers (B,), float32."""
        if self.tokens_only:
            x = x * tokens
        return self.sum(self.sum(x, 1) * normalizers)


class CosineDistance(Cell):
    """1 - cos of vectors, as between hidden states of DistilBERT (arXiv 1910.01108, section 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = ops.ReduceSum()

    def construct(self, x: ms.Tensor, y: ms.Tensor) -> ms.Tensor:
        """Return (B, S) float32 from x and y, (B, S, H)."""
        return 1.0 - self.sum(x * y, -1) * self._inverse_norm(x) * self._inverse_norm(y)

    def _inverse_norm(self, x: ms.Tensor) -> ms.Tensor:
        return ops.rsqrt(self.sum(ops.square(x), -1) + SMALLEST_NORM**2)
