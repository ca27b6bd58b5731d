"""What the stages have in common: first weights, the training step, facts for the manifest."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from mindspore import Parameter, nn

from tinybert.manifest.digests import tensor_digest, tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.model.parameters import encoder_shapes, seeded
from tinybert.model.weights import LoadedWeights, read_weights
from tinybert.plan import Phase, Plan
from tinybert.recipe.derived import device_count
from tinybert.recipe.tables import LossScale as LossScaleTable
from tinybert.recipe.tables import Optimizer
from tinybert.train import effective
from tinybert.train.graph import GRAPHS, read_graph
from tinybert.train.loop import StepResult
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScale, TrainingStep

log = structlog.get_logger()

FirstWeights = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Outside:
    """What a stage tells the outside, and asks it."""

    on_step: Callable[[StepResult], None]
    """Told about every step."""
    stop_requested: Callable[[], bool]
    """Whether to finish the step, save and end."""
    environment: Mapping[str, Any]
    """The manifest's section `environment`."""


@dataclass(frozen=True)
class Result:
    """What a stage came to."""

    finished: bool
    """false: it was asked to stop, and saved what it has."""
    optimizer_steps: int
    samples: int
    metrics: dict[str, float]


def read_checkpoints(plan: Plan, *, pooler: bool) -> dict[str, LoadedWeights]:
    """Read the weights of the networks that do not begin from the seed.

    Args:
        plan: The plan.
        pooler: Whether the networks use their poolers; otherwise files may lack them.
    """
    loaded = {}
    for which, path in plan.checkpoints.items():
        weights = read_weights(path, plan.networks[which], f"{which}.", pooler=pooler)
        if weights.dropped:
            log.info("weights left out", network=which, names=list(weights.dropped))
        loaded[which] = weights
    return loaded


def first_weights(plan: Plan, which: str, loaded: Mapping[str, LoadedWeights]) -> FirstWeights:
    """Return a network's first weights by name: the checkpoint's, and else the seed's."""
    config, prefix = plan.networks[which], f"{which}."
    given = loaded[which].arrays if which in loaded else {}
    missing = {
        name: shape for name, shape in encoder_shapes(config).items() if prefix + name not in given
    }
    seed, std = plan.resolved.recipe.seed, config.initializer_range
    values = seeded(missing, seed=seed, std=std, prefix=prefix)
    return {prefix + name: array for name, array in values.items()} | dict(given)


def training_step(
    network: nn.Cell, phase: Phase, table: Optimizer, scale: LossScaleTable
) -> TrainingStep:
    """Build the step that trains a network's trainable parameters."""
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
        loss_scale=LossScale(scale.loss_scale_value, scale.scale_factor, scale.scale_window),
        clip_norm=table.clip_norm,
    )


def requested_facts(
    plan: Plan, phase: Phase, table: Optimizer, scale: LossScaleTable, trained: Sequence[str]
) -> dict[str, Any]:
    """Return what the recipe asks for, in the words of the facts that are read back.

    Args:
        plan: The plan.
        phase: The training.
        table: Its optimizer.
        scale: Its loss scale.
        trained: Names of the parameters that it trains.
    """
    topology, schedule = plan.resolved.recipe.topology, phase.schedule
    groups: dict[str, list[str]] = {}
    for name in sorted(trained):
        decays = not any(part in name.lower() for part in table.no_decay)
        groups.setdefault(repr(table.weight_decay if decays else 0.0), []).append(name)
    steps = effective.sampled_steps(schedule.total_steps, schedule.warmup_steps)
    return {
        "topology": {"device": topology.device, "processes": device_count(topology)},
        "total_steps": schedule.total_steps,
        "warmup_steps": schedule.warmup_steps,
        "learning_rates": {str(s): float(np.float32(schedule(s))) for s in steps},
        "loss_scale": scale.model_dump(),
        "optimizer": {
            "optimizer": table.optimizer,
            "betas": list(table.betas),
            "eps": table.eps,
            "clip_norm": table.clip_norm,
            "decay_groups": groups,
        },
    }


def built_facts(
    plan: Plan, phase: Phase, groups: Mapping[str, Sequence[Parameter]]
) -> dict[str, Any]:
    """Return what is built, beside the step's own facts.

    Args:
        plan: The plan.
        phase: The training.
        groups: Parameters by network.
    """
    return {
        "topology": effective.read_topology(),
        "runtime": {"mode": "graph", "enable_data_sink": False},
        "deviations": _deviations(plan),
        "rows": {role: records.rows for role, records in plan.records.items()},
        "global_batch_size": phase.global_batch_size,
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


def record_graph(record: RunRecord, plan: Plan) -> None:
    """Read the compiled step back, and hold its precision against the recipe."""
    scopes = {which: f"/{which}-BertEncoder/" for which in plan.networks}
    facts = effective.read_graph(read_graph(record.directory / GRAPHS, "TrainingStep"), scopes)
    effective.require_equal(
        {which: [config.compute_type.capitalize()] for which, config in plan.networks.items()},
        {which: list(types) for which, types in facts["matrix_products"].items()},
    )
    record.update(effective=facts)
    shutil.rmtree(record.directory / GRAPHS)
