"""The losses of self-attention relations between one teacher layer and the student's last.

MiniLM (Wang et al., arXiv 2002.10957) compares attention distributions and value-value relations,
MiniLMv2 (Wang et al., arXiv 2012.15828) query-query, key-key and value-value relations. Each is a
sum over the rows of a batch with normalizers from the host.
"""

import math

import mindspore as ms
from mindspore import nn, ops

from tinybert.distill.losses import WeightedSumOfPositions
from tinybert.model.bert import Vectors
from tinybert.model.layers import FLOATS, Cell, MatMul, softmax_and_log
from tinybert.model.tensors import Tensors
from tinybert.recipe.distill_tables import Relations
from tinybert.recipe.network import NetworkConfig


def joined_heads(vectors: ms.Tensor) -> ms.Tensor:
    """Return vectors of all heads end to end, (B, S, H) of (B, A, S, D)."""
    batch, heads, length, size = vectors.shape
    return ops.transpose(vectors, (0, 2, 1, 3)).reshape(batch, length, heads * size)


class RelationScores(Cell):
    """Scaled dot products of the vectors of one network among themselves, head by head.

    MiniLMv2, section 3.1: vectors of all attention heads are put end to end and cut into relation
    heads, whatever the number of attention heads.

    Args:
        heads: Number of relation heads, R, each of which has size H / R.
        scale: Factor of the products.
        compute_type: Type of the products' inputs.
    """

    def __init__(self, heads: int, scale: float, compute_type: ms.Type) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale
        self.product = MatMul(compute_type, transpose=True, batched=True)

    def construct(self, vectors: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
        """Return (B, R, S, S) float32, mask added, from vectors (B, S, H).

        Args:
            vectors: Queries, keys or values of all attention heads.
            bias: (B, 1, 1 or S, S) float32; see `model.bert.attention_bias`.
        """
        batch, length, width = vectors.shape
        size = width // self.heads
        rows = ops.transpose(vectors.reshape(batch, length, self.heads, size), (0, 2, 1, 3))
        return self.product(rows, rows) * self.scale + bias


class RelationDivergence(Cell):
    """KL divergence from a student's distributions over keys to a teacher's, mean over heads.

    MiniLM, equations 4 and 6, without their mean over positions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sum = ops.ReduceSum()

    def construct(self, teacher: ms.Tensor, student: ms.Tensor) -> ms.Tensor:
        """Return (B, S) float32 from scores with mask, (B, A, S, S)."""
        probs, log_probs = softmax_and_log(teacher)
        _, student_log_probs = softmax_and_log(student)
        divergence = self.sum(probs * (log_probs - student_log_probs), -1)  # (B, A, S)
        return self.sum(divergence, 1) * (1.0 / teacher.shape[1])


class RelationLosses(Cell):
    """The relation losses that a recipe asks for, in the order of their factors in the table.

    Args:
        teacher: The teacher's description.
        student: The student's description.
        table: The relations.
        tokens_only: Positions without a token do not count as queries.
    """

    def __init__(
        self, teacher: NetworkConfig, student: NetworkConfig, table: Relations, *, tokens_only: bool
    ) -> None:
        super().__init__()
        self.distributions = table.weights.attention_distribution is not None
        self.kinds = table.weights.vectors()
        heads = table.relation_heads or 0
        self.teacher_scores, self.student_scores = (
            nn.CellList([_relation_scores(config, kind, heads) for kind in self.kinds])
            for config in (teacher, student)
        )
        self.divergence = RelationDivergence()
        self.positions = WeightedSumOfPositions(tokens_only=tokens_only)

    def construct(
        self,
        teacher_vectors: Tensors,
        teacher_scores: Tensors,
        vectors: Vectors,
        scores: ms.Tensor,
        bias: ms.Tensor,
        tokens: ms.Tensor,
        normalizers: ms.Tensor,
    ) -> Tensors:
        """Return float32 scalars: means over heads and positions.

        Args:
            teacher_vectors: Those of queries, keys and values that are compared, (B, S, H_T).
            teacher_scores: The attention scores (B, A, S, S), if distributions are compared.
            vectors: The student's.
            scores: The student's attention scores, (B, A, S, S).
            bias: (B, 1, 1 or S, S); see `model.bert.attention_bias`.
            tokens: (B, S), 1 for a token.
            normalizers: (B,), as of hidden states.
        """
        losses: Tensors = ()
        if self.distributions:
            target = ops.stop_gradient(teacher_scores[0]) + bias
            divergence = self.divergence(target, scores + bias)
            losses += (self.positions(divergence, tokens, normalizers),)
        for index in range(len(self.kinds)):
            target = self.teacher_scores[index](ops.stop_gradient(teacher_vectors[index]), bias)
            own = joined_heads(vectors[self.kinds[index]])
            divergence = self.divergence(target, self.student_scores[index](own, bias))
            losses += (self.positions(divergence, tokens, normalizers),)
        return losses


def _relation_scores(config: NetworkConfig, kind: int, heads: int) -> RelationScores:
    """Return the relation scores of a network's queries (0), keys (1) or values (2)."""
    scale = 1.0 / math.sqrt(config.hidden_size / heads)
    if kind == 0:  # queries are divided by the root of the head size, twice in their product
        scale *= config.hidden_size // config.num_attention_heads
    return RelationScores(heads, scale, FLOATS[config.compute_type])
