"""The losses of predictions: against labels, and against a teacher's logits.

Sums over the rows, or tokens, of a batch with normalizers from the host.
"""

import mindspore as ms
from mindspore import ops

from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import Cell
from tinybert.recipe.tables import TaskType


def softmax_and_log(logits: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
    """Return softmax and its logarithm over the last axis, float32 of the shape of the logits.

    The framework's exp and softmax are off by up to 7e-6 on CPU, its expm1 by less than 1e-7.
    """
    below = logits - ops.stop_gradient(ops.ReduceMax(True)(logits, -1))
    powers = ops.expm1(below) + 1.0
    total = ops.ReduceSum(True)(powers, -1)
    return powers / total, below - ops.log(total)


class LabelLoss(Cell):
    """Cross-entropy of classes, or squared error of one number, against labels."""

    def __init__(self, task_type: TaskType) -> None:
        super().__init__()
        self.regression = task_type == "regression"
        self.sum = ops.ReduceSum()

    def construct(
        self, logits: ms.Tensor, label_ids: ms.Tensor, normalizers: ms.Tensor
    ) -> ms.Tensor:
        """Return a float32 scalar from logits (..., C), labels (...) and normalizers (...)."""
        flat = logits.reshape(-1, logits.shape[-1])
        labels = label_ids.reshape(-1)
        if self.regression:
            losses = ops.square(flat.reshape(-1) - labels)
        else:
            _, log_probs = softmax_and_log(flat)
            losses = -ops.gather_elements(log_probs, 1, ops.expand_dims(labels, -1)).reshape(-1)
        return self.sum(losses * normalizers.reshape(-1))


class LogitLoss(Cell):
    """Soft cross-entropy between logits; squared error of numbers.

    -softmax(T / t) log_softmax(S / t), TinyBERT (Jiao et al., arXiv 1909.10351), equation 10. Its
    published code takes the mean over the classes, which is a constant factor of the only loss
    there is. Beside a loss against labels it would make this one C times too weak, so there the
    classes are summed (Hinton et al., arXiv 1503.02531, equation 1).

    Args:
        task_type: A regression has the squared error, as in the published code.
        temperature: t.
        sum_classes: Sum over the classes rather than take their mean.
        temperature_squared: Multiply by t^2, so that gradients do not shrink with the temperature
            (Hinton et al., section 2).
    """

    def __init__(
        self,
        task_type: TaskType,
        temperature: float,
        *,
        sum_classes: bool = False,
        temperature_squared: bool = False,
    ) -> None:
        super().__init__()
        self.regression = task_type == "regression"
        self.inverse = 1.0 / temperature
        self.sum_classes = sum_classes
        self.factor = temperature**2 if temperature_squared else 1.0
        self.sum = ops.ReduceSum()

    def construct(
        self, teacher_logits: ms.Tensor, logits: ms.Tensor, normalizers: ms.Tensor
    ) -> ms.Tensor:
        """Return a float32 scalar from logits T and S (..., C) and normalizers (...)."""
        classes = logits.shape[-1]
        teacher, student = teacher_logits.reshape(-1, classes), logits.reshape(-1, classes)
        if self.regression:
            losses = ops.square(student - teacher)
        else:
            probs, _ = softmax_and_log(teacher * self.inverse)
            _, log_probs = softmax_and_log(student * self.inverse)
            losses = -probs * log_probs
        factor = self.factor if self.sum_classes else self.factor / classes
        return self.sum(self.sum(losses, -1) * normalizers.reshape(-1)) * factor


class LabelTraining(Cell):
    """A network whose output is its loss against labels.

    Args:
        network: Trained, all of it that is used.
        task_type: What it predicts.
    """

    def __init__(self, network: TaskNetwork, task_type: TaskType) -> None:
        super().__init__()
        self.network = network
        self.label_loss = LabelLoss(task_type)
        network.set_trained(True)

    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        input_mask: ms.Tensor,
        row_ids: ms.Tensor | None,
        position_ids: ms.Tensor | None,
        first_positions: ms.Tensor | None,
        label_ids: ms.Tensor,
        label_normalizers: ms.Tensor,
        hidden_keep: ms.Tensor | None = None,
        attention_keep: ms.Tensor | None = None,
        classifier_keep: ms.Tensor | None = None,
    ) -> tuple[ms.Tensor]:
        """Return the loss, a float32 scalar; inputs as of `Batch`."""
        rows = (input_ids, segment_ids, input_mask, row_ids, position_ids, first_positions)
        logits = self.network(*rows, hidden_keep, attention_keep, classifier_keep)
        return (self.label_loss(logits, label_ids, label_normalizers),)


class PredictionDistiller(Cell):
    """The loss between the logits of a frozen teacher and a student, and against labels.

    Args:
        teacher: Frozen here; None: its logits are an input.
        student: Trained, all of it that is used.
        task_type: What both predict.
        temperature: Divides both logits.
        hard_label_weight: Share of the loss against labels; where it is neither 0 nor 1, the loss
            between logits is a sum over classes.
        temperature_squared: Multiply the loss between logits by the temperature's square.
    """

    def __init__(
        self,
        teacher: TaskNetwork | None,
        student: TaskNetwork,
        task_type: TaskType,
        *,
        temperature: float,
        hard_label_weight: float,
        temperature_squared: bool = False,
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = student
        self.logit_loss = LogitLoss(
            task_type,
            temperature,
            sum_classes=0 < hard_label_weight < 1,
            temperature_squared=temperature_squared,
        )
        self.label_loss = LabelLoss(task_type)
        self.hard_label_weight = hard_label_weight
        if teacher is not None:
            teacher.set_trained(False)
        student.set_trained(True)

    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        input_mask: ms.Tensor,
        row_ids: ms.Tensor | None,
        position_ids: ms.Tensor | None,
        first_positions: ms.Tensor | None,
        label_ids: ms.Tensor,
        label_normalizers: ms.Tensor,
        logit_normalizers: ms.Tensor,
        teacher_logits: ms.Tensor | None,
        hidden_keep: ms.Tensor | None = None,
        attention_keep: ms.Tensor | None = None,
        classifier_keep: ms.Tensor | None = None,
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """Return loss, soft loss and hard loss, float32 scalars.

        Inputs as of `Batch`, with teacher logits where there is no teacher; the masks are the
        student's. The hard loss is there to be seen even where its share is 0.
        """
        rows = (input_ids, segment_ids, input_mask, row_ids, position_ids, first_positions)
        if self.teacher is not None:
            teacher_logits = ops.stop_gradient(self.teacher(*rows))
        logits = self.student(*rows, hidden_keep, attention_keep, classifier_keep)
        soft = self.logit_loss(teacher_logits, logits, logit_normalizers)
        hard = self.label_loss(logits, label_ids, label_normalizers)
        if self.hard_label_weight == 0:
            return soft, soft, hard
        share = self.hard_label_weight
        return (1.0 - share) * soft + share * hard, soft, hard
