"""What the stages have in common: first weights, feed, training step, facts for the manifest."""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import structlog

from tinybert.audit.replay import Replay
from tinybert.data.importing import STORES, import_records
from tinybert.data.packing import choose_packing
from tinybert.data.phases import TrainingPhase
from tinybert.data.store import TokenStore
from tinybert.data.teacher_outputs import TeacherOutputs
from tinybert.distill.distiller import Distiller
from tinybert.distill.layer_map import copied_names
from tinybert.distill.prediction import LabelTraining, PredictionDistiller
from tinybert.manifest.built import (
    BuiltTopology,
    Effective,
    Environment,
    LossScaleFacts,
    OptimizerFacts,
    RuntimeFacts,
    TrainingFacts,
    TrainingRuntimeFacts,
)
from tinybert.manifest.record import RunRecord
from tinybert.model.dropout import DropoutSite
from tinybert.model.graph_masks import GraphMasks, MaskedNetwork
from tinybert.model.parameters import Array, encoder_shapes, head_shapes, seeded
from tinybert.model.weights import LoadedWeights
from tinybert.plan.plan import Plan
from tinybert.plan.provenance import Provenance
from tinybert.recipe.network import HeadConfig, Role, padding_indices
from tinybert.recipe.tables import device_count
from tinybert.train import effective
from tinybert.train.checkpoint import Best
from tinybert.train.feed import Feed, LossInputs
from tinybert.train.graph import GRAPHS, read_graph
from tinybert.train.loop import StepResult, ignore_activity
from tinybert.train.masks import DropoutMasks
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScaleSettings, TrainingStep
from tinybert.train.world import ALONE, World

log = structlog.get_logger()

TrainedNetwork = Distiller | LabelTraining | PredictionDistiller
"""construct(*inputs) -> the loss, then the parts that `part_names` names."""


@dataclass(frozen=True)
class RunContext:
    """What a stage is given: what to do, what was read for it, the process that it runs in."""

    plan: Plan
    record: RunRecord
    stores: Mapping[str, TokenStore]
    """The plan's records."""
    loaded: Mapping[str, LoadedWeights]
    """Weights that were read from files, by network."""
    provenance: Provenance
    """The files of both."""
    on_step: Callable[[StepResult], None]
    """Called with every step."""
    stop_requested: Callable[[], bool]
    """Whether to finish the step, save and end."""
    environment: Environment
    """What the process runs on."""
    world: World = ALONE
    """The processes of the run."""
    report_activity: Callable[[str], None] = ignore_activity
    """Called with what is done from now on; see `run.heartbeat.Heartbeat.activity`."""
    replay: Replay | None = None
    """What an audit replays of a finished run, in place of the trainings."""


@dataclass(frozen=True)
class StageResult:
    """The result of a stage."""

    finished: bool
    """false: it was asked to stop, and saved what it has."""
    optimizer_steps: int
    """Updates, over all phases."""
    samples: int
    """Rows trained on, or evaluated, over all processes and phases."""
    metrics: dict[str, float]
    """Final metrics."""
    best: Best | None = None
    """The best evaluation, counted in steps of the run."""


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
    network: TrainedNetwork, phase: TrainingPhase, world: World, masks: GraphMasks | None = None
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


def run_facts(plan: Plan, runtime: RuntimeFacts | TrainingRuntimeFacts) -> Effective:
    """Return what is built whatever the stage: device, mode, rows, departures from the recipe."""
    resolved = plan.resolved
    device = [] if resolved.device is None else [f"--device {resolved.device}"]
    return Effective(
        topology=effective.read_topology(),
        runtime=runtime,
        rows={role: records.rows for role, records in plan.records.items()},
        deviations=device + [f"--set {override}" for override in resolved.overrides],
    )


def requested_run(run: Effective, plan: Plan) -> Effective:
    """Return facts of a training run, with what the recipe asks for in place of what is built."""
    recipe = plan.resolved.recipe
    topology, sink = recipe.topology, recipe.runtime.enable_data_sink
    return replace(
        run,
        topology=BuiltTopology(device=topology.device, processes=device_count(topology)),
        runtime=TrainingRuntimeFacts(
            mode="graph",
            micro_batches=plan.micro_batches,
            enable_data_sink=sink,
            data_sink_steps=recipe.runtime.data_sink_steps if sink else 1,
            dropout_masks=mask_form(plan),
        ),
    )


def requested_training(
    facts: TrainingFacts,
    plan: Plan,
    phase: TrainingPhase,
    *,
    built: Collection[str],
    trained: Sequence[str],
) -> TrainingFacts:
    """Return facts of a training with what the recipe asks for in place of what was built.

    Args:
        facts: What was built.
        plan: The plan.
        phase: The training.
        built: Networks that are in the graph.
        trained: Names of the parameters to train.
    """
    optimizer, loss_scale, schedule = phase.optimizer, phase.loss_scale, phase.schedule
    groups: dict[str, list[str]] = {}
    for name in sorted(trained):
        decays = not any(part in name.lower() for part in optimizer.no_decay)
        groups.setdefault(repr(optimizer.weight_decay if decays else 0.0), []).append(name)
    steps = effective.sampled_steps(schedule.total_steps, schedule.warmup_steps)
    copied = plan.copied_layers if phase is plan.phases[0] else None
    return replace(
        facts,
        num_attention_heads={
            role: config.num_attention_heads
            for role, config in plan.networks.items()
            if role in built
        },
        padding_idx=padding_indices(plan.networks),
        layers_from_teacher=facts.layers_from_teacher if copied is None else list(copied),
        total_steps=schedule.total_steps,
        warmup_steps=schedule.warmup_steps,
        decay_start=schedule.decay_start,
        learning_rates={str(s): float(np.float32(schedule(s))) for s in steps},
        loss_scale=LossScaleFacts(
            loss_scale_value=float(np.float32(loss_scale.loss_scale_value)),
            scale_factor=loss_scale.scale_factor,
            scale_window=loss_scale.scale_window,
        ),
        optimizer=OptimizerFacts(
            optimizer=optimizer.optimizer,
            betas=list(optimizer.betas),
            eps=optimizer.eps,
            clip_norm=optimizer.clip_norm,
            clip_by=optimizer.clip_by or "norm",
            bias_correction=bool(optimizer.bias_correction),
            decay_groups=groups,
        ),
    )


def graph_facts(
    facts: TrainingFacts, context: RunContext, cell: str, scopes: Mapping[str, str]
) -> TrainingFacts:
    """Return facts with what the graph of a compiled cell, named by its class, adds.

    Raises:
        TrainingError: A matrix product has inputs of another type than the recipe asks for.
    """
    graphs, networks = context.record.directory / GRAPHS, context.plan.networks
    facts = effective.with_graph(facts, read_graph(graphs, cell), scopes)
    effective.require_as_requested(
        {r: [config.compute_type.capitalize()] for r, config in networks.items() if r in scopes},
        {role: list(types) for role, types in facts.matrix_products.items()},
    )
    shutil.rmtree(graphs)
    return facts
