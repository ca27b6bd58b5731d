"""What the stages have in common: first weights, the training step, facts for the manifest."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import structlog
from mindspore import Parameter, nn

from tinybert.data.importing import STORES, import_records
from tinybert.data.store import TokenStore
from tinybert.manifest.digests import tensor_digest, tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.model.heads import head_shapes
from tinybert.model.names import TRAINING_STATE
from tinybert.model.parameters import encoder_shapes, seeded
from tinybert.model.weights import LoadedWeights, read_weights
from tinybert.plan.plan import Plan, TrainingPhase
from tinybert.recipe.derived import device_count
from tinybert.recipe.network import HeadConfig
from tinybert.train import effective
from tinybert.train.checkpoint import Best
from tinybert.train.graph import GRAPHS, read_graph
from tinybert.train.loop import StepResult, ignore_activity
from tinybert.train.multi_step import MultiStep
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScaleSettings, TrainingStep
from tinybert.train.world import ALONE, World

log = structlog.get_logger()

FirstWeights = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class RunContext:
    """What a stage tells the outside, and asks it."""

    on_step: Callable[[StepResult], None]
    """Told about every step."""
    stop_requested: Callable[[], bool]
    """Whether to finish the step, save and end."""
    environment: Mapping[str, Any]
    """The manifest's section `environment`."""
    world: World = ALONE
    """The processes of the run."""
    report_activity: Callable[[str], None] = ignore_activity
    """Told what is done from now on, for those who watch; see `launch.beats.Beat.activity`."""


@dataclass(frozen=True)
class StageResult:
    """What a stage came to."""

    finished: bool
    """false: it was asked to stop, and saved what it has."""
    optimizer_steps: int
    samples: int
    metrics: dict[str, float]
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


def read_checkpoints(
    plan: Plan,
    *,
    pooler: bool,
    heads: Mapping[str, HeadConfig] | None = None,
    fit: bool = False,
) -> dict[str, LoadedWeights]:
    """Read the weights of the networks that do not begin from the seed.

    Args:
        plan: The plan.
        pooler: Whether the networks use their poolers; otherwise files may lack them.
        heads: The heads that come from files, by network; others begin from the seed.
        fit: Whether the distillation's projection goes on from the student's file if it is there.
    """
    loaded = {}
    for which, path in plan.checkpoints.items():
        config = plan.networks[which]
        head = head_shapes(config, heads[which]) if heads and which in heads else None
        with_fit = fit and which == "student"
        weights = read_weights(path, config, f"{which}.", pooler=pooler, head=head, fit=with_fit)
        if names := [name for name in weights.dropped if not TRAINING_STATE.search(name)]:
            log.info("weights left out", network=which, names=names)
        loaded[which] = weights
    return loaded


def first_weights(
    plan: Plan,
    which: str,
    loaded: Mapping[str, LoadedWeights],
    head: HeadConfig | None = None,
) -> FirstWeights:
    """Return a network's first weights by name: the checkpoint's, and else the seed's.

    Args:
        plan: The plan.
        which: `teacher` or `student`.
        loaded: The weights that were read from files, by network.
        head: The network's head, if it has one.
    """
    config, prefix = plan.networks[which], f"{which}."
    given = loaded[which].arrays if which in loaded else {}
    shapes = encoder_shapes(config) | (head_shapes(config, head) if head else {})
    missing = {name: shape for name, shape in shapes.items() if prefix + name not in given}
    values: dict[str, npt.NDArray[np.float32]] = {}
    for embedding, std in (
        (True, config.embedding_initializer_range or config.initializer_range),
        (False, config.initializer_range),
    ):
        some = {n: s for n, s in missing.items() if n.startswith("embeddings.") == embedding}
        values |= seeded(some, seed=plan.resolved.recipe.seed, std=std, prefix=prefix)
    return {prefix + name: array for name, array in values.items()} | dict(given)


def mask_form(plan: Plan) -> Literal["host", "graph"]:
    """Return where dropout masks are made, which changes no bit of them."""
    recipe = plan.resolved.recipe
    on_ascend = recipe.topology.device == "Ascend"
    return recipe.runtime.dropout_masks or ("graph" if on_ascend else "host")


def training_step(network: nn.Cell, phase: TrainingPhase, world: World) -> TrainingStep:
    """Build the step that trains a network's trainable parameters."""
    table, scale = phase.optimizer, phase.loss_scale
    optimizer = AdamWeightDecay(
        network.trainable_params(),
        betas=table.betas,
        eps=table.eps,
        weight_decay=table.weight_decay,
        no_decay=table.no_decay,
    )
    return TrainingStep(
        network,
        optimizer,
        schedule=phase.schedule,
        loss_scale=LossScaleSettings(
            scale.loss_scale_value, scale.scale_factor, scale.scale_window
        ),
        clip_norm=table.clip_norm,
        world=world,
    )


def called(plan: Plan, step: TrainingStep, outputs: int) -> TrainingStep | MultiStep:
    """Return what is compiled and called: the step, or with data sink several of them.

    Args:
        plan: The plan.
        step: One step.
        outputs: Number of its network's outputs.
    """
    runtime = plan.resolved.recipe.runtime
    if not runtime.enable_data_sink:
        return step
    return MultiStep(step, steps=runtime.data_sink_steps, outputs=outputs)


def requested_facts(plan: Plan, phase: TrainingPhase, trained: Sequence[str]) -> dict[str, Any]:
    """Return what the recipe asks for, in the words of the facts that are read back.

    Args:
        plan: The plan.
        phase: The training.
        trained: Names of the parameters that it trains.
    """
    recipe, schedule = plan.resolved.recipe, phase.schedule
    table, scale = phase.optimizer, phase.loss_scale
    topology, sink = recipe.topology, recipe.runtime.enable_data_sink
    groups: dict[str, list[str]] = {}
    for name in sorted(trained):
        decays = not any(part in name.lower() for part in table.no_decay)
        groups.setdefault(repr(table.weight_decay if decays else 0.0), []).append(name)
    steps = effective.sampled_steps(schedule.total_steps, schedule.warmup_steps)
    return {
        "topology": {"device": topology.device, "processes": device_count(topology)},
        "runtime": {
            "enable_data_sink": sink,
            "data_sink_steps": recipe.runtime.data_sink_steps if sink else 1,
            "dropout_masks": mask_form(plan),
        },
        "total_steps": schedule.total_steps,
        "warmup_steps": schedule.warmup_steps,
        "learning_rates": {str(s): float(np.float32(schedule(s))) for s in steps},
        "loss_scale": {
            "loss_scale_value": float(np.float32(scale.loss_scale_value)),
            "scale_factor": scale.scale_factor,
            "scale_window": scale.scale_window,
        },
        "optimizer": {
            "optimizer": table.optimizer,
            "betas": list(table.betas),
            "eps": table.eps,
            "clip_norm": table.clip_norm,
            "decay_groups": groups,
        },
    }


def run_facts(plan: Plan) -> dict[str, Any]:
    """Return what is built whatever the stage: device, mode, rows, where the user departed."""
    return {
        "topology": effective.read_topology(),
        "runtime": {"mode": "graph", "enable_data_sink": False},
        "deviations": _deviations(plan),
        "rows": {role: records.rows for role, records in plan.records.items()},
    }


def network_facts(
    groups: Mapping[str, Sequence[Parameter]], global_batch_size: int
) -> dict[str, Any]:
    """Return what is built of networks.

    Args:
        groups: Parameters by network.
        global_batch_size: Rows that a call takes over all processes.
    """
    return {
        "global_batch_size": global_batch_size,
        "parameters": effective.parameter_counts(groups),
        "initial_weights": {
            name: tensor_digest(tensor_table({p.name: p.asnumpy() for p in parameters}))
            for name, parameters in groups.items()
        },
    }


def _deviations(plan: Plan) -> list[str]:
    """Return where the run departs from the recipe's file because the user asked for it."""
    resolved = plan.resolved
    device = [] if resolved.device is None else [f"--device {resolved.device}"]
    return device + [f"--set {override}" for override in resolved.overrides]


def graph_facts(
    record: RunRecord, plan: Plan, cell: str, scopes: Mapping[str, str]
) -> dict[str, Any]:
    """Read a compiled graph back, and hold its precision against the recipe.

    Args:
        record: The run.
        plan: The plan.
        cell: Class name of the cell that was compiled.
        scopes: Part of the operators' scope that tells a network, by the network's name.
    """
    facts = effective.read_compiled_graph(read_graph(record.directory / GRAPHS, cell), scopes)
    effective.require_as_requested(
        {which: [plan.networks[which].compute_type.capitalize()] for which in scopes},
        {which: list(types) for which, types in facts["matrix_products"].items()},
    )
    shutil.rmtree(record.directory / GRAPHS)
    return facts
