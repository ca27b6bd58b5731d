"""What a distillation of layers compares of a teacher's outputs."""

import mindspore as ms
from mindspore import ops

from tinybert.distill.relations import joined_heads
from tinybert.model.awaited import AwaitedGraph
from tinybert.model.bert import BertEncoder, Vectors
from tinybert.model.layers import Cell
from tinybert.model.tensors import Tensors
from tinybert.recipe.distill_tables import Relations


class ComparedOutputs(Cell):
    """Those outputs of an encoder that losses between layers need, in the order that they have.

    Args:
        layer_map: Layers whose hidden states and scores are compared, counted from 1.
        relations: Of which layer relations are compared, and which; None: none.
    """

    def __init__(self, layer_map: tuple[int, ...], relations: Relations | None) -> None:
        super().__init__()
        self.layer_map = layer_map
        self.relation_layer = 0 if relations is None else relations.teacher_layer
        weights = None if relations is None else relations.weights
        self.vectors = () if weights is None else weights.vectors()
        self.distributions = weights is not None and weights.attention_distribution is not None

    def construct(
        self,
        hidden_states: Tensors,
        attention_scores: Tensors,
        attention_vectors: tuple[Vectors, ...],
    ) -> tuple[Tensors, Tensors]:
        """Return states, (B, S, H) each, and attention scores, (B, A, S, S) each.

        The states are those of the embeddings and the mapped layers, then queries, keys and values
        as far as their relations are compared; the scores those of the mapped layers, then of the
        layer whose attention distributions are.
        """
        states: Tensors = (hidden_states[0],)
        scores: Tensors = ()
        for layer in self.layer_map:
            states += (hidden_states[layer],)
            scores += (attention_scores[layer - 1],)
        for kind in self.vectors:
            states += (joined_heads(attention_vectors[self.relation_layer - 1][kind]),)
        if self.distributions:
            scores += (attention_scores[self.relation_layer - 1],)
        return states, scores


class TeacherLayerOutputs(AwaitedGraph):
    """What a distillation of layers compares of a teacher, compiled.

    Args:
        teacher: Encoder.
        compared: Which of its outputs.
    """

    def __init__(self, teacher: BertEncoder, compared: ComparedOutputs) -> None:
        super().__init__()
        self.teacher = teacher
        self.compared = compared

    def compute(self, *rows: ms.Tensor | None) -> Tensors:
        """Return states (B, N, S, H) and scores (B, M, A, S, S), float32.

        Args:
            rows: The first six fields of `Batch`, of which an encoder takes all but the last.
        """
        states, scores = self.compared(*self.teacher(*rows[:-1]))
        return ops.stack(states, 1), ops.stack(scores, 1)
