"""Each stage as one readable function: records, networks, training, results."""

import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
import structlog

from tinybert.data.importing import import_records
from tinybert.data.store import TokenStore
from tinybert.distill.distiller import Distiller, FitDense, fit_shapes
from tinybert.distill.layer_map import layer_map
from tinybert.manifest.digests import tensor_digest, tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.manifest.trace import read_trace
from tinybert.model.bert import BertEncoder
from tinybert.model.dropout import dropout_sites
from tinybert.model.loading import load_into
from tinybert.model.parameters import encoder_shapes, seeded
from tinybert.model.weights import LoadedWeights, read_weights
from tinybert.plan import Plan
from tinybert.provenance import Provenance
from tinybert.recipe.derived import device_count, global_batch_size
from tinybert.recipe.model import GeneralDistill
from tinybert.train import effective
from tinybert.train.checkpoint import CheckpointFolder
from tinybert.train.feed import DistillFeed
from tinybert.train.graph import GRAPHS, read_graph
from tinybert.train.journal import Journal
from tinybert.train.loop import StepResult, train
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.schedule import Polynomial
from tinybert.train.step import LossScale, TrainingStep

log = structlog.get_logger()

PARTS = ("attention_loss", "hidden_loss")
"""Outputs of the distiller after the loss."""
MEAN_STEPS = 100
"""Steps at the end whose mean losses are final metrics."""


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


def general_distill(
    plan: Plan, recipe: GeneralDistill, record: RunRecord, outside: Outside
) -> Result:
    """Let a student learn a teacher's layers from plain text (TinyBERT, section 4.1)."""
    (phase,) = plan.phases
    store = import_records(plan.records["data"].source, plan.root / "runs" / "store")
    loaded = _read_checkpoints(plan)
    provenance = Provenance({"data": store}, loaded)
    distiller = _distiller(plan, recipe, loaded)
    step = _training_step(distiller, recipe, phase.schedule)
    weights = [*distiller.student.get_parameters(), *distiller.fit.get_parameters()]
    built = effective.read_step(step) | _facts(plan, distiller, store)
    effective.require_equal(_requested(plan, recipe), built)
    record.start(effective=built, environment=outside.environment)
    journal = Journal(
        record,
        CheckpointFolder(
            record.directory / "checkpoints",
            [*weights, *step.state()],
            keep=recipe.checkpoints.max_ckpt_num,
        ),
        save_ckpt_step=recipe.checkpoints.save_ckpt_step,
        total_steps=phase.total_steps,
        stop_requested=outside.stop_requested,
        on_step=outside.on_step,
    )
    first_step = journal.resume()
    feed = DistillFeed(
        store,
        phase.sampler,
        global_batch_size=phase.global_batch_size,
        sites=dropout_sites(plan.networks["student"], recipe.data.seq_length),
        seed=recipe.seed,
        padding=recipe.distill.padding,
    )

    def after_step(result: StepResult) -> bool:
        if result.global_step == first_step:
            provenance.write(record)
            _record_graph(record, plan)
        return journal.after_step(result)

    train(
        step,
        feed,
        part_names=PARTS,
        first_step=first_step,
        total_steps=phase.total_steps,
        after_step=after_step,
    )
    steps = int(step.global_step.asnumpy())
    return Result(
        finished=steps == phase.total_steps,
        optimizer_steps=int(step.optimizer_step.asnumpy()),
        samples=phase.samples(steps),
        metrics=_loss_metrics(record.directory / "trace.jsonl"),
    )


def _read_checkpoints(plan: Plan) -> dict[str, LoadedWeights]:
    """Read the weights of the networks that do not begin from the seed."""
    loaded = {}
    for which, path in plan.checkpoints.items():
        weights = read_weights(path, plan.networks[which], f"{which}.", pooler=False)
        if weights.dropped:
            log.info("weights left out", network=which, names=list(weights.dropped))
        loaded[which] = weights
    return loaded


def _distiller(
    plan: Plan, recipe: GeneralDistill, loaded: Mapping[str, LoadedWeights]
) -> Distiller:
    """Build teacher, student and projection, with their first weights."""
    configs = plan.networks
    teacher = BertEncoder(configs["teacher"], "teacher.")
    student = BertEncoder(configs["student"], "student.")
    fit = FitDense(configs["student"], configs["teacher"], recipe.distill.fit_dense)
    load_into(teacher, _weights(plan, "teacher", loaded))
    load_into(student, _weights(plan, "student", loaded))
    load_into(
        fit,
        seeded(
            fit_shapes(configs["student"], configs["teacher"], recipe.distill.fit_dense),
            seed=recipe.seed,
            std=configs["student"].initializer_range,
            prefix="",
        ),
    )
    depths = configs["teacher"].num_hidden_layers, configs["student"].num_hidden_layers
    return Distiller(
        teacher,
        student,
        fit,
        layer_map=layer_map(recipe.distill.layer_map, *depths),
        attention_weight=recipe.distill.weights.attention,
        hidden_weight=recipe.distill.weights.hidden,
        padding=recipe.distill.padding,
    )


def _weights(
    plan: Plan, which: str, loaded: Mapping[str, LoadedWeights]
) -> dict[str, npt.NDArray[np.generic]]:
    """Return a network's first weights: from the seed, and over that what a checkpoint has.

    A checkpoint lacks at most what the network does not use (`LoadedWeights.absent`).
    """
    config, prefix = plan.networks[which], f"{which}."
    given = loaded[which].arrays if which in loaded else {}
    missing = {
        name: shape for name, shape in encoder_shapes(config).items() if prefix + name not in given
    }
    seed, std = plan.resolved.recipe.seed, config.initializer_range
    values = seeded(missing, seed=seed, std=std, prefix=prefix)
    return {prefix + name: array for name, array in values.items()} | dict(given)


def _training_step(
    distiller: Distiller, recipe: GeneralDistill, schedule: Polynomial
) -> TrainingStep:
    table, scale = recipe.optimizer, recipe.loss_scale
    optimizer = AdamWeightDecay(
        distiller.trainable_params(),
        betas=table.betas,
        eps=table.eps,
        weight_decay=table.weight_decay,
        no_decay=table.no_decay,
    )
    return TrainingStep(
        distiller,
        optimizer,
        schedule=schedule,
        loss_scale=LossScale(scale.loss_scale_value, scale.scale_factor, scale.scale_window),
        clip_norm=table.clip_norm,
    )


def _facts(plan: Plan, distiller: Distiller, store: TokenStore) -> dict[str, Any]:
    """Return what the built objects are, beside the step's own facts."""
    groups = {
        "teacher": list(distiller.teacher.get_parameters()),
        "student": list(distiller.student.get_parameters()),
        "fit_dense": list(distiller.fit.get_parameters()),
    }
    return {
        "topology": {"device": ms.get_context("device_target"), "processes": 1},
        "runtime": {"mode": "graph", "enable_data_sink": False},
        "deviations": _deviations(plan),
        "rows": {"data": store.rows},
        "global_batch_size": plan.phases[0].global_batch_size,
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


def _requested(plan: Plan, recipe: GeneralDistill) -> dict[str, Any]:
    """Return what the recipe asks for, in the words of the facts that are read back."""
    schedule, table = plan.phases[0].schedule, recipe.optimizer
    student = encoder_shapes(plan.networks["student"])
    names = [f"student.{name}" for name in student if not name.startswith("pooler.")]
    kind = recipe.distill.fit_dense
    names += fit_shapes(plan.networks["student"], plan.networks["teacher"], kind)
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        decays = not any(part in name.lower() for part in table.no_decay)
        groups.setdefault(repr(table.weight_decay if decays else 0.0), []).append(name)
    steps = effective.sampled_steps(schedule.total_steps, schedule.warmup_steps)
    return {
        "topology": {"device": recipe.topology.device, "processes": device_count(recipe.topology)},
        "global_batch_size": global_batch_size(recipe.data, recipe.topology),
        "total_steps": schedule.total_steps,
        "warmup_steps": schedule.warmup_steps,
        "learning_rates": {str(s): float(np.float32(schedule(s))) for s in steps},
        "loss_scale": recipe.loss_scale.model_dump(),
        "optimizer": {
            "optimizer": table.optimizer,
            "betas": list(table.betas),
            "eps": table.eps,
            "clip_norm": table.clip_norm,
            "decay_groups": groups,
        },
    }


def _record_graph(record: RunRecord, plan: Plan) -> None:
    """Read the compiled step back, and hold its precision against the recipe."""
    scopes = {which: f"/{which}-BertEncoder/" for which in plan.networks}
    facts = effective.read_graph(read_graph(record.directory / GRAPHS, "TrainingStep"), scopes)
    effective.require_equal(
        {which: [config.compute_type.capitalize()] for which, config in plan.networks.items()},
        {which: list(types) for which, types in facts["matrix_products"].items()},
    )
    record.update(effective=facts)
    shutil.rmtree(record.directory / GRAPHS)


def _loss_metrics(trace: Path) -> dict[str, float]:
    """Return the last step's loss and parts, and their means over the last steps."""
    last = deque(read_trace(trace), maxlen=MEAN_STEPS)
    series = {"loss": [r.loss for r in last]}
    for part in PARTS:
        series[part] = [r.parts[part] for r in last]
    return {name: values[-1] for name, values in series.items()} | {
        f"mean_{name}": fmean(values) for name, values in series.items()
    }
