"""One training of a stage, from its networks to its last checkpoint, and the facts about it."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from mindspore import Parameter, nn

from tinybert.manifest.record import TRACE, RunRecord
from tinybert.manifest.trace import read_trace
from tinybert.model.graph_masks import MaskedNetwork
from tinybert.model.label_names import encode_labels
from tinybert.plan.plan import Plan, TrainingPhase
from tinybert.plan.provenance import Provenance
from tinybert.stages import build
from tinybert.train import effective
from tinybert.train.checkpoint import Best, CheckpointFolder
from tinybert.train.checkpoint_manager import BestMetric, CheckpointManager
from tinybert.train.feed import Feed
from tinybert.train.loop import StepResult, train
from tinybert.train.multi_step import MultiStep
from tinybert.train.step import TrainingStep

MEAN_STEPS = 100
"""Steps at the end whose mean losses are final metrics."""


@dataclass(frozen=True)
class TrainingSetup:
    """What is trained, on what, and what is kept of it."""

    phase: TrainingPhase
    network: nn.Cell
    """construct(*inputs) -> loss, then its parts."""
    part_names: tuple[str, ...]
    feed: Feed
    groups: Mapping[str, Sequence[Parameter]]
    """All parameters by network."""
    trained: Sequence[str]
    """Names of the parameters that the recipe asks to train."""
    weights: Sequence[Parameter]
    """What a checkpoint keeps, beside the training's state."""
    scopes: Mapping[str, str]
    """Part of the operators' scope that tells a network, by the network's name."""
    selection: BestMetric | None = None
    labels: Sequence[str] | None = None
    """Label names that the weights are trained for, where they are known."""
    name: str | None = None
    """Of a phase of a run of several, whose checkpoints and facts are kept apart."""
    steps_before: int = 0
    """Steps of the run's earlier phases."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to."""

    steps: int
    finished: bool
    stopped: bool
    """Whether a process was asked to stop, be it during the last step."""
    optimizer_steps: int
    samples: int
    losses: dict[str, float]
    """Those of the last step, and their means over the last steps."""
    metrics: dict[str, float]
    """Of the evaluation after the last step; empty without one."""
    best: Best | None
    """Counted in steps of the run."""


def checkpoint_folder(record: RunRecord, name: str | None) -> Path:
    """Return where the checkpoints of a training are."""
    folder = record.directory / "checkpoints"
    return folder if name is None else folder / name


def run_training(
    plan: Plan,
    training: TrainingSetup,
    record: RunRecord,
    outside: build.RunContext,
    provenance: Provenance,
    *,
    passed: bool = False,
) -> TrainingResult:
    """Train, or go on where a checkpoint was left.

    Args:
        plan: The plan.
        training: What to train.
        record: The run.
        outside: Told about every step, and asked whether to stop.
        provenance: The files that were read.
        passed: Whether a later phase has begun, so that only this one's result is restored.
    """
    phase = training.phase
    masks, network = training.feed.masks_in_graph(), training.network
    if masks is not None:
        network = MaskedNetwork(network, masks)
    step = build.training_step(network, phase, outside.world)
    called = build.called(plan, step, 1 + len(training.part_names))
    journal = _journal(training, step, record, outside)
    stopped = False
    if passed:
        journal.restore()
    else:
        _start(plan, training, called, record, outside)
        first_step = journal.resume()

        def after_step(result: StepResult) -> None:
            nonlocal stopped
            stopped = result.stops
            if result.global_step == training.steps_before + first_step:
                provenance.write(record)
                graph = build.graph_facts(record, plan, type(called).__name__, training.scopes)
                record.update(effective=_placed(record, training.name, graph))
            journal.after_step(result)

        train(
            called,
            training.feed,
            part_names=training.part_names,
            first_step=first_step,
            total_steps=phase.total_steps,
            after_step=after_step,
            stop_requested=outside.stop_requested,
            report_activity=outside.report_activity,
            steps_before=training.steps_before,
        )
    return _trained(training, step, journal, record, stopped)


def _journal(
    training: TrainingSetup, step: TrainingStep, record: RunRecord, outside: build.RunContext
) -> CheckpointManager:
    phase, table = training.phase, training.phase.checkpoints
    folder = CheckpointFolder(
        checkpoint_folder(record, training.name),
        [*training.weights, *step.state()],
        table.max_ckpt_num,
        every=table.save_ckpt_step,
        best=training.weights,
        metadata=encode_labels(training.labels),
        writes=outside.world.first,
    )
    return CheckpointManager(
        record,
        folder,
        save_ckpt_step=table.save_ckpt_step,
        total_steps=phase.total_steps,
        on_step=outside.on_step,
        selection=training.selection,
        steps_before=training.steps_before,
        world=outside.world,
        report_activity=outside.report_activity,
    )


def _start(
    plan: Plan,
    training: TrainingSetup,
    called: TrainingStep | MultiStep,
    record: RunRecord,
    outside: build.RunContext,
) -> None:
    """Hold what was built against the recipe, and write it down."""
    phase = training.phase
    run = build.run_facts(plan) | {"runtime": effective.read_runtime(called)}
    facts = effective.read_step(called.step if isinstance(called, MultiStep) else called)
    facts |= build.network_facts(training.groups, phase.global_batch_size)
    facts["masks"] = {"step 0": training.feed.mask_digest(0)}
    requested = build.requested_facts(plan, phase, training.trained)
    effective.require_as_requested(requested, run | facts)
    outside.world.require_equal("networks and settings", json.dumps([run, facts], sort_keys=True))
    record.start(
        effective=run | _placed(record, training.name, facts), environment=outside.environment
    )


def _placed(record: RunRecord, name: str | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts about a training where they belong in `effective`."""
    if name is None:
        return dict(facts)
    known = record.manifest.effective
    phases = {} if known is None else dict(known.phases)
    return {"phases": {**phases, name: {**phases.get(name, {}), **facts}}}


def _trained(
    training: TrainingSetup,
    step: TrainingStep,
    journal: CheckpointManager,
    record: RunRecord,
    stopped: bool,
) -> TrainingResult:
    phase, before = training.phase, training.steps_before
    steps = int(step.global_step.asnumpy())
    best, finished = journal.best, steps == phase.total_steps
    metrics = journal.last_metrics
    if metrics is None and finished and training.selection is not None:
        metrics = dict(training.selection.metrics())  # they went with an earlier process
    return TrainingResult(
        steps=steps,
        finished=finished,
        stopped=stopped,
        optimizer_steps=int(step.optimizer_step.asnumpy()),
        samples=phase.samples(steps),
        losses=_losses(record.directory / TRACE, training.part_names, before, before + steps),
        metrics=metrics or {},
        best=None if best is None else Best(before + best.global_step, best.metric, best.metrics),
    )


def _losses(trace: Path, part_names: Sequence[str], first: int, end: int) -> dict[str, float]:
    """Return the last step's loss and parts, and their means over the last steps."""
    last = deque(islice(read_trace(trace), first, end), maxlen=MEAN_STEPS)
    series = {"loss": [record.loss for record in last]}
    for part in part_names:
        series[part] = [record.parts[part] for record in last]
    return {name: values[-1] for name, values in series.items()} | {
        f"mean_{name}": fmean(values) for name, values in series.items()
    }
