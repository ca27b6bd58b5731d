"""Task distillation: a student learns a fine-tuned teacher's layers, then its predictions."""

from functools import partial

from mindspore import Tensor

from tinybert.data.phases import TrainingPhase
from tinybert.distill.normalizers import logit_inputs
from tinybert.distill.prediction import PredictionDistiller
from tinybert.model.parameters import Array
from tinybert.recipe.model import TaskDistill
from tinybert.recipe.network import ROLES
from tinybert.recipe.task_types import TASK_KINDS
from tinybert.stages import tasks
from tinybert.stages.context import RunContext, StageResult, TrainingSetup
from tinybert.stages.layers import build_distiller, layer_training
from tinybert.stages.teacher_cache import cached_layers, cached_logits
from tinybert.stages.training import (
    TrainingResult,
    has_checkpoint,
    run_training,
    stage_result,
)


def task_distill(recipe: TaskDistill, context: RunContext) -> StageResult:
    """Distil layers, then predictions, on a task's rows; either phase may be absent.

    TinyBERT (Jiao et al., arXiv 1909.10351), section 4.2. Each phase is a training of its own
    that counts its steps from 0 for order, dropout masks and learning rate, so that phase 2 gives
    the same bits where phase 1 was an earlier run. Trace and manifest count on.
    """
    plan = context.plan
    done: list[TrainingResult] = []
    student: dict[str, Array] = {}
    for phase in plan.phases:
        if done and (not done[-1].finished or done[-1].stopped):
            break
        steps_before = sum(trained.steps for trained in done)
        training = phase_training(recipe, context, phase, student, steps_before)
        later = plan.phases[len(done) + 1 :]
        begun = any(has_checkpoint(context.record, other.name) for other in later)
        passed = context.world.broadcast_bytes(bytes([begun])) == bytes([True])
        done.append(run_training(context, training, passed=passed))
        student = {p.name: p.asnumpy() for p in training.groups["student"]}
    return stage_result(plan, done)


def phase_training(
    recipe: TaskDistill,
    context: RunContext,
    phase: TrainingPhase,
    trained: dict[str, Array],
    steps_before: int,
) -> TrainingSetup:
    """Return the training of a phase.

    It has cells of its own: one that was compiled before keeps its place in the first graph, and
    the second would be read back wrongly.

    Args:
        recipe: The recipe.
        context: The run.
        phase: `phase1` or `phase2`.
        trained: The student's weights after the phase before, if there was one.
        steps_before: Steps of that phase.
    """
    if phase.name == "phase2":
        return _prediction_training(recipe, context, phase, trained, steps_before)
    assert recipe.phase1 is not None
    table = recipe.phase1.distill
    distiller = build_distiller(context.plan, table, context.loaded)
    outputs, facts = cached_layers(recipe, context, distiller)
    return layer_training(context, phase, table, distiller, outputs, facts, name=phase.name)


def _prediction_training(
    recipe: TaskDistill,
    context: RunContext,
    phase: TrainingPhase,
    trained: dict[str, Array],
    steps_before: int,
) -> TrainingSetup:
    """Return the training on the differences between logits, after phase 1 if there was one."""
    assert recipe.phase2 is not None
    plan, table, task_type = context.plan, recipe.phase2.distill, recipe.task.task_type
    networks = {role: tasks.task_network(plan, role, context.loaded) for role in ROLES}
    student = networks["student"]
    for parameter in student.get_parameters():
        if parameter.name in trained:
            parameter.set_data(Tensor(trained[parameter.name]))
    loss_inputs = partial(logit_inputs, by_token=TASK_KINDS[task_type].labels_by_token)
    weights = list(student.get_parameters())
    teacher_logits, cache_facts = cached_logits(recipe, context, networks["teacher"])
    roles = ROLES if teacher_logits is None else ("student",)
    return TrainingSetup(
        phase=phase,
        network=PredictionDistiller(
            networks["teacher"] if teacher_logits is None else None,
            student,
            task_type,
            temperature=table.temperature,
            hard_label_weight=table.hard_label_weight,
            temperature_squared=bool(table.temperature_squared),
        ),
        feed=tasks.task_feed(context, phase, "student", loss_inputs, teacher_logits),
        groups={"teacher": list(networks["teacher"].get_parameters()), "student": weights},
        trained=tasks.trained_names(plan, "student"),
        weights=weights,
        scopes={role: f"/{role}-TaskNetwork/" for role in roles},
        teacher_cache=cache_facts,
        selection=tasks.best_metric(context, recipe, student, phase),
        labels=plan.labels,
        name=phase.name,
        steps_before=steps_before,
    )
