"""Teacher and student in one network whose output is the loss between their layers."""

import mindspore as ms
from mindspore import nn, ops

from tinybert.distill.layer_map import layer_map
from tinybert.distill.losses import (
    CosineDistance,
    WeightedSumOfPositions,
    WeightedSumOfSquares,
    masked_softmax,
    zero_masked_scores,
)
from tinybert.distill.outputs import ComparedOutputs
from tinybert.distill.relations import RelationLosses
from tinybert.model.bert import BertEncoder, attention_bias
from tinybert.model.layers import FLOATS, Cell, Linear
from tinybert.model.parameters import FitKind, fit_names
from tinybert.model.tensors import Tensors
from tinybert.recipe.distill_tables import Distill
from tinybert.recipe.network import NetworkConfig


class FitDense(Cell):
    """Projections from the student's to the teacher's width, in the student's types.

    Args:
        student: The student's description.
        teacher: The teacher's description.
        kind: `shared`, one projection for all hidden states (the paper), `per_layer`, or `none`
            between equal widths.
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
        self.kind = kind

    def construct(self, hidden_states: Tensors) -> Tensors:
        """Return each (B, S, H) projected to (B, S, H_T), float32."""
        if self.kind == "none":
            return hidden_states
        projected: Tensors = ()
        for state, hidden in enumerate(hidden_states):
            projected += (self.projections[0 if self.kind == "shared" else state](hidden),)
        return projected


class Distiller(Cell):
    """The loss between a frozen teacher and a student (TinyBERT, section 3.1).

    The teacher has no gradient. The student's pooler takes no part and is not trained.

    Args:
        teacher: Encoder; its parameters are frozen here.
        student: Encoder; all its parameters but the pooler's are trained.
        fit: Projections to the teacher's width; trained.
        table: The losses, their factors, and which layer teaches which. There is no attention loss
            where the networks' numbers of heads differ.

    Raises:
        RecipeError: The layer map does not fit the networks.
        ValueError: An attention loss with a weight, between different numbers of heads.
    """

    def __init__(
        self, teacher: BertEncoder, student: BertEncoder, fit: FitDense, table: Distill
    ) -> None:
        super().__init__()
        self.teacher: BertEncoder | None = teacher
        self.student = student
        self.fit = fit
        weights = table.weights.model_dump(exclude_none=True)
        heads = {encoder.config.num_attention_heads for encoder in (teacher, student)}
        self.compares_attention = len(heads) == 1
        if not self.compares_attention and weights.pop("attention") > 0:
            raise ValueError("an attention loss between networks of different numbers of heads")
        depths = teacher.config.num_hidden_layers, student.config.num_hidden_layers
        self.layer_map = layer_map(table.layer_map, *depths)
        self.compared = ComparedOutputs(self.layer_map, table.relations)
        self.tokens_only = table.padding == "ignore"
        self.first_hidden = 1 if "embedding" in weights else 0
        self.compares_cosine = "cosine" in weights
        self.compares_probs = table.attention_target == "probs"
        self.relations: RelationLosses | None
        if (related := table.relations) is not None:
            configs = teacher.config, student.config
            weights |= related.weights.model_dump(exclude_none=True)
            self.relations = RelationLosses(*configs, related, tokens_only=self.tokens_only)
        else:
            self.relations = None
        self.part_names = tuple(f"{name}_loss" for name in weights)
        """The outputs after the loss."""
        self.factors = tuple(weights.values())
        self.row_squares = WeightedSumOfSquares(ms.get_context("device_target"))
        self.cosine_distance = CosineDistance()
        self.positions = WeightedSumOfPositions(tokens_only=self.tokens_only)
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
        """Return the loss and the parts that `part_names` names, float32 scalars.

        Inputs as of `Batch`, with the teacher's outputs where there is no teacher; the masks are
        the student's. The scores of two packed rows for each other are masked, and so count as 0.
        """
        rows = (input_ids, segment_ids, input_mask, row_ids, position_ids)
        if self.teacher is not None:
            states, scores = self.compared(*self.teacher(*rows))
        else:
            states = ops.unstack(teacher_hidden_states, 1)
            scores = ()
            if self.compares_attention:
                scores = ops.unstack(teacher_attention_scores, 1)
        hidden_states, attention_scores, vectors = self.student(*rows, hidden_keep, attention_keep)
        projected = self.fit(hidden_states)
        tokens = ops.cast(input_mask, ms.float32)
        bias = attention_bias(input_mask, row_ids)
        mapped = len(self.layer_map)
        parts: Tensors = ()
        if self.compares_attention:
            parts += (
                self._attention_loss(
                    scores[:mapped], attention_scores, bias, tokens, attention_normalizers
                ),
            )
        first, end = self.first_hidden, mapped + 1
        parts += (
            self._hidden_loss(states[first:end], projected[first:], tokens, hidden_normalizers),
        )
        if first > 0:
            parts += (
                self._hidden_loss(states[:first], projected[:first], tokens, hidden_normalizers),
            )
        if self.compares_cosine:
            parts += (self._cosine_loss(states[1:end], projected[1:], tokens, hidden_normalizers),)
        if self.relations is not None:
            parts += self.relations(
                states[end:],
                scores[mapped:],
                vectors[-1],
                attention_scores[-1],
                bias,
                tokens,
                hidden_normalizers,
            )
        return self._weighted(parts)

    def _weighted(self, parts: Tensors) -> Tensors:
        """Return the sum of the parts times their factors, and the parts."""
        loss = self.factors[0] * parts[0]
        for index in range(1, len(parts)):
            loss = loss + self.factors[index] * parts[index]
        outputs: Tensors = (loss,)
        outputs += parts
        return outputs

    def _attention_loss(
        self,
        teacher: Tensors,
        student: Tensors,
        bias: ms.Tensor,
        tokens: ms.Tensor,
        normalizers: ms.Tensor,
    ) -> ms.Tensor:
        """Return the sum over student layers of the mean squared difference of scores or probs."""
        batch, heads, length, _ = student[0].shape
        pairs = tokens.reshape(batch, 1, length, 1) * tokens.reshape(batch, 1, 1, length)
        parts: Tensors = ()
        for index in range(len(teacher)):
            target = ops.stop_gradient(teacher[index])
            if self.compares_probs:
                difference = masked_softmax(student[index], bias) - masked_softmax(target, bias)
            else:  # (B, A, S, S) both
                difference = zero_masked_scores(student[index]) - zero_masked_scores(target)
            if self.tokens_only:
                difference = difference * pairs
            parts += (self.row_squares(difference, normalizers),)
        return ops.addn(parts) * (1.0 / heads)

    def _hidden_loss(
        self, teacher: Tensors, projected: Tensors, tokens: ms.Tensor, normalizers: ms.Tensor
    ) -> ms.Tensor:
        """Return the sum over states of the mean squared difference."""
        batch, length, width = teacher[0].shape
        positions = tokens.reshape(batch, length, 1)
        parts: Tensors = ()
        for index in range(len(teacher)):
            difference = projected[index] - ops.stop_gradient(teacher[index])  # (B, S, H_T)
            if self.tokens_only:
                difference = difference * positions
            parts += (self.row_squares(difference, normalizers),)
        return ops.addn(parts) * (1.0 / width)

    def _cosine_loss(
        self, teacher: Tensors, projected: Tensors, tokens: ms.Tensor, normalizers: ms.Tensor
    ) -> ms.Tensor:
        """Return the sum over student layers of the mean of 1 - cos."""
        parts: Tensors = ()
        for index in range(len(teacher)):
            target = ops.stop_gradient(teacher[index])
            distance = self.cosine_distance(projected[index], target)  # (B, S)
            parts += (self.positions(distance, tokens, normalizers),)
        return ops.addn(parts)
