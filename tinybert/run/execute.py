"""Carrying out a plan in this process, alone or as one of several."""

import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tinybert.arithmetic import Arithmetic, require_pinned
from tinybert.audit.replay import Replay, ReplayJob
from tinybert.device import prepare_environment, require_infinities, select
from tinybert.manifest.built import ArithmeticFacts, Environment, TopologyFacts
from tinybert.manifest.identity import read_environment
from tinybert.manifest.leaf import NO_FACTS, NoFacts
from tinybert.manifest.model import MemoryFacts, ThroughputFacts
from tinybert.manifest.pace import PACE, PaceWriter
from tinybert.manifest.record import RunRecord
from tinybert.plan.plan import Plan, read_checkpoints
from tinybert.plan.provenance import Provenance
from tinybert.recipe.model import Evaluate, Finetune, GeneralDistill
from tinybert.recipe.tables import device_count
from tinybert.run.heartbeat import HeartbeatSender
from tinybert.run.logs import LogFormat
from tinybert.signals import StopRequest
from tinybert.train.graph import GRAPHS, saving_environment

if TYPE_CHECKING:
    from tinybert.stages.context import RunContext, StageResult
    from tinybert.train.loop import StepResult

log = structlog.get_logger()

PROFILE = "profile"
"""Folder of a run with what the profiler wrote, a folder a process; MindStudio Insight shows it,
and a browser's tracing page the timeline `trace_view.json`."""


@dataclass(frozen=True)
class RunOptions:
    """The options of `run`, as the command line names them."""

    recipe: str
    root: Path
    overrides: Sequence[str] = ()
    device: str | None = None
    resume: Path | None = None
    fresh: bool = False
    dry_run: bool = False
    require_clean: bool = False
    log_format: LogFormat = "console"
    host_rank: int = 0
    profile: int | None = None
    """Calls of the device to profile."""
    trial: int | None = None
    """Steps of a trial."""
    study: Path | None = None
    """The record of the study that the run is a member of."""
    continues: Path | None = None
    """The finished run to go on from."""
    replay: ReplayJob | None = None
    """What to replay of a finished run, rather than to run the recipe."""


def execute(
    plan: Plan,
    record: RunRecord,
    stop: StopRequest,
    *,
    sender: HeartbeatSender | None = None,
    local_rank: int = 0,
    profile: int | None = None,
    replay: ReplayJob | None = None,
) -> bool:
    """Get the device ready, carry out the stage, and record the result.

    Args:
        plan: What to do.
        record: This process's record.
        stop: Whether the user asked to stop.
        sender: Sends the launcher of several processes what this one does.
        local_rank: This process among those of its host.
        profile: Calls of the device to profile, if any.
        replay: What to replay of a finished run, rather than to run the recipe.

    Returns:
        Whether the run finished; otherwise it was stopped, and saved what it has.
    """
    with stop.waiting():  # an exception within an import of the framework aborts the process
        environment = _ready(plan, record, local_rank)
        # The framework reads its environment when these are imported.
        from tinybert.run.progress import StepProgress
        from tinybert.train.loop import ignore_activity
    stop.check()
    device = plan.resolved.recipe.topology.device
    total_steps = sum(phase.total_steps for phase in plan.phases)
    with (
        profiled(profile, record.directory / PROFILE, device) as call_ended,
        StepProgress([(phase.name, phase.total_steps) for phase in plan.phases]) as progress,
        closing(PaceWriter(record.directory / PACE, total_steps)) as pace,
        stop.waiting(),
    ):

        def on_step(result: "StepResult") -> None:
            progress.on_step(result)
            done = result.global_step + 1
            pace.on_step(done, result.rows, ends_call=result.ends_call)
            if result.ends_call:
                call_ended()
            if sender is not None:
                sender.on_step(done, result.loss, result.learning_rate, result.rows)

        report_activity = ignore_activity if sender is None else sender.report_activity
        context = _context(plan, record, stop, environment, on_step, report_activity)
        if replay is not None:
            return _replay(replace(context, replay=Replay.open(replay)))
        result = _carry_out(context)
    shutil.rmtree(record.directory / GRAPHS, ignore_errors=True)  # of what was compiled late
    throughput = ThroughputFacts(samples_per_second=progress.rate) if total_steps else NO_FACTS
    _finish(record, result, throughput)
    return result.finished


def _ready(plan: Plan, record: RunRecord, local_rank: int) -> Environment:
    """Get the device ready; return what this process runs on."""
    recipe, topology = plan.resolved.recipe, plan.resolved.recipe.topology
    threads, arithmetic = recipe.runtime.threads, recipe.runtime.arithmetic or "native"
    prepare_environment(threads, saving_environment(record.directory / GRAPHS), arithmetic)
    device_id = topology.device_ids[local_rank] if topology.device_ids else local_rank
    determinism = select(topology.device, device_id, threads)
    floats = {f for config in plan.networks.values() for f in (config.dtype, config.compute_type)}
    if topology.device == "Ascend" and plan.phases and "float16" in floats:
        require_infinities()
    return read_environment(
        threads=threads,
        topology=TopologyFacts(
            device=topology.device, hosts=topology.hosts, processes=device_count(topology)
        ),
        determinism=determinism,
        arithmetic=_arithmetic(topology.device, arithmetic),
    )


def _arithmetic(device: str, form: Arithmetic) -> ArithmeticFacts | NoFacts:
    """Return how this process rounds, read back; call it when the device is ready."""
    if device != "CPU" or platform.machine() != "x86_64":
        return NO_FACTS
    return ArithmeticFacts(form=form, instruction_set=require_pinned(form))


def _context(
    plan: Plan,
    record: RunRecord,
    stop: StopRequest,
    environment: Environment,
    on_step: Callable[["StepResult"], None],
    report_activity: Callable[[str], None],
) -> "RunContext":
    """Connect with the other processes, read rows and weights; return what a stage is given."""
    from tinybert.stages.build import import_stores
    from tinybert.stages.context import RunContext
    from tinybert.train.world import ALONE, connect

    world = ALONE if device_count(plan.resolved.recipe.topology) == 1 else connect()
    stores = import_stores(plan, world)
    loaded = read_checkpoints(plan)
    return RunContext(
        plan=plan,
        record=record,
        stores=stores,
        loaded=loaded,
        provenance=Provenance(stores, loaded),
        on_step=on_step,
        stop_requested=stop.requested,
        environment=environment,
        world=world,
        report_activity=report_activity,
    )


def _carry_out(context: "RunContext") -> "StageResult":
    """Call the stage of the plan's recipe."""
    from tinybert.stages.evaluate import evaluate
    from tinybert.stages.finetune import finetune
    from tinybert.stages.general_distill import general_distill
    from tinybert.stages.task_distill import task_distill

    recipe = context.plan.resolved.recipe
    if isinstance(recipe, GeneralDistill):
        return general_distill(recipe, context)
    if isinstance(recipe, Finetune):
        return finetune(recipe, context)
    if isinstance(recipe, Evaluate):
        return evaluate(recipe, context)
    return task_distill(recipe, context)


def _replay(context: "RunContext") -> bool:
    """Replay a run, and write what was found beside the record; returns whether it was done."""
    assert context.replay is not None
    result, outcome = _carry_out(context), context.replay.run.manifest.outcome
    if result.finished:
        context.replay.compare_metrics(
            outcome.steps - 1, "metrics", outcome.metrics, result.metrics
        )
        context.replay.write(context.record.directory)
    context.record.finish("finished" if result.finished else "interrupted")
    return result.finished


def _finish(
    record: RunRecord, result: "StageResult", throughput: ThroughputFacts | NoFacts
) -> None:
    """Record the result of the stage."""
    best = result.best
    record.finish(
        "finished" if result.finished else "interrupted",
        optimizer_steps=result.optimizer_steps,
        samples=result.samples,
        metrics=result.metrics,
        best_step=None if best is None else best.global_step,
        best_metrics=None if best is None else best.metrics,
        throughput=throughput,
        memory=MemoryFacts(
            peak_resident_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        ),
    )
    if result.finished:
        _log_result(result, record.manifest.outcome.steps)


def _log_result(result: "StageResult", steps: int) -> None:
    """Log what came out: the task's metrics, those of the best evaluation, and the losses."""
    losses = {name: value for name, value in result.metrics.items() if name.endswith("loss")}
    measured = {name: value for name, value in result.metrics.items() if name not in losses}
    log.info("finished", **({"steps": steps} if steps else {}), **measured)
    if result.best is not None:
        log.info("best", after_step=result.best.global_step, **result.best.metrics)
    if losses:
        log.info("losses", **losses)


@contextmanager
def profiled(calls: int | None, folder: Path, device: str) -> Iterator[Callable[[], None]]:
    """Profile calls of the device after the first, which compiles.

    Args:
        calls: How many; None profiles nothing.
        folder: Where the result goes.
        device: `Ascend` or `CPU`.

    Yields:
        What to call after every call of the device.
    """
    if calls is None:
        yield lambda: None
        return
    from mindspore.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

    activities = [ProfilerActivity.CPU]
    if device == "Ascend":
        activities.append(ProfilerActivity.NPU)
    profiler = profile(
        activities=activities,
        schedule=schedule(wait=0, warmup=0, active=calls, repeat=1, skip_first=1),
        on_trace_ready=tensorboard_trace_handler(str(folder)),
    )

    def step() -> None:
        with redirect_stdout(sys.stderr):  # it reports its progress on standard output
            profiler.step()

    profiler.start()
    try:
        yield step
    finally:
        with redirect_stdout(sys.stderr):
            profiler.stop()
