"""The training on the differences between layers, which two stages have in common."""

from collections.abc import Mapping
from functools import partial

from tinybert.data.phases import TrainingPhase
from tinybert.data.teacher_outputs import TeacherLayers
from tinybert.distill.distiller import Distiller, FitDense
from tinybert.distill.normalizers import layer_inputs
from tinybert.manifest.built import TeacherCacheFacts
from tinybert.manifest.leaf import NO_FACTS, NoFacts
from tinybert.model.bert import BertEncoder
from tinybert.model.dropout import dropout_sites
from tinybert.model.layers import load_into
from tinybert.model.parameters import encoder_shapes, fit_shapes, seeded
from tinybert.model.weights import LoadedWeights
from tinybert.plan.plan import Plan
from tinybert.recipe.distill_tables import Distill
from tinybert.recipe.network import ROLES
from tinybert.stages.build import first_weights, training_feed
from tinybert.stages.context import RunContext, TrainingSetup


def build_distiller(plan: Plan, table: Distill, loaded: Mapping[str, LoadedWeights]) -> Distiller:
    """Build the network whose output is the loss, with its first weights and without heads.

    Args:
        plan: The plan.
        table: The losses.
        loaded: The weights that were read from files, by network; the student's may have a
            projection, which is trained further.

    Raises:
        InputError: That projection is between networks of other sizes.
    """
    teacher, student = (BertEncoder(plan.networks[role], f"{role}.") for role in ROLES)
    load_into(teacher, first_weights(plan, "teacher", loaded))
    load_into(student, first_weights(plan, "student", loaded))
    kind, started = table.fit_dense, loaded.get("student")
    fit = FitDense(student.config, teacher.config, kind)
    if started is not None and started.fit_dense:
        load_into(fit, started.fit_dense, where=str(started.files[0]))
    else:
        shapes = fit_shapes(student.config, teacher.config, kind)
        std = student.config.initializer_range
        load_into(fit, seeded(shapes, seed=plan.resolved.recipe.seed, std=std, prefix=""))
    return Distiller(teacher, student, fit, table)


def layer_training(
    context: RunContext,
    phase: TrainingPhase,
    table: Distill,
    distiller: Distiller,
    outputs: TeacherLayers | None = None,
    teacher_cache: TeacherCacheFacts | NoFacts = NO_FACTS,
    *,
    name: str | None = None,
) -> TrainingSetup:
    """Return the training of a student's layers; its unused pooler is not trained.

    Where the teacher's outputs are given, the graph has no teacher.
    """
    teacher, student, fit = distiller.teacher, distiller.student, distiller.fit
    assert teacher is not None
    trained = [f"student.{n}" for n in encoder_shapes(student.config) if "pooler." not in n]
    trained += fit_shapes(student.config, teacher.config, table.fit_dense)
    loss_inputs = partial(layer_inputs, padding=table.padding)
    packed = table.padding == "ignore"  # a mean over padding needs it
    sites = dropout_sites(student.config, context.stores["data"].seq_length)
    groups = {
        "teacher": list(teacher.get_parameters()),
        "student": list(student.get_parameters()),
        "fit_dense": list(fit.get_parameters()),
    }
    if outputs is not None:
        distiller.leave_out_teacher()
    roles = ROLES if outputs is None else ("student",)
    return TrainingSetup(
        phase=phase,
        network=distiller,
        feed=training_feed(
            context, phase, sites, loss_inputs, packed=packed, teacher_outputs=outputs
        ),
        groups=groups,
        trained=trained,
        weights=[*groups["student"], *groups["fit_dense"]],
        scopes={role: f"/{role}-BertEncoder/" for role in roles},
        teacher_cache=teacher_cache,
        name=name,
    )
