"""Fine-tuning: a network, teacher or student, learns a task from labels."""

from functools import partial

from tinybert.distill.normalizers import label_inputs
from tinybert.distill.prediction import LabelTraining
from tinybert.recipe.model import Finetune
from tinybert.recipe.task_types import TASK_KINDS
from tinybert.stages import tasks
from tinybert.stages.context import RunContext, StageResult, TrainingSetup
from tinybert.stages.training import run_training, stage_result


def finetune(recipe: Finetune, context: RunContext) -> StageResult:
    """Train a network and its new head on labelled rows (Devlin et al., arXiv 1810.04805)."""
    return stage_result(context.plan, [run_training(context, label_training(recipe, context))])


def label_training(recipe: Finetune, context: RunContext) -> TrainingSetup:
    """Return the training of a network and its new head."""
    plan = context.plan
    (phase,), (role,) = plan.phases, plan.networks
    network = tasks.task_network(plan, role, context.loaded)
    weights = list(network.get_parameters())
    by_token = TASK_KINDS[recipe.task.task_type].labels_by_token
    loss_inputs = partial(label_inputs, by_token=by_token)
    return TrainingSetup(
        phase=phase,
        network=LabelTraining(network, recipe.task.task_type),
        feed=tasks.task_feed(context, phase, role, loss_inputs),
        groups={role: weights},
        trained=tasks.trained_names(plan, role),
        weights=weights,
        scopes={role: "/network-TaskNetwork/"},
        selection=tasks.best_metric(context, recipe, network, phase),
        labels=plan.labels,
    )
