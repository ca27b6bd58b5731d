"""What the stages build in the same way: token stores, first weights, feeds, training steps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

import structlog

from tinybert.data.importing import STORES, import_records
from tinybert.data.packing import choose_packing
from tinybert.data.phases import TrainingPhase
from tinybert.data.store import TokenStore
from tinybert.data.teacher_outputs import TeacherOutputs
from tinybert.distill.layer_map import copied_names
from tinybert.model.dropout import DropoutSite
from tinybert.model.graph_masks import GraphMasks, MaskedNetwork
from tinybert.model.parameters import Array, encoder_shapes, head_shapes, seeded
from tinybert.model.weights import LoadedWeights
from tinybert.plan.plan import Plan
from tinybert.recipe.network import HeadConfig, Role
from tinybert.stages.context import LossNetwork, RunContext
from tinybert.train.feed import Feed, LossInputs
from tinybert.train.masks import DropoutMasks
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScaleSettings, TrainingStep
from tinybert.train.world import World

log = structlog.get_logger()


def import_stores(plan: Plan, world: World) -> dict[str, TokenStore]:
    """Return the token store of each set of records; they are imported where they are not yet.

    Raises:
        TrainingError: Another process has other rows.
    """
    stores = {
        role: import_records(records.source, plan.root / STORES, files=records.files)
        for role, records in plan.records.items()
    }
    world.require_equal("rows", " ".join(store.digest for store in stores.values()))
    return stores


def first_weights(
    plan: Plan, role: Role, loaded: Mapping[str, LoadedWeights], head: HeadConfig | None = None
) -> dict[str, Array]:
    """Return a network's first weights by name: the checkpoint's or the teacher's, else the seed's.

    Args:
        plan: The plan.
        role: The network.
        loaded: The weights that were read from files, by network.
        head: The network's head, if it is built with one.
    """
    config, prefix = plan.networks[role], f"{role}."
    given = loaded[role].arrays if role in loaded else {}
    if role == "student" and plan.copied_layers is not None:
        teacher = first_weights(plan, "teacher", loaded)
        names = copied_names(encoder_shapes(config), plan.copied_layers)
        given = {prefix + name: teacher[f"teacher.{copied}"] for name, copied in names.items()}
    shapes = encoder_shapes(config) | (head_shapes(config, head) if head else {})
    missing = {name: shape for name, shape in shapes.items() if prefix + name not in given}
    arrays = dict(given)
    for embedding, std in (
        (True, config.embedding_initializer_range or config.initializer_range),
        (False, config.initializer_range),
    ):
        some = {n: s for n, s in missing.items() if n.startswith("embeddings.") == embedding}
        values = seeded(some, seed=plan.resolved.recipe.seed, std=std, prefix=prefix)
        arrays |= {prefix + name: array for name, array in values.items()}
    return {prefix + name: arrays[prefix + name] for name in shapes}


def mask_form(plan: Plan) -> Literal["host", "graph"]:
    """Return where dropout masks are made, which changes no bit of them."""
    recipe = plan.resolved.recipe
    on_ascend = recipe.topology.device == "Ascend"
    return recipe.runtime.dropout_masks or ("graph" if on_ascend else "host")


def training_feed(
    context: RunContext,
    phase: TrainingPhase,
    sites: Sequence[DropoutSite],
    loss_inputs: LossInputs,
    *,
    packed: bool = True,
    teacher_outputs: TeacherOutputs | None = None,
) -> Feed:
    """Build what gives every step of a training its inputs; see `Feed`.

    Rows are packed where the recipe asks for it, unless the loss does not allow it (`packed`).
    """
    packing, store, length = None, context.stores["data"], context.plan.block_length
    if length is not None and packed:
        sink = context.plan.resolved.recipe.runtime.enable_data_sink
        batches = map(phase.sampler.indices, range(phase.total_steps))
        packing = choose_packing(
            (store.batch_lengths(rows, phase.global_batch_size) for rows in batches),
            length,
            parts=context.world.parts(context.plan.micro_batches),
            most_counts=1 if sink else None,  # the steps of a call have one shape
        )
        log.info("packing", phase=phase.name, **asdict(packing))
    in_graph = mask_form(context.plan) == "graph"
    return Feed(
        store,
        phase.sampler,
        DropoutMasks(context.plan.resolved.recipe.seed, sites, in_graph=in_graph),
        loss_inputs=loss_inputs,
        world=context.world,
        micro_batches=context.plan.micro_batches,
        packing=packing,
        teacher_outputs=teacher_outputs,
    )


def training_step(
    network: LossNetwork, phase: TrainingPhase, world: World, masks: GraphMasks | None = None
) -> TrainingStep:
    """Build the step that trains a network's trainable parameters.

    Args:
        network: Its outputs are the loss, then the parts that its `part_names` names.
        phase: How it is updated.
        world: The processes that share a global batch.
        masks: What makes its dropout masks in the graph; None: they are among its inputs.
    """
    table, scale = phase.optimizer, phase.loss_scale
    optimizer = AdamWeightDecay(
        network.trainable_params(),
        betas=table.betas,
        eps=table.eps,
        weight_decay=table.weight_decay,
        no_decay=table.no_decay,
        corrected_updates=phase.total_steps if table.bias_correction else None,
    )
    return TrainingStep(
        network if masks is None else MaskedNetwork(network, masks),
        optimizer,
        part_names=network.part_names,
        schedule=phase.schedule,
        loss_scale=LossScaleSettings(
            scale.loss_scale_value, scale.scale_factor, scale.scale_window
        ),
        clip_norm=table.clip_norm,
        clip_by=table.clip_by or "norm",
        world=world,
    )
