"""Going on with a run that a manifest names, and only with that run."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinybert.errors import UsageError
from tinybert.manifest.document import read_manifest
from tinybert.manifest.identity import CodeIdentity
from tinybert.manifest.model import Code, Manifest
from tinybert.manifest.record import RunRecord
from tinybert.recipe.load import ResolvedRecipe


def resume(path: Path, resolved: ResolvedRecipe, code: CodeIdentity) -> RunRecord:
    """Reopen a run for the recipe and code that it began with.

    A value of the recipe may differ where the command line names it, by `--set` or `--device`.

    Raises:
        ManifestError: The manifest cannot be read, its run finished, or is under way.
        UsageError: Recipe or code differ; the message lists how.
    """
    manifest = read_manifest(path)
    require_code(manifest, code, path)
    named = {override.partition("=")[0] for override in resolved.overrides}
    named |= {"topology.device", "runtime.enable_data_sink"} if resolved.device else set()
    named |= {key for key, origin in resolved.origins.items() if origin.kind == "derived"}
    changes = [
        f"{key}: {before!r} then, {now!r} now"
        for key, before, now in _changes(manifest.inputs.recipe.values, resolved.values)
        if key not in named
    ]
    if changes:
        raise UsageError(
            "the recipe is not the one that this run began with:"
            + "".join(f"\n  - {change}" for change in changes),
            where=str(path),
            cure="undo the changes, or name each on the command line with `--set`",
        )
    record = RunRecord.reopen(path)
    if manifest.inputs.recipe.digest != resolved.digest:
        record.update(inputs={"recipe": recipe_facts(resolved)})
    return record


def require_code(manifest: Manifest, code: CodeIdentity, path: Path) -> None:
    """Raise a UsageError unless the program is the one that wrote the manifest."""
    recorded = manifest.inputs.code
    if recorded.digest != code.facts["digest"]:
        cure = f"go back to {origin_of(recorded)}, or start anew with --fresh"
        raise UsageError(
            "the program is not the one that began this run", where=str(path), cure=cure
        )


def origin_of(code: Code) -> str:
    """Return where the recorded program can be had: its commit, and its patch."""
    if code.commit is None:
        return f"the program with digest {code.digest[:12]}, which was in no repository"
    if code.patch is None:
        return f"commit {code.commit[:12]}"
    if code.patch.file is None:
        return f"commit {code.commit[:12]} with a patch that was too large to keep"
    return f"commit {code.commit[:12]} with the patch manifests/{code.patch.file}"


def recipe_facts(resolved: ResolvedRecipe) -> dict[str, Any]:
    """Return the manifest's `inputs.recipe`."""
    arguments = [f"--set {override}" for override in resolved.overrides]
    if resolved.device is not None:
        arguments.append(f"--device {resolved.device}")
    return {
        "name": resolved.name,
        "path": str(resolved.path),
        "text": resolved.text,
        "text_sha256": resolved.text_sha256,
        "digest": resolved.digest,
        "overrides": arguments,
        "values": resolved.values,
        "origins": {key: asdict(origin) for key, origin in resolved.origins.items()},
    }


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], table: str = ""
) -> list[tuple[str, Any, Any]]:
    """Return dotted key and both values of everything that differs."""
    found = []
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _changes(old, new, f"{table}{key}.")
        elif old != new:
            found.append((f"{table}{key}", old, new))
    return found
