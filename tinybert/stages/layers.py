"""The training on the differences between layers, which two stages have in common."""

from collections.abc import Mapping
from functools import partial

from tinybert.data.phases import TrainingPhase
from tinybert.data.store import TokenStore
from tinybert.distill.distiller import Distiller, FitDense
from tinybert.distill.layer_map import layer_map
from tinybert.distill.normalizers import layer_inputs
from tinybert.model.bert import BertEncoder
from tinybert.model.dropout import dropout_sites
from tinybert.model.loading import load_into
from tinybert.model.parameters import encoder_shapes, fit_shapes, seeded
from tinybert.model.weights import LoadedWeights
from tinybert.plan.plan import Plan
from tinybert.recipe.tables import Distill
from tinybert.stages import build
from tinybert.stages.training import TrainingSetup
from tinybert.train.feed import Feed
from tinybert.train.world import World

PARTS = ("attention_loss", "hidden_loss")
"""Outputs of the distiller after the loss."""


def encoders(plan: Plan, loaded: Mapping[str, LoadedWeights]) -> tuple[BertEncoder, BertEncoder]:
    """Return teacher and student without heads, with their first weights."""
    teacher, student = (
        BertEncoder(plan.networks[role], f"{role}.") for role in ("teacher", "student")
    )
    for role, encoder in (("teacher", teacher), ("student", student)):
        arrays = build.first_weights(plan, role, loaded)
        prefix = encoder.prefix + "classifier."
        load_into(encoder, {n: a for n, a in arrays.items() if not n.startswith(prefix)})
    return teacher, student


def build_distiller(
    plan: Plan,
    table: Distill,
    teacher: BertEncoder,
    student: BertEncoder,
    started: LoadedWeights | None = None,
) -> Distiller:
    """Build the network whose output is the loss; the projection has its first weights.

    Args:
        plan: The plan.
        table: The losses.
        teacher: The teacher, with its weights.
        student: The student.
        started: What the student began from, whose projection goes on if there is one.

    Raises:
        InputError: That projection is one between other networks.
    """
    kind = table.fit_dense
    fit = FitDense(student.config, teacher.config, kind)
    if started is not None and started.fit_dense:
        load_into(fit, started.fit_dense, where=str(started.files[0]))
    else:
        shapes = fit_shapes(student.config, teacher.config, kind)
        std = student.config.initializer_range
        load_into(fit, seeded(shapes, seed=plan.resolved.recipe.seed, std=std, prefix=""))
    depths = teacher.config.num_hidden_layers, student.config.num_hidden_layers
    return Distiller(
        teacher,
        student,
        fit,
        layer_map=layer_map(table.layer_map, *depths),
        attention_weight=table.weights.attention,
        hidden_weight=table.weights.hidden,
        padding=table.padding,
    )


def build_feed(
    plan: Plan, phase: TrainingPhase, table: Distill, store: TokenStore, world: World
) -> Feed:
    """Build what gives every step of a training of layers its inputs."""
    sites = dropout_sites(plan.networks["student"], store.seq_length)
    loss_inputs = partial(layer_inputs, padding=table.padding)
    return build.training_feed(plan, phase, store, sites, loss_inputs, world)


def layer_training(
    plan: Plan,
    phase: TrainingPhase,
    table: Distill,
    distiller: Distiller,
    store: TokenStore,
    world: World,
    *,
    name: str | None = None,
) -> TrainingSetup:
    """Return the training of a student's layers; its unused pooler is not trained.

    Args:
        plan: The plan.
        phase: Its steps.
        table: Its losses.
        distiller: Both networks, with their weights.
        store: The training rows.
        world: The processes of the run.
        name: The phase's name in a run of several.
    """
    teacher, student, fit = distiller.teacher, distiller.student, distiller.fit
    trained = [f"student.{n}" for n in encoder_shapes(student.config) if "pooler." not in n]
    trained += fit_shapes(student.config, teacher.config, table.fit_dense)
    groups = {
        "teacher": list(teacher.get_parameters()),
        "student": list(student.get_parameters()),
        "fit_dense": list(fit.get_parameters()),
    }
    return TrainingSetup(
        phase=phase,
        network=distiller,
        part_names=PARTS,
        feed=build_feed(plan, phase, table, store, world),
        groups=groups,
        trained=trained,
        weights=[*groups["student"], *groups["fit_dense"]],
        scopes={role: f"/{role}-BertEncoder/" for role in ("teacher", "student")},
        name=name,
    )
