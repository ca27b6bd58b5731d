"""The recipe of each stage: which tables it has.

One class a TOML table, one field a key; a field without default must be written in the recipe.
The string below a field is its meaning and unit; `examples` are the values of
the MindSpore TinyBERT example, whose option names are kept. Rules between keys are in
`network_rules.py`, `distill_rules.py` and `run_rules.py`.
"""

from typing import Annotated, Literal

from pydantic import Field

from tinybert.recipe.distill_tables import Distill, SoftDistill
from tinybert.recipe.network_tables import (
    DistillStudent,
    DistillTeacher,
    EvaluatedStudent,
    FinetunedTeacher,
    Network,
    TaskStudent,
    TaskTeacher,
)
from tinybert.recipe.tables import (
    Batches,
    Checkpoints,
    EvaluateData,
    Expect,
    LossScale,
    Optimizer,
    PhaseData,
    PretrainData,
    Runtime,
    Table,
    Task,
    TaskData,
    Topology,
    Training,
)


class Recipe(Table):
    """What the recipes of all stages share."""

    stage: str
    """The kind of run."""
    seed: Annotated[int, Field(ge=0, lt=2**53)] = Field(examples=[1])
    """Every random choice derives from it."""
    network: Network = Field(default_factory=Network)
    """What teacher and student share."""
    topology: Topology
    """What the run computes on."""
    runtime: Runtime
    """How the framework executes."""
    expect: Expect | None = None
    """What must hold at the end."""


class GeneralDistill(Recipe):
    """`stage = "general_distill"`: a student learns a teacher's layers from plain text."""

    stage: Literal["general_distill"] = Field(examples=["general_distill"])
    teacher: DistillTeacher
    """The network to learn from."""
    student: DistillStudent
    """The network that learns."""
    data: PretrainData
    """Record files and batches."""
    distill: Distill
    """The losses."""
    optimizer: Optimizer
    """The update rule."""
    loss_scale: LossScale
    """Dynamic loss scale."""
    training: Training
    """Length of the run."""
    checkpoints: Checkpoints
    """When to save, and how many to keep."""


class Phase(Batches):
    """What both phases of a task distillation have."""

    optimizer: Optimizer
    """The update rule."""
    loss_scale: LossScale
    """Dynamic loss scale."""
    training: Training
    """Length of the phase."""
    checkpoints: Checkpoints
    """When to save, and how many to keep."""


class Phase1(Phase):
    """`[phase1]`: attention and hidden states on the task's rows."""

    distill: Distill
    """The losses."""


class Phase2(Phase):
    """`[phase2]`: the teacher's logits; starts from phase 1's result where there is one."""

    distill: SoftDistill
    """The loss."""


class TaskDistill(Recipe):
    """`stage = "task_distill"`: a student learns a fine-tuned teacher's behaviour on a task."""

    stage: Literal["task_distill"] = Field(examples=["task_distill"])
    teacher: TaskTeacher
    """The fine-tuned network to learn from."""
    student: TaskStudent
    """The network that learns."""
    task: Task
    """What the head predicts."""
    data: PhaseData
    """Record files."""
    phase1: Phase1 | None = None
    """Attention and hidden states."""
    phase2: Phase2 | None = None
    """Logits."""


class Finetune(Recipe):
    """`stage = "finetune"`: a network learns a task from labels.

    The network is in `[teacher]` or in `[student]`, exactly one.
    """

    stage: Literal["finetune"] = Field(examples=["finetune"])
    teacher: FinetunedTeacher | None = None
    """The network, if it is to become a teacher."""
    student: TaskStudent | None = None
    """The network, if it has a student's sizes."""
    task: Task
    """What the head predicts."""
    data: TaskData
    """Record files and batches."""
    optimizer: Optimizer
    """The update rule."""
    loss_scale: LossScale
    """Dynamic loss scale."""
    training: Training
    """Length of the run."""
    checkpoints: Checkpoints
    """When to save, and how many to keep."""


class Evaluate(Recipe):
    """`stage = "evaluate"`: metrics of a network on labelled rows.

    The network is in `[teacher]` or in `[student]`, exactly one.
    """

    stage: Literal["evaluate"] = Field(examples=["evaluate"])
    teacher: TaskTeacher | None = None
    """The network, if it is a teacher."""
    student: EvaluatedStudent | None = None
    """The network, if it is a student."""
    task: Task
    """What the head predicts."""
    data: EvaluateData
    """Record files and batches."""


AnyRecipe = GeneralDistill | TaskDistill | Finetune | Evaluate
STAGES: dict[str, type[AnyRecipe]] = {
    "finetune": Finetune,
    "general_distill": GeneralDistill,
    "task_distill": TaskDistill,
    "evaluate": Evaluate,
}
