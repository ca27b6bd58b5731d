"""The names of a run: its manifest's path, its name or a beginning of it, `latest`, a recipe."""

import os
from pathlib import Path

from tinybert.errors import InputError, UsageError, bulleted
from tinybert.files import relative_to_cwd
from tinybert.manifest.document import newest_first
from tinybert.plan.parent_runs import LISTED, describe_nearest, readings_of, runs_of

LATEST = "latest"
CHECKPOINTS = (".ckpt", ".safetensors", ".bin")
"""Endings of the files that a command may be given in the place of a run."""


def find_manifest(name: str, root: Path) -> Path:
    """Return the manifest of the run that a name means.

    A path that is there, or could be one, is taken as it is: who reads it reports what is wrong.
    The name of a checkpoint could be one unless it begins the name of a run.

    Args:
        name: A path; or the name of a run, or a beginning that is no other run's; or `latest`; or a
            recipe, which means its newest finished run, as the recipe reads now.
        root: The directory with `manifests/`.

    Raises:
        InputError: The recipe has no finished run.
        RecipeError: The recipe cannot be read, or has problems.
        UsageError: No run has this name, or several.
    """
    path = Path(name)
    if path.suffix == ".toml":
        runs = runs_of(readings_of(path, None), root)
        finished = [each.run.path for each in runs if not each.differences]
        if not finished:
            message = "the recipe has no finished run" + describe_nearest(runs)
            raise InputError(message, where=name, cure=f"run it first: `python runner.py {name}`")
        return Path(relative_to_cwd(finished[0]))
    if os.path.lexists(path) or path.suffix == ".json" or len(path.parts) != 1:
        return path
    every = newest_first(root)
    found = every[:1] if name == LATEST else [one for one in every if one.name.startswith(name)]
    if len(found) == 1:
        return Path(relative_to_cwd(found[0]))
    if not found and path.suffix in CHECKPOINTS:
        return path
    if not found:
        cure = "name a manifest, a recipe, `latest`, or the beginning of a run; see `runs`"
        raise UsageError(f"no run is named `{name}`", where=str(root / "manifests"), cure=cure)
    more = len(found) - LISTED
    listed = [*(one.stem for one in found[:LISTED]), *([f"and {more} more"] if more > 0 else [])]
    message = f"{len(found)} runs have names that begin with `{name}`:" + bulleted(listed)
    raise UsageError(message, cure="name more of it")
