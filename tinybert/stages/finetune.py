"""Fine-tuning: a network, teacher or student, learns a task from labels."""

from tinybert.distill.normalizers import label_inputs
from tinybert.distill.prediction import LabelTraining
from tinybert.manifest.record import RunRecord
from tinybert.plan.checkpoints import read_checkpoints
from tinybert.plan.plan import Plan
from tinybert.plan.provenance import Provenance
from tinybert.recipe.model import Finetune
from tinybert.stages import build, tasks
from tinybert.stages.training import TrainingSetup, run_training
from tinybert.train.checkpoint_manager import BestMetric


def finetune(
    plan: Plan, recipe: Finetune, record: RunRecord, context: build.RunContext
) -> build.StageResult:
    """Train a network and its new head on labelled rows (Devlin et al., arXiv 1810.04805)."""
    (phase,), (role,) = plan.phases, plan.networks
    head = tasks.task_heads(plan)[role]
    stores = build.import_stores(plan, context.world)
    loaded = read_checkpoints(plan)
    provenance = Provenance(stores, loaded)
    network = tasks.task_network(plan, role, loaded, head)
    evaluation = tasks.evaluation(
        plan,
        recipe.task,
        network,
        stores["eval_data"],
        batch_size=phase.global_batch_size,
        drop_remainder=recipe.data.eval_drop_remainder,
        world=context.world,
    )
    weights = list(network.get_parameters())
    training = TrainingSetup(
        phase=phase,
        network=LabelTraining(network, head.task_type),
        part_names=(),
        feed=tasks.task_feed(plan, phase, role, head, stores["data"], label_inputs, context.world),
        groups={role: weights},
        trained=tasks.trained_names(plan, role, head),
        weights=weights,
        scopes={role: "/network-TaskNetwork/"},
        selection=BestMetric(evaluation.metrics, recipe.task.assessment_method),
        labels=plan.labels,
    )
    trained = run_training(plan, training, record, context, provenance)
    return build.StageResult(
        trained.finished,
        trained.optimizer_steps,
        trained.samples,
        trained.losses | trained.metrics,
        trained.best,
    )
