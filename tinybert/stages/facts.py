"""The facts of a run: what is built, and what the recipe asks for in its place."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tinybert.data.phases import TrainingPhase
from tinybert.manifest.built import (
    BuiltTopology,
    Effective,
    LossScaleFacts,
    OptimizerFacts,
    RuntimeFacts,
    TrainingFacts,
    TrainingRuntimeFacts,
)
from tinybert.plan.plan import Plan
from tinybert.recipe.network import padding_indices
from tinybert.recipe.tables import device_count
from tinybert.stages.build import mask_form
from tinybert.stages.context import RunContext
from tinybert.train import effective
from tinybert.train.graph import GRAPHS, read_graph


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
