"""Going on from a finished run to more steps, as a run of its own that has the first as parent.

The new run begins with copies of the first one's trace and checkpoints, and is then as one that
was cut off there.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from tinybert.atomic import atomic_replace
from tinybert.errors import InputError, UsageError, bulleted
from tinybert.files import relative_to
from tinybert.manifest.document import START, Run, require_own_place
from tinybert.manifest.model import Beginning, Parent
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.plan.plan import Plan
from tinybert.recipe.identity import changes
from tinybert.recipe.model import Finetune, GeneralDistill

MAY_DIFFER = ("training.", "optimizer.schedule.", "checkpoints.")
"""Tables that may be other ones: length, learning rate, and when to save."""


def shorter_run(path: Path, plan: Plan) -> Run:
    """Return the run of a manifest, which the plan of a longer one can go on from.

    Raises:
        InputError: It is not finished, its checkpoint or its trace is gone, or it is not shorter.
        ManifestError: The manifest cannot be read, or is elsewhere.
        UsageError: Its recipe differs in more than length and learning rate.
    """
    first = Run.load(path)
    require_own_place(first)
    recipe, outcome = plan.resolved.recipe, first.manifest.outcome
    if not isinstance(recipe, Finetune | GeneralDistill):
        message = f"a run of {recipe.stage} does not go on to more steps"
        raise UsageError(message, cure="go on from a fine-tuning or a general distillation")
    if first.status != "finished":
        cure = "the same command, without --continue, finishes it"
        raise InputError(f"the run is {first.status}", where=str(path), cure=cure)
    others = [
        f"{change.key}: {change.before!r} then, {change.now!r} now"
        for change in changes(first.manifest.inputs.recipe.values, plan.resolved.values)
        if not change.key.startswith(MAY_DIFFER)
    ]
    if others:
        message = "the recipe differs in more than its length and learning rate:"
        raise UsageError(message + bulleted(others), where=str(path))
    total = sum(phase.total_steps for phase in plan.phases)
    if total <= outcome.steps:
        message = f"the run has done {outcome.steps} steps, and the recipe asks for {total}"
        raise InputError(message, where=str(path), cure="--set training.train_steps=N, for more")
    last = outcome.checkpoints[-1] if outcome.checkpoints else None
    files = [first.folder / TRACE, *([first.folder / last.file] if last else [])]
    if last is None or last.step != outcome.steps or not all(map(Path.is_file, files)):
        message = "the trace, or the checkpoint after the last step, is gone"
        raise InputError(message, where=str(first.folder))
    return first


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
    """Return the manifest's facts about the run that another goes on from."""
    return Parent(
        role=START,
        manifest=relative_to(first.path, root),
        stage=first.manifest.inputs.stage,
        outcome_digest=first.manifest.digests.outcome,
    )


def copy_beginning(record: RunRecord, first: Run) -> None:
    """Copy what a run left into the folder of a new one, whose manifest then records it."""
    outcome = first.manifest.outcome
    kept = [outcome.checkpoints[-1], *filter(None, [outcome.best_checkpoint])]
    names = {TRACE, *(name for each in kept for name in (each.file, each.tensor_table))}
    for name in names:
        target = record.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replace(target) as temporary:
            shutil.copyfile(first.folder / name, temporary)
    files = first.manifest.volatile.checkpoint_files
    record.update(
        inputs=replace(record.manifest.inputs, files=first.manifest.inputs.files),
        outcome=replace(
            record.manifest.outcome,
            checkpoints=kept[:1],
            best_checkpoint=outcome.best_checkpoint,
        ),
        volatile=replace(
            record.manifest.volatile,
            checkpoint_files={name: files[name] for name in names & files.keys()},
            modified=first.manifest.volatile.modified,
        ),
    )
