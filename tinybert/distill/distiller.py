"""Teacher and student in one network whose output is the loss between their layers."""

import mindspore as ms
from mindspore import nn, ops

from tinybert.distill.losses import WeightedSumOfSquares, zero_masked_scores
from tinybert.distill.normalizers import Padding
from tinybert.model.bert import BertEncoder
from tinybert.model.layers import FLOATS, Cell, Linear
from tinybert.model.parameters import FitKind, fit_names
from tinybert.recipe.network import NetworkConfig

Tensors = tuple[ms.Tensor, ...]
PARTS = ("attention_loss", "hidden_loss")
"""Outputs of the distiller after the loss; the first alone may be missing."""


class FitDense(Cell):
    """Projections from the student's to the teacher's width, in the student's types.

    Args:
        student: The student's description.
        teacher: The teacher's description.
        kind: `shared`, one projection for all hidden states (the paper), or `per_layer`.
    """

    def __init__(self, student: NetworkConfig, teacher: NetworkConfig, kind: FitKind) -> None:
        super().__init__()
        projections = [
            Linear(
                name,
                student.hidden_size,
                teacher.hidden_size,
                dtype=FLOATS[student.dtype],
                compute_type=FLOATS[student.compute_type],
            )
            for name in fit_names(student, kind)
        ]
        self.projections = nn.CellList(projections, auto_prefix=False)
        self.shared = kind == "shared"

    def construct(self, hidden_states: Tensors) -> Tensors:
        """Return each (B, S, H) projected to (B, S, H_T), float32."""
        projected: Tensors = ()
        for state, hidden in enumerate(hidden_states):
            projected += (self.projections[0 if self.shared else state](hidden),)
        return projected


def _mapped(
    hidden_states: Tensors, attention_scores: Tensors, layer_map: tuple[int, ...]
) -> tuple[Tensors, Tensors]:
    """Return the states of embeddings and mapped layers, and the scores of mapped layers."""
    states: Tensors = (hidden_states[0],)
    scores: Tensors = ()
    for layer in layer_map:
        states += (hidden_states[layer],)
        scores += (attention_scores[layer - 1],)
    return states, scores


class MappedLayers(Cell):
    """What a distillation of layers compares of a teacher, compiled.

    Args:
        teacher: Encoder.
        layer_map: Its layers, counted from 1.
    """

    def __init__(self, teacher: BertEncoder, layer_map: tuple[int, ...]) -> None:
        super().__init__()
        self.teacher = teacher
        self.layer_map = layer_map

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        input_mask: ms.Tensor,
        row_ids: ms.Tensor | None,
        position_ids: ms.Tensor | None,
        first_positions: ms.Tensor | None,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Return hidden states (B, layers + 1, S, H) and scores (B, layers, A, S, S), float32."""
        outputs = self.teacher(input_ids, segment_ids, input_mask, row_ids, position_ids)
        states, scores = _mapped(outputs[0], outputs[1], self.layer_map)
        return ops.stack(states, 1), ops.stack(scores, 1)


class Distiller(Cell):
    """The loss between a frozen teacher and a student (TinyBERT, section 3.1).

    The teacher has no gradient. The student's pooler takes no part and is not trained.

    Args:
        teacher: Encoder; its parameters are frozen here.
        student: Encoder; all its parameters but the pooler's are trained.
        fit: Projections to the teacher's width; trained.
        layer_map: Teacher layer, counted from 1, of each student layer.
        attention_weight: Factor of the attention loss; 0 where the networks' numbers of heads
            differ, so that there is no such loss.
        hidden_weight: Factor of the hidden loss.
        padding: Whether padding positions count.

    Raises:
        ValueError: An attention loss with a weight, between different numbers of heads.
    """

    def __init__(
        self,
        teacher: BertEncoder,
        student: BertEncoder,
        fit: FitDense,
        *,
        layer_map: tuple[int, ...],
        attention_weight: float,
        hidden_weight: float,
        padding: Padding,
    ) -> None:
        super().__init__()
        self.teacher: BertEncoder | None = teacher
        self.student = student
        self.fit = fit
        heads = {encoder.config.num_attention_heads for encoder in (teacher, student)}
        self.compares_attention = len(heads) == 1
        if attention_weight > 0 and not self.compares_attention:
            raise ValueError("an attention loss between networks of different numbers of heads")
        self.part_names = PARTS if self.compares_attention else PARTS[1:]
        self.layer_map = layer_map
        self.attention_weight = attention_weight
        self.hidden_weight = hidden_weight
        self.tokens_only = padding == "ignore"
        self.row_squares = WeightedSumOfSquares(ms.get_context("device_target"))
        for frozen in (*teacher.get_parameters(), *student.pooler.get_parameters()):
            frozen.requires_grad = False

    def leave_out_teacher(self) -> None:
        """Take the teacher's outputs as inputs from now on; before the network is compiled."""
        self.teacher = None

    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        input_mask: ms.Tensor,
        row_ids: ms.Tensor | None,
        position_ids: ms.Tensor | None,
        first_positions: ms.Tensor | None,
        attention_normalizers: ms.Tensor,
        hidden_normalizers: ms.Tensor,
        teacher_hidden_states: ms.Tensor | None = None,
        teacher_attention_scores: ms.Tensor | None = None,
        hidden_keep: ms.Tensor | None = None,
        attention_keep: ms.Tensor | None = None,
    ) -> Tensors:
        """Return loss and `part_names`: attention loss and hidden loss, float32 scalars.

        Inputs as of `Batch`, with the teacher's outputs where there is no teacher; the masks are
        the student's. The scores of two packed rows for each other are masked, and so count as 0.
        """
        rows = (input_ids, segment_ids, input_mask, row_ids, position_ids)
        if self.teacher is not None:
            outputs = self.teacher(*rows)
            states, scores = _mapped(outputs[0], outputs[1], self.layer_map)
        else:
            states = ops.unstack(teacher_hidden_states, 1)
            scores = ()
            if self.compares_attention:
                scores = ops.unstack(teacher_attention_scores, 1)
        hidden_states, attention_scores = self.student(*rows, hidden_keep, attention_keep)
        tokens = ops.cast(input_mask, ms.float32)
        hidden = self._hidden_loss(states, self.fit(hidden_states), tokens, hidden_normalizers)
        if not self.compares_attention:
            return self.hidden_weight * hidden, hidden
        attention = self._attention_loss(scores, attention_scores, tokens, attention_normalizers)
        loss = self.attention_weight * attention + self.hidden_weight * hidden
        return loss, attention, hidden

    def _attention_loss(
        self, teacher: Tensors, student: Tensors, tokens: ms.Tensor, normalizers: ms.Tensor
    ) -> ms.Tensor:
        """Return the sum over student layers of the mean squared difference of scores."""
        batch, heads, length, _ = student[0].shape
        pairs = tokens.reshape(batch, 1, length, 1) * tokens.reshape(batch, 1, 1, length)
        parts: Tensors = ()
        for index in range(len(teacher)):
            target = zero_masked_scores(ops.stop_gradient(teacher[index]))
            difference = zero_masked_scores(student[index]) - target  # (B, A, S, S)
            if self.tokens_only:
                difference = difference * pairs
            parts += (self.row_squares(difference, normalizers),)
        return ops.addn(parts) * (1.0 / heads)

    def _hidden_loss(
        self, teacher: Tensors, projected: Tensors, tokens: ms.Tensor, normalizers: ms.Tensor
    ) -> ms.Tensor:
        """Return the sum over embeddings and student layers of the mean squared difference."""
        batch, length, width = teacher[0].shape
        positions = tokens.reshape(batch, length, 1)
        parts: Tensors = ()
        for index in range(len(teacher)):
            difference = projected[index] - ops.stop_gradient(teacher[index])  # (B, S, H_T)
            if self.tokens_only:
                difference = difference * positions
            parts += (self.row_squares(difference, normalizers),)
        return ops.addn(parts) * (1.0 / width)
