"""The losses of predictions: against labels, and against a teacher's logits.

Sums over the rows, or tokens, of a batch with normalizers from the host.
"""

import mindspore as ms
from mindspore import ops

from tinybert.distill.spans import SpanLabels, SpanRows
from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import Cell, softmax_and_log
from tinybert.recipe.task_types import TaskType


def sigmoid_and_logs(logits: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
    """Return sigmoid(x), its logarithm, and that of 1 - sigmoid(x), float32 of the logits' shape.

    They are the softmax over x and 0, computed as in `softmax_and_log`.
    """
    largest = ops.stop_gradient(ops.relu(logits))
    power = ops.expm1(logits - largest) + 1.0
    total = power + (ops.expm1(-largest) + 1.0)
    log_total = ops.log(total)
    return power / total, logits - largest - log_total, -largest - log_total


class LabelLoss(Cell):
    """The loss of predictions against labels.

    Cross-entropy of classes, or of tokens as classes (`SpanRows`); squared error of one number;
    where a row has any number of labels, the binary cross-entropy of each class, averaged over the
    classes, as transformers has it for `problem_type = "multi_label_classification"`.
    """

    def __init__(self, task_type: TaskType) -> None:
        super().__init__()
        self.regression = task_type == "regression"
        self.multi_label = task_type == "multi_label_classification"
        self.sum = ops.ReduceSum()

    def construct(
        self, logits: ms.Tensor, label_ids: ms.Tensor, normalizers: ms.Tensor
    ) -> ms.Tensor:
        """Return a float32 scalar from logits (..., C), labels (...) and normalizers (...).

        Of any number of labels a row, they are (B, C), (B, C) with 0 or 1, and (B,).
        """
        classes = logits.shape[-1]
        flat = logits.reshape(-1, classes)
        if self.multi_label:
            there = ops.cast(label_ids, ms.float32)
            _, log_probs, log_others = sigmoid_and_logs(flat)
            losses = self.sum(-there * log_probs - (1.0 - there) * log_others, -1) / classes
        elif self.regression:
            losses = ops.square(flat.reshape(-1) - label_ids.reshape(-1))
        else:
            _, log_probs = softmax_and_log(flat)
            labels = ops.expand_dims(label_ids.reshape(-1), -1)
            losses = -ops.gather_elements(log_probs, 1, labels).reshape(-1)
        return self.sum(losses * normalizers.reshape(-1))


class LogitLoss(Cell):
    """Soft cross-entropy between logits; squared error of numbers; binary of any number of labels.

    -softmax(T / t) log_softmax(S / t), TinyBERT (Jiao et al., arXiv 1909.10351), equation 10. Its
    published code takes the mean over the classes, which is a constant factor of the only loss
    there is. Beside a loss against labels it would make this one C times too weak, so there the
    classes are summed (Hinton et al., arXiv 1503.02531, equation 1).

    Where a row has any number of labels, each class is a decision of its own between it and its
    absence, with the soft targets sigmoid(T / t) and 1 - sigmoid(T / t): equation 10 of these two,

        -sigmoid(T / t) log sigmoid(S / t) - (1 - sigmoid(T / t)) log(1 - sigmoid(S / t)),

    which has the gradient of the multi-label logits distillation of Yang et al. (arXiv 2308.06453),
    a divergence in place of a cross-entropy. It is the mean over the classes, beside a loss against
    labels too, because that one is (`LabelLoss`).

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
        self.multi_label = task_type == "multi_label_classification"
        self.inverse = 1.0 / temperature
        self.sum_classes = sum_classes and not self.multi_label
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
        elif self.multi_label:
            probs, _, _ = sigmoid_and_logs(teacher * self.inverse)
            _, log_probs, log_others = sigmoid_and_logs(student * self.inverse)
            losses = -probs * log_probs - (1.0 - probs) * log_others
        else:
            probs, _ = softmax_and_log(teacher * self.inverse)
            _, log_probs = softmax_and_log(student * self.inverse)
            losses = -probs * log_probs
        factor = self.factor if self.sum_classes else self.factor / classes
        return self.sum(self.sum(losses, -1) * normalizers.reshape(-1)) * factor


class LabelTraining(Cell):
    """A network whose output is its loss against labels.

    Of answers it is the mean of the cross-entropies of start and end (Devlin et al., arXiv
    1810.04805, section 4.2).

    Args:
        network: Trained, all of it that is used.
        task_type: What it predicts.
    """

    part_names = ()
    """The outputs after the loss: none."""

    def __init__(self, network: TaskNetwork, task_type: TaskType) -> None:
        super().__init__()
        self.network = network
        self.label_loss = LabelLoss(task_type)
        self.spans = task_type == "question_answering"
        self.span_rows, self.span_labels = SpanRows(), SpanLabels()
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
        if self.spans:
            packed = (row_ids, first_positions)
            logits = self.span_rows(logits, input_mask, *packed)
            label_ids, label_normalizers = self.span_labels(label_ids, label_normalizers, *packed)
        return (self.label_loss(logits, label_ids, label_normalizers),)


class PredictionDistiller(Cell):
    """The loss between the logits of a frozen teacher and a student, and against labels.

    Of answers it is the mean of the losses of start and of end. Classes are the tokens of a row
    and are summed: rows of all lengths weigh the same, as in run_squad_w_distillation.py of
    DistilBERT, whose divergence has the same gradient.

    Args:
        teacher: Frozen here; None: its logits are an input.
        student: Trained, all of it that is used.
        task_type: What both predict.
        temperature: Divides both logits.
        hard_label_weight: Share of the loss against labels; where it is neither 0 nor 1, the loss
            between logits is a sum over classes.
        temperature_squared: Multiply the loss between logits by the temperature's square.
    """

    part_names = ("soft_loss", "hard_loss")
    """The outputs after the loss."""

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
            sum_classes=0 < hard_label_weight < 1 or task_type == "question_answering",
            temperature_squared=temperature_squared,
        )
        self.label_loss = LabelLoss(task_type)
        self.spans = task_type == "question_answering"
        self.span_rows, self.span_labels = SpanRows(), SpanLabels()
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
        if self.spans:
            packed = (row_ids, first_positions)
            teacher_logits = self.span_rows(teacher_logits, input_mask, *packed)
            logits = self.span_rows(logits, input_mask, *packed)
            _, logit_normalizers = self.span_labels(label_ids, logit_normalizers, *packed)
            label_ids, label_normalizers = self.span_labels(label_ids, label_normalizers, *packed)
        soft = self.logit_loss(teacher_logits, logits, logit_normalizers)
        hard = self.label_loss(logits, label_ids, label_normalizers)
        if self.hard_label_weight == 0:
            return soft, soft, hard
        share = self.hard_label_weight
        return (1.0 - share) * soft + share * hard, soft, hard
