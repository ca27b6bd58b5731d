"""The commands `run` and `rerun`: validate, plan, build, train, and leave a manifest in any case.

`rerun` takes recipe and inputs from a manifest, and ends with the verdict on both runs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from tinybert.arithmetic import require_instruction_sets
from tinybert.atomic import write_bytes
from tinybert.commands.chain import run_chain
from tinybert.compare.expectations import expectation_failures
from tinybert.compare.verify import changed_inputs
from tinybert.device import require_address_space, require_ascend
from tinybert.errors import (
    DeviceError,
    ExpectationError,
    InputError,
    StoppedError,
    TinybertError,
    UsageError,
    all_of,
    bulleted,
    counted,
)
from tinybert.files import PROGRAM, relative_to, relative_to_cwd
from tinybert.launch.preflight import preflight, process_bytes, require, require_space
from tinybert.launch.processes import HostJob, cluster_of, describe_job
from tinybert.manifest.document import LOG, Run, is_locked, require_own_place
from tinybert.manifest.identity import code_identity, read_processor, why_unknown
from tinybert.manifest.model import Code, Inputs, Parent
from tinybert.manifest.record import RunRecord
from tinybert.manifest.study import Study
from tinybert.plan.parent_runs import LinkedRun
from tinybert.plan.plan import Plan, changed_records, checkpoint_problems, describe, make_plan
from tinybert.plan.tokenizer import keep_tokenizer
from tinybert.recipe.load import ResolvedRecipe, load
from tinybert.recipe.tables import Topology, device_count
from tinybert.recipe.trial import trial_overrides
from tinybert.report.text import diff
from tinybert.run.execute import RunOptions, execute
from tinybert.run.lengthen import beginning_of, copy_beginning, shorter_run, start_parent
from tinybert.run.logs import configure
from tinybert.run.resume import origin_of, recipe_facts, resumable, resume
from tinybert.signals import StopRequest

log = structlog.get_logger()

DIFFERENT = 3
"""Exit code of `rerun` where the verdict is not that the runs agree."""
OTHER_RUN = (
    "where --set makes it another run, --set expect.KEY= removes what no longer holds: "
    "expect.steps, expect.metrics, expect.reference"
)
"""What to do where a changed recipe fails the expectations of the unchanged one."""


def run(recipes: Sequence[str], with_parents: bool, **options: Any) -> str:
    """Run a recipe, as `carry_out`, or several and those that they link to, as `run_chain`.

    The other options are the fields of `RunOptions`.
    """
    first = RunOptions(recipes[0], **options)
    with StopRequest() as stop:
        if with_parents or len(recipes) > 1:
            return run_chain(recipes, first, stop)
        return carry_out(first, stop)


def rerun(manifest: Path) -> tuple[str, int]:
    """Repeat the run of a manifest, and compare; return the comparison and the exit code.

    The recipe is the recorded text, not the file as it is now.

    Raises:
        InputError: An input is missing or is not what it was.
        ManifestError: The manifest cannot be read, or is not where its run put it.
        TinybertError: As `run`.
    """
    with StopRequest() as stop:
        again = _repeat(manifest, stop)
    text, differs = diff(manifest, again)
    return text, DIFFERENT if differs else 0


def _repeat(manifest: Path, stop: StopRequest) -> Path:
    """Run the recorded recipe on the recorded inputs; returns the new manifest."""
    source = Run.load(manifest)
    require_own_place(source)
    return Path(carry_out(recorded_options(source), stop))


def recorded_options(source: Run) -> RunOptions:
    """Return the options that run a recorded recipe again; its text is written to a file.

    Raises:
        InputError: An input is missing or is not what it was.
    """
    inputs, root = source.manifest.inputs, source.root
    changed, _ = changed_inputs(source, rehash=True)
    if changed:
        message = "inputs are not what they were:" + bulleted(changed)
        cure = "restore the files; `verify` lists them"
        raise InputError(message, where=str(source.path), cure=cure)
    facts = inputs.recipe
    code, _ = code_identity(PROGRAM)
    if inputs.code.digest != code.digest:
        log.warning("the program differs from the recorded one", recorded=origin_of(inputs.code))
    recipe = root / "runs" / facts.name / f"{facts.name}.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(recipe, facts.text.encode())
    overrides, device = facts.arguments()
    begun = inputs.begins_with
    return RunOptions(
        str(recipe),
        root,
        overrides,
        device,
        fresh=True,
        continues=None if begun is None else root / begun.manifest,
    )


def carry_out(options: RunOptions, stop: StopRequest) -> str:
    """Run a recipe; returns the manifest's path, or the plan of a dry run.

    A request to stop is honoured from the planning on.

    Raises:
        TinybertError: What went wrong; the manifest, if there is one yet, records it too.
    """
    events = configure(options.log_format)
    resolved = _resolve(options)
    plan = checked_plan(resolved, options)
    topology = resolved.recipe.topology
    _check_numbers(options, topology)
    first = None if options.continues is None else shorter_run(options.continues, plan)
    cluster = cluster_of(topology, options.host_rank)
    code, patch = code_identity(PROGRAM)
    if options.require_clean:
        _require_clean(code)
    if options.dry_run:
        return "\n".join([describe(plan), describe_job(plan, cluster)])
    several = device_count(topology) > 1
    if several:
        require(preflight(plan, cluster))
    if options.host_rank:
        return HostJob(options, plan, code, cluster, stop).run_other()
    with _record(options, plan, code, patch, first) as record:
        manifest = relative_to_cwd(record.path)
        events.open(record.directory / LOG)
        log.info("run", recipe=options.recipe, manifest=manifest)
        with _recorded_errors(record, manifest):
            if several:
                HostJob(options, plan, code, cluster, stop).run_first(record)
            elif not execute(plan, record, stop, profile=options.profile):
                assert stop.signum is not None
                raise StoppedError("stopped, and saved", signum=stop.signum)
    if failures := expectation_failures(Run.load(record.path)):
        raise ExpectationError(
            "the run finished, but not as its [expect] says:"
            + bulleted(failure.message for failure in failures),
            where=manifest,
            cure=OTHER_RUN if options.overrides else "",
        )
    return manifest


def _resolve(options: RunOptions) -> ResolvedRecipe:
    """Return the recipe with the changes of the command line, and of a trial."""
    resolved = load(options.recipe, options.overrides, options.device)
    if options.trial is None:
        return resolved
    shorter = [*options.overrides, *trial_overrides(resolved, options.trial)]
    return load(options.recipe, shorter, options.device)


def _check_numbers(options: RunOptions, topology: Topology) -> None:
    """Raise a UsageError if a number of the command line does not fit the run."""
    if options.profile is not None and options.profile < 1:
        raise UsageError(f"no profile of {options.profile} steps", cure="give 1 or more")
    if not 0 <= options.host_rank < topology.hosts:
        message = f"no host {options.host_rank} in a run of {counted(topology.hosts, 'host')}"
        raise UsageError(message, cure="count hosts from 0; see [topology] of the recipe")


def checked_plan(resolved: ResolvedRecipe, options: RunOptions) -> Plan:
    """Return the plan, or raise one error with every problem of files and device.

    A dry run reads the checkpoints and hashes prepared records too, which a run does when it needs
    them.
    """
    plan, plan_problems = make_plan(resolved, options.root)
    problems: list[TinybertError] = [*plan_problems]
    if options.dry_run:
        problems += [*changed_records(plan, plan_problems), *checkpoint_problems(plan)]
    topology = resolved.recipe.topology
    try:
        require_address_space(process_bytes(plan))
        require_space(plan)
        if topology.device == "CPU" and resolved.recipe.runtime.arithmetic == "portable":
            require_instruction_sets(read_processor().flags)
        if topology.device == "Ascend":
            require_ascend(topology.device_ids[0] if topology.device_ids else 0)
    except DeviceError as error:
        problems.insert(0, error)
    if problems:
        raise all_of(problems)
    return plan


def _require_clean(code: Code) -> None:
    """Raise a UsageError unless the code is known to be that of its commit."""
    if code.dirty:
        cure = "commit them, or leave out --require-clean"
        raise UsageError("the code has uncommitted changes", cure=cure)
    if code.dirty is None:
        message = f"it is not known whether the code is that of a commit: {why_unknown(PROGRAM)}"
        raise UsageError(message, cure="run it in its repository, or leave out --require-clean")


@contextmanager
def _recorded_errors(record: RunRecord, manifest: str) -> Iterator[None]:
    """Put an error of the body into the record, and the manifest's path into the error."""
    try:
        yield
    except StoppedError as stopped:
        stopped.where, stopped.cure = manifest, "the same command goes on from here"
        raise
    except BaseException as error:
        if is_locked(record.directory):  # else its end is recorded, or it is as it was
            with suppress(OSError):  # the disk may be what failed
                record.fail(error)
        if isinstance(error, TinybertError) and not error.where:
            error.where = manifest
        raise


def _record(
    options: RunOptions, plan: Plan, code: Code, patch: bytes, first: Run | None
) -> RunRecord:
    """Return the record of a new run, or of one that was cut off and goes on.

    A new one goes on from `first`, if that is given.

    Raises:
        InputError: The run that goes on began with the results of other runs.
    """
    resolved, record = plan.resolved, None
    parents = read_parents(plan, options.root)
    if first is not None:
        parents.append(start_parent(first, options.root))
    inputs = Inputs(
        stage=resolved.recipe.stage,
        recipe=recipe_facts(resolved),
        code=code,
        seeds={"seed": resolved.recipe.seed},
        parents=parents,
        trial=options.trial is not None,
        study=None if options.study is None else Study.load(options.study).digest,
        begins_with=None if first is None else beginning_of(first, options.root),
    )
    if options.resume is not None:
        record = resume(options.resume, resolved, code)
    elif not options.fresh:
        record = resumable(options.root, resolved, inputs)
    if record is not None:
        manifest = relative_to_cwd(record.path)
        log.warning("going on with a run that was cut off", manifest=manifest)
        try:
            require_parents(record, parents)
        except InputError as error:
            record.fail(error)
            raise
        return record
    record = RunRecord.plan(options.root, inputs)
    record.keep_patch(patch)
    keep_tokenizer(plan, record.directory)
    if first is not None:
        copy_beginning(record, first, plan)
    return record


def read_parents(plan: Plan, root: Path) -> list[Parent]:
    """Return the manifest's facts about the runs whose checkpoints a plan reads."""
    return [_parent(role, run, root) for role, run in plan.parents.items()]


def _parent(role: str, run: LinkedRun, root: Path) -> Parent:
    """Return the manifest's facts about a run whose checkpoint this run reads."""
    return Parent(
        role=role,
        manifest=relative_to(run.path, root),
        stage=run.manifest.inputs.stage,
        outcome_digest=run.manifest.digests.outcome,
    )


def require_parents(record: RunRecord, parents: list[Parent]) -> None:
    """Raise an InputError unless a run goes on with the results that it began with."""
    began = {parent.role: parent.outcome_digest for parent in record.manifest.inputs.parents}
    now = {parent.role: parent.outcome_digest for parent in parents}
    if changes := [
        f"{role}: outcome {now.get(role)}, not {began.get(role)}"
        for role in {**began, **now}
        if began.get(role) != now.get(role)
    ]:
        raise InputError(
            "the linked runs are not those that this run began with:" + bulleted(changes),
            where=str(record.path),
            cure="link to those runs, or start anew with --fresh",
        )
