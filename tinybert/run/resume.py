"""Resuming a run that was cut off, and only that run."""

from dataclasses import replace
from pathlib import Path

from tinybert.errors import ManifestError, UsageError, bulleted
from tinybert.manifest.document import Run, newest_first, read_manifest
from tinybert.manifest.model import Code, Inputs, RecipeFacts, ValueOrigin
from tinybert.manifest.record import RunRecord
from tinybert.recipe.identity import changes
from tinybert.recipe.keys import dotted, partners
from tinybert.recipe.load import ResolvedRecipe

COMPARED = ("trial", "study", "begins_with")
"""The inputs, beside recipe and code, that a run must share with the one that resumes it."""


def resume(path: Path, resolved: ResolvedRecipe, code: Code) -> RunRecord:
    """Reopen a run for the recipe and code that it began with.

    A value of the recipe may differ where the command line names it, by `--set` or `--device`.

    Raises:
        ManifestError: The manifest cannot be read, its run finished, or is under way.
        UsageError: Recipe or code differ; the message lists how.
    """
    manifest = read_manifest(path)
    if (recorded := manifest.inputs.code).digest != code.digest:
        message = "the program is not the one that began this run"
        cure = f"go back to {origin_of(recorded)}, or start anew with --fresh"
        raise UsageError(message, where=str(path), cure=cure)
    named = {override.partition("=")[0] for override in resolved.overrides}
    named |= {dotted(key) for name in named for key in partners(tuple(name.split(".")))}
    named |= {"topology.device", "runtime.enable_data_sink"} if resolved.device else set()
    named |= {key for key, origin in resolved.origins.items() if origin.kind == "derived"}
    problems = [
        change
        for change in changes(manifest.inputs.recipe.values, resolved.values)
        if change.key not in named
    ]
    if problems:
        raise UsageError(
            "the recipe is not the one that this run began with:" + bulleted(problems),
            where=str(path),
            cure="undo the changes, or name each on the command line with `--set`",
        )
    return _reopen(path, resolved)


def _reopen(path: Path, resolved: ResolvedRecipe) -> RunRecord:
    """Reopen a run, with the recipe as it is now: its expectations may be other ones."""
    record = RunRecord.reopen(path)
    if record.manifest.inputs.recipe.digest != resolved.digest:
        inputs = replace(record.manifest.inputs, recipe=recipe_facts(resolved))
        record.update(inputs=inputs)
    return record


def resumable(root: Path, resolved: ResolvedRecipe, wanted: Inputs) -> RunRecord | None:
    """Reopen the newest run of a recipe and a program if it was abandoned or interrupted.

    `wanted` has the inputs of a new run: a trial is resumed by a trial alone, a run of a study by
    that study.

    A newer run of the same recipe and code that ended otherwise, or that is under way, leaves
    nothing to resume. Manifests that cannot be read are passed over.
    """
    for path in newest_first(root, resolved.name):
        try:
            run = Run.load(path)
        except ManifestError:
            continue
        inputs = run.manifest.inputs
        equal = (getattr(inputs, name) == getattr(wanted, name) for name in COMPARED)
        same = all(equal) and not any(changes(inputs.recipe.values, resolved.values))
        if same and inputs.code.digest == wanted.code.digest:
            cut_off = run.status in ("abandoned", "interrupted")
            return _reopen(path, resolved) if cut_off else None
    return None


def origin_of(code: Code) -> str:
    """Return where the recorded program can be had: its commit, and its patch."""
    if code.commit is None:
        return f"the program with digest {code.digest[:12]}, which was in no repository"
    if code.patch is None:
        return f"commit {code.commit[:12]}"
    if code.patch.file is None:
        return f"commit {code.commit[:12]} with a patch that was too large to keep"
    return f"commit {code.commit[:12]} with the patch manifests/{code.patch.file}"


def recipe_facts(resolved: ResolvedRecipe) -> RecipeFacts:
    """Return the manifest's facts about a recipe."""
    arguments = [f"--set {override}" for override in resolved.overrides]
    if resolved.device is not None:
        arguments.append(f"--device {resolved.device}")
    return RecipeFacts(
        name=resolved.name,
        path=str(resolved.path),
        text=resolved.text,
        text_sha256=resolved.text_sha256,
        digest=resolved.digest,
        overrides=arguments,
        values=resolved.values,
        origins={
            key: ValueOrigin(kind=origin.kind, place=origin.place)
            for key, origin in resolved.origins.items()
        },
    )
