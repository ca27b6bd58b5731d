"""Continuing a finished run to more steps, as a run of its own whose parent is the first.

The new run begins with copies of the first one's trace and checkpoints, and is then resumed like a
run that was cut off there. Of several phases, the last one is continued.
"""

import shutil
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from tinybert.atomic import atomic_replace
from tinybert.errors import InputError, UsageError, bulleted
from tinybert.files import relative_to
from tinybert.manifest.document import START, Run, require_own_place
from tinybert.manifest.model import Beginning, Checkpoint, Parent
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.plan.plan import Plan
from tinybert.recipe.identity import changes
from tinybert.recipe.model import TaskDistill

MAY_DIFFER = ("training.", "optimizer.schedule.", "checkpoints.")
"""Tables of the continued training that may differ from the first run's: length, learning rate,
and when to save."""


def shorter_run(path: Path, plan: Plan) -> Run:
    """Return the run of a manifest, which the plan of a longer one can go on from.

    Raises:
        InputError: It is not finished, its checkpoint or its trace is gone, or it is not shorter.
        ManifestError: The manifest cannot be read, or is elsewhere.
        UsageError: Its recipe differs in more than length and learning rate, or trains nothing.
    """
    first = Run.load(path)
    require_own_place(first)
    outcome = first.manifest.outcome
    if not plan.phases:
        message = "an evaluation does not go on to more steps"
        raise UsageError(message, cure="go on from a training")
    table = _table_of_last(plan)
    if first.status != "finished":
        cure = "the same command, without --continue, finishes it"
        raise InputError(f"the run is {first.status}", where=str(path), cure=cure)
    others = [
        change
        for change in changes(first.manifest.inputs.recipe.values, plan.resolved.values)
        if not change.key.startswith(tuple(table + name for name in MAY_DIFFER))
    ]
    if others:
        of_phase = f" of {plan.phases[-1].name}" if table else ""
        message = f"the recipe differs in more than the length and learning rate{of_phase}:"
        raise UsageError(message + bulleted(others), where=str(path))
    total = sum(phase.total_steps for phase in plan.phases)
    if total <= outcome.steps:
        message = f"the run has done {outcome.steps} steps, and the recipe asks for {total}"
        cure = f"--set {table}training.train_steps=N, for more"
        raise InputError(message, where=str(path), cure=cure)
    ends = last_checkpoints(first, plan)
    files = [first.folder / TRACE, *(first.folder / each.file for each in ends)]
    if len(ends) < len(plan.phases) or not all(map(Path.is_file, files)):
        message = "the trace, or the checkpoint after the last step, is gone"
        raise InputError(message, where=str(first.folder))
    return first


def _table_of_last(plan: Plan) -> str:
    """Return what the names of the tables of a plan's last training begin with."""
    of_phases = isinstance(plan.resolved.recipe, TaskDistill)
    return f"{plan.phases[-1].name}." if of_phases else ""


def last_checkpoints(first: Run, plan: Plan) -> list[Checkpoint]:
    """Return the checkpoint after the last step of each training of a run.

    Args:
        first: The run.
        plan: That of a longer run, which has the same trainings before the last.
    """
    outcome = first.manifest.outcome
    ends = {outcome.steps, *accumulate(phase.total_steps for phase in plan.phases[:-1])}
    return [checkpoint for checkpoint in outcome.checkpoints if checkpoint.step in ends]


def beginning_of(first: Run, root: Path) -> Beginning:
    """Return what a longer run takes over from a run."""
    outcome = first.manifest.outcome
    assert outcome.trace_digest is not None  # it has trained
    return Beginning(
        manifest=relative_to(first.path, root),
        step=outcome.steps,
        trace_digest=outcome.trace_digest,
    )


def start_parent(first: Run, root: Path) -> Parent:
    """Return the manifest's facts about the run that another continues."""
    return Parent(
        role=START,
        manifest=relative_to(first.path, root),
        stage=first.manifest.inputs.stage,
        outcome_digest=first.manifest.digests.outcome,
    )


def copy_beginning(record: RunRecord, first: Run, plan: Plan) -> None:
    """Copy what a run left into the folder of a new one, whose manifest then records it."""
    outcome, effective = first.manifest.outcome, first.manifest.effective
    ends = last_checkpoints(first, plan)
    names = {TRACE}
    for kept in filter(None, [*ends, outcome.best_checkpoint]):
        names |= {kept.file, kept.tensor_table}
    for name in names:
        target = record.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replace(target) as temporary:
            shutil.copyfile(first.folder / name, temporary)
    files = first.manifest.volatile.checkpoint_files
    earlier = [phase.name for phase in plan.phases[:-1]]
    if effective is not None and earlier:
        phases = {name: effective.phases[name] for name in earlier}
        record.update(effective=replace(effective, phases=phases))
    record.update(
        inputs=replace(record.manifest.inputs, files=first.manifest.inputs.files),
        outcome=replace(
            record.manifest.outcome, checkpoints=ends, best_checkpoint=outcome.best_checkpoint
        ),
        volatile=replace(
            record.manifest.volatile,
            checkpoint_files={name: files[name] for name in names & files.keys()},
            modified=first.manifest.volatile.modified,
        ),
    )
