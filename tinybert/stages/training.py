"""One training of a stage, from its networks to its last checkpoint, and the facts about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from tinybert.audit.replay import Replay
from tinybert.data.labels import encode_labels
from tinybert.manifest.built import Effective, TrainingFacts
from tinybert.manifest.canonical import digest
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.manifest.trace import final_losses, read_trace
from tinybert.model import cpu_operators
from tinybert.plan.plan import Plan
from tinybert.stages.build import training_step
from tinybert.stages.context import RunContext, StageResult, TrainingSetup
from tinybert.stages.facts import graph_facts, requested_run, requested_training, run_facts
from tinybert.stages.replay import TrainingReplay
from tinybert.train import effective
from tinybert.train.checkpoint import Best, CheckpointFolder
from tinybert.train.checkpoint_manager import CheckpointManager
from tinybert.train.loop import StepResult, train
from tinybert.train.micro_batches import MicroBatchStep
from tinybert.train.step import CompiledStep, MultiStep, TrainingStep


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training."""

    steps: int
    finished: bool
    stopped: bool
    """Whether a process was asked to stop, also during the last step."""
    optimizer_steps: int = 0
    samples: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    """Those of the last step, and their means over the last steps; named by the phase, if any."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the evaluation after the last step; empty without one."""
    best: Best | None = None
    """Counted in steps of the run."""


def checkpoint_folder(directory: Path, name: str | None) -> Path:
    """Return where the checkpoints of a training are in a run's folder."""
    folder = directory / "checkpoints"
    return folder if name is None else folder / name


def stage_result(plan: Plan, done: Sequence[TrainingResult]) -> StageResult:
    """Return the result of a stage from those of its trainings that were begun."""
    last = done[-1]
    losses = {name: value for trained in done for name, value in trained.losses.items()}
    return StageResult(
        finished=len(done) == len(plan.phases) and last.finished,
        optimizer_steps=sum(trained.optimizer_steps for trained in done),
        samples=sum(trained.samples for trained in done),
        metrics=losses | last.metrics,
        best=last.best,
    )


def has_checkpoint(record: RunRecord, name: str) -> bool:
    """Return whether a checkpoint of a phase is recorded and its file exists."""
    folder = checkpoint_folder(record.directory, name)
    files = (record.directory / kept.file for kept in record.manifest.outcome.checkpoints)
    return any(file.parent == folder and file.exists() for file in files)


def run_training(
    context: RunContext, training: TrainingSetup, *, passed: bool = False
) -> TrainingResult:
    """Train, or go on where a checkpoint was left; the last training lets go of `context.loaded`.

    Args:
        context: The run.
        training: What to train.
        passed: Whether a later phase has begun, so that only this one's result is restored.
    """
    compiled_step = build_compiled_step(context, training)
    step = compiled_step.step
    if training.phase == context.plan.phases[-1]:
        context.loaded.clear()  # the networks have copies
    if context.replay is not None:
        return _replay(context, training, compiled_step, context.replay)
    manager = _checkpoint_manager(context, training, step)
    if passed:
        manager.restore()
        stopped = False
    else:
        stopped = _train(context, training, compiled_step, manager)
    metrics, directory = manager.last_metrics, context.record.directory
    return _result(training, step, directory, metrics, manager.best, stopped=stopped)


def _train(
    context: RunContext,
    training: TrainingSetup,
    compiled_step: CompiledStep,
    manager: CheckpointManager,
) -> bool:
    """Train from the newest checkpoint on; return whether a process was asked to stop."""
    context.provenance.check(context.record)
    run, facts = _start(context, training, compiled_step)
    first_step, stopped = manager.resume(), False

    def after_step(result: StepResult) -> None:
        nonlocal stopped
        stopped = result.stops
        if result.global_step == training.steps_before + first_step:
            context.provenance.write(context.record)
            _record_graph(context, training, compiled_step.network_cell, run, facts)
        manager.after_step(result)
        context.on_step(result)

    train(
        compiled_step,
        training.feed,
        first_step=first_step,
        total_steps=training.phase.total_steps,
        after_step=after_step,
        stop_requested=context.stop_requested,
        report_activity=context.report_activity,
        steps_before=training.steps_before,
    )
    return stopped


def _record_graph(
    context: RunContext,
    training: TrainingSetup,
    cell: str,
    run: Effective,
    facts: TrainingFacts,
) -> None:
    """Record what the first step of this process compiled."""
    built = graph_facts(facts, context, cell, training.scopes)
    if training.feed.packing is not None and facts.graph_digest is not None:
        # an earlier process may have begun with another number of blocks
        built = replace(built, graph_digest=facts.graph_digest)
    context.record.update(effective=run.with_training(built, training.name))


def build_compiled_step(context: RunContext, training: TrainingSetup) -> CompiledStep:
    """Build what trains the network: in one call a step, several, or a part of a step."""
    plan, runtime = context.plan, context.plan.resolved.recipe.runtime
    masks = training.feed.masks.graph_masks()
    step = training_step(training.network, training.phase, context.world, masks)
    sink_steps = runtime.data_sink_steps if runtime.enable_data_sink else None
    if plan.micro_batches is not None or cpu_operators.used():
        return MicroBatchStep(
            step,
            micro_batches=plan.micro_batches,
            world=context.world,
            data_sink_steps=sink_steps,
        )
    if sink_steps is not None:
        return MultiStep(step, steps=sink_steps)
    return step


def _replay(
    context: RunContext, training: TrainingSetup, compiled_step: CompiledStep, replay: Replay
) -> TrainingResult:
    """Replay what an audit drew of a training; return the training's result."""
    step = compiled_step.step
    context.provenance.check(context.record)
    _, facts = _start(context, training, compiled_step)
    recorded = replay.training_facts(training.name)
    if recorded is not None:
        weights = recorded.initial_weights, facts.initial_weights
        replay.compare_facts(training.steps_before, "initial_weights", *weights)
    checkpoints = _checkpoints(training, step, replay.run.folder, writes=False)
    checkpoints = replace(checkpoints, cure="copy the run's folder again from where it is whole")
    training_replay = TrainingReplay(replay, context, training, checkpoints)
    if training_replay.replay(compiled_step):
        return TrainingResult(steps=0, finished=False, stopped=True)
    metrics = training_replay.measure()
    return _result(training, step, replay.run.folder, metrics, None, stopped=False)


def _checkpoints(
    training: TrainingSetup, step: TrainingStep, directory: Path, *, writes: bool
) -> CheckpointFolder:
    """Return the checkpoints of a training in a run's folder."""
    table = training.phase.checkpoints
    return CheckpointFolder(
        checkpoint_folder(directory, training.name),
        weights=training.weights,
        state=step.state(),
        keep=table.max_ckpt_num,
        every=table.save_ckpt_step,
        metadata=encode_labels(training.labels),
        writes=writes,
    )


def _checkpoint_manager(
    context: RunContext, training: TrainingSetup, step: TrainingStep
) -> CheckpointManager:
    directory, writes = context.record.directory, context.world.first
    return CheckpointManager(
        context.record,
        _checkpoints(training, step, directory, writes=writes),
        total_steps=training.phase.total_steps,
        selection=training.selection,
        steps_before=training.steps_before,
        world=context.world,
        report_activity=context.report_activity,
    )


def _start(
    context: RunContext, training: TrainingSetup, compiled_step: CompiledStep
) -> tuple[Effective, TrainingFacts]:
    """Compare what was built with the recipe and with other processes, and record it.

    Returns:
        The facts of the run, with those of earlier phases, and the facts of this training.
    """
    plan, record = context.plan, context.record
    run = run_facts(plan, effective.read_runtime(compiled_step))
    facts = effective.read_step(compiled_step.step)
    facts = effective.with_networks(facts, training.groups, training.phase.global_batch_size)
    facts = effective.with_packing(facts, training.feed.packing)
    facts = replace(
        facts,
        masks={"step 0": training.feed.mask_digest(0)},
        teacher_cache=training.teacher_cache,
    )
    requested = requested_training(
        facts, plan, training.phase, built=training.scopes, trained=training.trained
    )
    effective.require_as_requested(
        requested_run(run, plan).with_training(requested, None),
        run.with_training(facts, None),
    )
    context.world.require_equal("networks and settings", digest([run, facts]))
    if (known := record.manifest.effective) is not None:
        run = replace(run, phases=known.phases)
        earlier = known if training.name is None else known.phases.get(training.name)
        if earlier is not None:  # an earlier process compiled; this one may have no step to do
            facts = replace(
                facts, graph_digest=earlier.graph_digest, matrix_products=earlier.matrix_products
            )
    record.start(run.with_training(facts, training.name), context.environment)
    return run, facts


def _result(
    training: TrainingSetup,
    step: TrainingStep,
    directory: Path,
    metrics: dict[str, float] | None,
    best: Best | None,
    *,
    stopped: bool,
) -> TrainingResult:
    """Return the result of a training whose trace is in a run's folder."""
    phase, before = training.phase, training.steps_before
    steps = int(step.global_step.asnumpy())
    finished = steps == phase.total_steps
    losses = final_losses(islice(read_trace(directory / TRACE), before, before + steps))
    prefix = "" if training.name is None else f"{training.name}_"
    if metrics is None and finished and training.selection is not None:
        metrics = dict(training.selection.metrics())  # an earlier process made the last step
    return TrainingResult(
        steps=steps,
        finished=finished,
        stopped=stopped,
        optimizer_steps=int(step.optimizer_step.asnumpy()),
        samples=phase.samples(steps),
        losses={prefix + name: value for name, value in losses.items()},
        metrics=metrics or {},
        best=best and replace(best, global_step=before + best.global_step),
    )
