"""The command `audit`: parts of a finished run are replayed, and every bit compared."""

import hashlib
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tinybert.attest.keys import read_private_key
from tinybert.attest.statement import audit_statement
from tinybert.audit.replay import ReplayJob, ReplayResult, read_result
from tinybert.audit.report import Audit
from tinybert.audit.stretches import Stretch, all_stretches, draw
from tinybert.commands.attest import require_free_envelope, write_envelope
from tinybert.commands.run import (
    DIFFERENT,
    checked_plan,
    read_parents,
    recorded_options,
    require_parents,
)
from tinybert.compare.consistency import consistency
from tinybert.compare.verify import changed_code
from tinybert.data.phases import TrainingPhase
from tinybert.errors import InputError, StoppedError, UsageError
from tinybert.files import PROGRAM
from tinybert.launch.preflight import preflight, require
from tinybert.launch.processes import HostJob, cluster_of
from tinybert.manifest.document import Run, new_run_id, require_own_place, utc_now
from tinybert.manifest.identity import code_identity
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.plan.plan import Plan
from tinybert.recipe.identity import has_effect
from tinybert.recipe.load import load, resolve
from tinybert.recipe.tables import device_count
from tinybert.run.execute import RunOptions, execute
from tinybert.run.logs import configure
from tinybert.signals import StopRequest


def audit(
    manifest: Path,
    *,
    segments: int,
    steps: int,
    nonce: str | None,
    processes: int | None,
    threads: int | None,
    sign: Path | None,
    output: Path | None,
    force: bool,
) -> tuple[str, int]:
    """Replay parts of a finished run, and compare them with its trace.

    Args:
        manifest: The run's manifest.
        segments: How many stretches to draw.
        steps: Most steps of each.
        nonce: What the draw depends on beside the outcome; None: a random one.
        processes: Processes of this host that replay; None: as many as the run had. Others
            give its bits where the recipe has micro-batches.
        threads: Threads of an operator; None: as many as the run had.
        sign: The private key that signs the report; None: it is not signed.
        output: The signed statement's file; None: beside the manifest.
        force: Replace a statement that is there.

    Returns:
        The report, and the exit code: 0 nothing differs, 3 something does.

    Raises:
        TinybertError: As `rerun`; the run is not finished, trains nothing, or its files are gone.
    """
    if segments < 1 or steps < 1:
        raise UsageError("nothing to replay", cure="give --segments and --steps of 1 or more")
    if output is not None and sign is None:
        raise UsageError("there is nothing to write without --sign", cure="name a private key")
    run = Run.load(manifest)
    _require_auditable(run)
    overrides = _overrides(run, processes, threads)
    nonce = nonce or secrets.token_hex(16)
    key = None
    if sign is not None:
        key = read_private_key(sign)
        name = f".audit-{hashlib.sha256(nonce.encode()).hexdigest()[:8]}.intoto.json"
        output = output or manifest.with_suffix(name)
        require_free_envelope(output, manifest, sign, force=force)
    with StopRequest() as stop:
        done = carry_out_audit(run, segments, steps, nonce, stop, overrides)
    text = done.text
    if key is not None and output is not None:
        text += write_envelope(output, audit_statement(run, done.predicate), key)
    return text, 0 if done.same else DIFFERENT


def _overrides(run: Run, processes: int | None, threads: int | None) -> list[str]:
    """Return what a replay changes in the recipe, as arguments of `--set`.

    Raises:
        RecipeError: The recorded recipe is not one of this version.
        UsageError: Results depend on the number of processes.
    """
    overrides = [] if threads is None else [f"runtime.threads={threads}"]
    if processes is None:
        return overrides
    facts = run.manifest.inputs.recipe
    resolved = resolve(facts.path, facts.text.encode(), *facts.arguments())
    topology = resolved.recipe.topology
    if (topology.hosts, topology.devices_per_host) == (1, processes):
        return overrides
    if has_effect("topology.hosts", resolved.values):
        message = "the bits of this run depend on the number of its processes"
        cure = "leave out --processes: the recipe has no `micro_batches`"
        raise UsageError(message, where=str(run.path), cure=cure)
    overrides += ["topology.hosts=1", f"topology.devices_per_host={processes}"]
    return overrides if topology.device_ids is None else [*overrides, "topology.device_ids="]


def carry_out_audit(
    run: Run,
    segments: int,
    steps: int,
    nonce: str,
    stop: StopRequest,
    overrides: Sequence[str] = (),
) -> Audit:
    """Check a manifest against itself and its trace, then replay what is drawn; see `audit`.

    `overrides` change the recipe, as arguments of `--set`.
    """
    configure("console")
    outcome, digest = run.manifest.outcome, run.manifest.digests.outcome
    agreement = consistency(run, same_program=changed_code(run) is None)
    if agreement.problems:
        return Audit(digest, outcome.steps, nonce, contradictions=agreement.problems)
    if not agreement.committed:
        cure = "an earlier version of the program wrote it: `rerun` repeats the run whole"
        message = "the trace has no digests of states"
        raise InputError(message, where=str(run.folder / TRACE), cure=cure)
    options = recorded_options(run)
    options = replace(options, overrides=[*options.overrides, *overrides])
    plan = checked_plan(load(options.recipe, options.overrides, options.device), options)
    stretches = _stretches(run, plan.phases, agreement.committed, steps)
    drawn = draw(stretches, segments, digest, nonce)
    began = time.monotonic()
    options = replace(options, replay=ReplayJob(run.path.absolute(), tuple(drawn)))
    result = _replay(run, plan, options, stop)
    seconds = time.monotonic() - began
    return Audit(digest, outcome.steps, nonce, stretches, drawn, result=result, seconds=seconds)


def _require_auditable(run: Run) -> None:
    """Raise an error unless a run is finished, trained something, and has its files here."""
    require_own_place(run)
    if (status := run.status) != "finished":
        raise UsageError(
            f"only a finished run is audited; this one is {status}", where=str(run.path)
        )
    if run.manifest.inputs.begins_with is not None:
        cure = "audit that run, or `rerun` this one"
        message = "a run that goes on from another cannot be audited"
        raise UsageError(message, where=str(run.path), cure=cure)
    outcome = run.manifest.outcome
    if outcome.trace_digest is None:
        cure = "`rerun` repeats it whole"
        raise UsageError("this run trained nothing to replay", where=str(run.path), cure=cure)
    needed = {"trace": TRACE}
    if outcome.checkpoints:
        needed["last checkpoint"] = outcome.checkpoints[-1].file
    if outcome.best_checkpoint is not None:
        needed["best checkpoint"] = outcome.best_checkpoint.file
    for name, file in needed.items():
        if not (path := run.folder / file).is_file():
            cure = "copy the run's folder with its manifest"
            raise InputError(f"the run's {name} is not here", where=str(path), cure=cure)


def _stretches(
    run: Run, phases: tuple[TrainingPhase, ...], committed: Collection[int], length: int
) -> list[Stretch]:
    """Return all stretches of a run's trainings."""
    kept = {
        checkpoint.step: checkpoint.file
        for checkpoint in run.manifest.outcome.checkpoints
        if checkpoint.step in committed and (run.folder / checkpoint.file).is_file()
    }
    stretches, before = list[Stretch](), 0
    for phase in phases:
        stretches += all_stretches(
            phase.name,
            steps_before=before,
            total_steps=phase.total_steps,
            kept=kept,
            committed=committed,
            length=length,
        )
        before += phase.total_steps
    return stretches


def _replay(run: Run, plan: Plan, options: RunOptions, stop: StopRequest) -> ReplayResult:
    """Replay in this process, or in as many as the run had."""
    topology = plan.resolved.recipe.topology
    if topology.hosts > 1:
        message = f"an audit uses one host; this run had {topology.hosts}"
        cure = "with `micro_batches` in the recipe, --processes names how many replay here"
        raise UsageError(message, where=str(run.path), cure=cure)
    cluster = cluster_of(topology)
    if device_count(topology) > 1:
        require(preflight(plan, cluster))
    with _scratch_record(run) as record:
        require_parents(record, read_parents(plan, options.root))
        if device_count(topology) > 1:
            code, _ = code_identity(PROGRAM)
            HostJob(options, plan, code, cluster, stop).run_first(record)
        elif not execute(plan, record, stop, replay=options.replay):
            assert stop.signum is not None
            raise StoppedError("stopped", signum=stop.signum)
        return read_result(record.directory)


@contextmanager
def _scratch_record(run: Run) -> Iterator[RunRecord]:
    """Give a replay a record of its own, with the inputs of the run, beside the run's folder.

    It is removed where the replay ends, unless by an error, which may name a log in it.
    """
    inputs = run.manifest.inputs
    run_id = new_run_id(run.root, inputs.recipe.name, utc_now())
    folder = Path("runs", inputs.recipe.name, run_id)
    try:
        with RunRecord.fragment(run.root, folder, run_id, inputs) as record:
            yield record
    except StoppedError:
        shutil.rmtree(run.root / folder)
        raise
    shutil.rmtree(run.root / folder)
