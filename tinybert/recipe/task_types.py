"""What a kind of task is: its labels, logits and metrics; code that depends on them asks here."""

from dataclasses import dataclass
from typing import Literal, get_args

TaskType = Literal[
    "classification",
    "regression",
    "multi_label_classification",
    "ner",
    "question_answering",
]
LabelKind = Literal["class", "number", "classes", "token", "span"]
AssessmentMethod = Literal[
    "accuracy",
    "bf1",
    "mf1",
    "matthews",
    "pearson",
    "spearman",
    "entity_f1",
    "exact_match",
    "micro_f1",
    "f1",
]


AnswerTask = Literal["SQuAD-1.1", "SQuAD-2.0", "CMRC-2018"]
"""Whose official program scores answers."""
ANSWER_TASKS: tuple[AnswerTask, ...] = get_args(AnswerTask)


@dataclass(frozen=True)
class TaskKind:
    """What differs between kinds of tasks."""

    label: LabelKind
    """What a record holds."""
    measured: tuple[str, ...]
    """Every metric of an evaluation, in order; some ask for 2 labels, or for names of tags."""
    selecting: tuple[str, ...]
    """Those that `assessment_method` may name."""
    least_labels: int = 2
    most_labels: int | None = None
    """None: any number."""
    labels_by_token: bool = False
    """Whether each token, rather than each row, has a label."""
    logits_by_token: bool = False
    """Whether each token has logits, (B, S, C), so that no pooler is needed; else (B, C)."""


TASK_KINDS: dict[TaskType, TaskKind] = {
    "classification": TaskKind(
        label="class",
        measured=("accuracy", "mf1", "matthews", "bf1"),
        selecting=("accuracy", "bf1", "mf1", "matthews"),
    ),
    "regression": TaskKind(
        label="number",
        measured=("pearson", "spearman"),
        selecting=("pearson", "spearman"),
        least_labels=1,
        most_labels=1,
    ),
    "multi_label_classification": TaskKind(
        label="classes",
        measured=("exact_match", "micro_f1", "mf1"),
        selecting=("exact_match", "micro_f1", "mf1"),
    ),
    "ner": TaskKind(
        label="token",
        measured=("accuracy", "mf1", "entity_precision", "entity_recall", "entity_f1"),
        selecting=("accuracy", "mf1", "entity_f1"),
        labels_by_token=True,
        logits_by_token=True,
    ),
    "question_answering": TaskKind(
        label="span",
        measured=("exact_match", "f1"),
        selecting=("f1", "exact_match"),
        most_labels=2,
        logits_by_token=True,
    ),
}
TASK_TYPES: dict[LabelKind, TaskType] = {kind.label: name for name, kind in TASK_KINDS.items()}
"""The kind of task that is learned from labels of a kind."""
