"""Task distillation: a student learns a fine-tuned teacher's layers, then its predictions."""

from collections.abc import Mapping
from functools import partial

from mindspore import Tensor

from tinybert.data.phases import TrainingPhase
from tinybert.data.store import TokenStore
from tinybert.distill.normalizers import logit_inputs
from tinybert.distill.prediction import PredictionDistiller
from tinybert.manifest.record import RunRecord
from tinybert.model.heads import TaskNetwork
from tinybert.model.weights import LoadedWeights
from tinybert.plan.checkpoints import read_checkpoints
from tinybert.plan.plan import Plan
from tinybert.plan.provenance import Provenance
from tinybert.recipe.model import TaskDistill
from tinybert.stages import build, tasks
from tinybert.stages.layers import build_distiller, encoders, layer_training
from tinybert.stages.training import TrainingResult, TrainingSetup, checkpoint_folder, run_training
from tinybert.train.checkpoint_manager import BestMetric
from tinybert.train.world import World

PARTS = ("soft_loss", "hard_loss")
"""Outputs of the distiller of predictions after the loss."""


def task_distill(
    plan: Plan, recipe: TaskDistill, record: RunRecord, context: build.RunContext
) -> build.StageResult:
    """Distil layers, then predictions, on a task's rows; either phase may be absent.

    TinyBERT (Jiao et al., arXiv 1909.10351), section 4.2. Each phase is a training of its own
    that counts its steps from 0 for order, dropout masks and learning rate, so that phase 2 gives
    the same bits where phase 1 was an earlier run. Trace and manifest count on.
    """
    heads = tasks.task_heads(plan)
    stores = build.import_stores(plan, context.world)
    loaded = read_checkpoints(plan)
    provenance = Provenance(stores, loaded)
    done: list[tuple[TrainingPhase, TrainingResult]] = []
    student: build.FirstWeights = {}
    for phase in plan.phases:
        if done and (not done[-1][1].finished or done[-1][1].stopped):
            break
        # Each phase has cells of its own: one that was compiled before keeps its place in the
        # first graph, and the second would be read back wrongly.
        if phase.name == "phase1":
            training = _layer_training(plan, recipe, phase, loaded, stores, context.world)
        else:
            networks = {
                role: tasks.task_network(plan, role, loaded, head) for role, head in heads.items()
            }
            for parameter in networks["student"].get_parameters():
                if parameter.name in student:
                    parameter.set_data(Tensor(student[parameter.name]))
            steps = sum(trained.steps for _, trained in done)
            training = _prediction_training(
                plan, recipe, phase, networks, stores, steps, context.world
            )
        later = (checkpoint_folder(record, p.name) for p in plan.phases[len(done) + 1 :])
        begun = any(path for folder in later for path in folder.glob("step-*"))
        passed = context.world.broadcast_bytes(bytes([begun])) == bytes([True])
        trained = run_training(plan, training, record, context, provenance, passed=passed)
        done.append((phase, trained))
        student = {p.name: p.asnumpy() for p in training.groups["student"]}
    return _result(plan, done)


def _layer_training(
    plan: Plan,
    recipe: TaskDistill,
    phase: TrainingPhase,
    loaded: Mapping[str, LoadedWeights],
    stores: Mapping[str, TokenStore],
    world: World,
) -> TrainingSetup:
    """Return the training on the differences between layers; heads take no part."""
    assert recipe.phase1 is not None
    table = recipe.phase1.distill
    distiller = build_distiller(plan, table, *encoders(plan, loaded), loaded.get("student"))
    return layer_training(plan, phase, table, distiller, stores["data"], world, name=phase.name)


def _prediction_training(
    plan: Plan,
    recipe: TaskDistill,
    phase: TrainingPhase,
    networks: Mapping[str, TaskNetwork],
    stores: Mapping[str, TokenStore],
    steps_before: int,
    world: World,
) -> TrainingSetup:
    """Return the training on the differences between logits."""
    assert recipe.phase2 is not None
    table, head = recipe.phase2.distill, tasks.task_heads(plan)["student"]
    loss_inputs = partial(logit_inputs, by_token=head.task_type == "ner")
    student = networks["student"]
    evaluation = tasks.evaluation(
        plan,
        recipe.task,
        student,
        stores["eval_data"],
        batch_size=phase.global_batch_size,
        drop_remainder=recipe.data.eval_drop_remainder,
        world=world,
    )
    groups = {role: list(network.get_parameters()) for role, network in networks.items()}
    return TrainingSetup(
        phase=phase,
        network=PredictionDistiller(
            networks["teacher"],
            student,
            head.task_type,
            temperature=table.temperature,
            hard_label_weight=table.hard_label_weight,
            temperature_squared=bool(table.temperature_squared),
        ),
        part_names=PARTS,
        feed=tasks.task_feed(plan, phase, "student", head, stores["data"], loss_inputs, world),
        groups=groups,
        trained=tasks.trained_names(plan, "student", head),
        weights=groups["student"],
        scopes={role: f"/{role}-TaskNetwork/" for role in networks},
        selection=BestMetric(evaluation.metrics, recipe.task.assessment_method),
        labels=plan.labels,
        name=phase.name,
        steps_before=steps_before,
    )


def _result(plan: Plan, done: list[tuple[TrainingPhase, TrainingResult]]) -> build.StageResult:
    """Return what the phases came to; the metrics of the losses are named by phase."""
    last = done[-1][1]
    metrics = {
        f"{phase.name}_{name}": value
        for phase, trained in done
        for name, value in trained.losses.items()
    }
    return build.StageResult(
        len(done) == len(plan.phases) and last.finished,
        sum(trained.optimizer_steps for _, trained in done),
        sum(trained.samples for _, trained in done),
        metrics | last.metrics,
        last.best,
    )
