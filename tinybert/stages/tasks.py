"""What the stages with a task have in common: networks with heads, feeds, evaluations."""

from collections.abc import Mapping

from tinybert.data.phases import TrainingPhase
from tinybert.data.questions import QuestionSet, find_questions
from tinybert.data.teacher_outputs import TeacherOutputs
from tinybert.metrics.answers import AnswerOptions, answer_task
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork, task_sites
from tinybert.model.layers import load_into
from tinybert.model.parameters import encoder_shapes, head_shapes
from tinybert.model.weights import LoadedWeights
from tinybert.plan.plan import Plan
from tinybert.recipe.model import Evaluate, Finetune, TaskDistill
from tinybert.recipe.network import Role, head
from tinybert.stages.build import first_weights, training_feed
from tinybert.stages.context import RunContext
from tinybert.train.checkpoint_manager import BestMetric
from tinybert.train.evaluation import (
    AnswerEvaluation,
    Evaluation,
    Inference,
    Measure,
    OrderedBatches,
    Prediction,
)
from tinybert.train.feed import Feed, LossInputs


def task_network(plan: Plan, role: Role, loaded: Mapping[str, LoadedWeights]) -> TaskNetwork:
    """Build a network with its head and its first weights."""
    config = head(plan.resolved.recipe, role)
    network = TaskNetwork(BertEncoder(plan.networks[role], f"{role}."), config)
    load_into(network, first_weights(plan, role, loaded, config))
    return network


def task_feed(
    context: RunContext,
    phase: TrainingPhase,
    role: Role,
    loss_inputs: LossInputs,
    teacher_outputs: TeacherOutputs | None = None,
) -> Feed:
    """Build what gives every step of a training of a network with head its inputs."""
    plan, seq_length = context.plan, context.stores["data"].seq_length
    sites = task_sites(plan.networks[role], head(plan.resolved.recipe, role), seq_length)
    return training_feed(context, phase, sites, loss_inputs, teacher_outputs=teacher_outputs)


def trained_names(plan: Plan, role: Role) -> list[str]:
    """Return the parameters that a training of a network with head trains: all that it uses."""
    encoder, config = plan.networks[role], head(plan.resolved.recipe, role)
    names = [*encoder_shapes(encoder), *head_shapes(encoder, config)]
    if config.kind.logits_by_token:
        names = [name for name in names if not name.startswith("pooler.")]
    return [f"{role}.{name}" for name in names]


def evaluation(
    context: RunContext,
    recipe: Evaluate | Finetune | TaskDistill,
    network: TaskNetwork,
    *,
    batch_size: int,
    drop_remainder: bool,
) -> Evaluation:
    """Return what measures a network on the dev set."""
    task = recipe.task
    ordered = OrderedBatches(
        context.stores["eval_data"],
        batch_size,
        drop_remainder=drop_remainder,
        world=context.world,
        micro_batches=context.plan.micro_batches,
        block_length=context.plan.block_length,
    )
    inference = Inference(Prediction(network, context.world).logits, ordered)
    measure = Measure(task.task_type, task.assessment_method, task.num_labels, context.plan.labels)
    if task.task_type != "question_answering":
        return Evaluation(inference, measure)
    directory, sidecar = find_questions(context.plan.records["eval_data"].source)
    assert task.max_answer_length is not None and sidecar.task is not None
    options = AnswerOptions(task.max_answer_length, task.no_answer_threshold)
    scored_as = answer_task(sidecar.task.name)
    return AnswerEvaluation(inference, measure, QuestionSet.load(directory), scored_as, options)


def best_metric(
    context: RunContext, recipe: Finetune | TaskDistill, network: TaskNetwork, phase: TrainingPhase
) -> BestMetric:
    """Return how a training of a network chooses its best checkpoint, by the task's metric."""
    measured = evaluation(
        context,
        recipe,
        network,
        batch_size=phase.global_batch_size,
        drop_remainder=recipe.data.eval_drop_remainder,
    )
    return BestMetric(measured.metrics, recipe.task.assessment_method)
