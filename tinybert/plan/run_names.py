"""The names of a run: its manifest's path, its name or a beginning of it, `latest`, a recipe."""

import os
from pathlib import Path

from tinybert.errors import InputError, UsageError, at_most, bulleted
from tinybert.files import relative_to_cwd
from tinybert.manifest.document import newest_first
from tinybert.manifest.exported import RECORD_FILE
from tinybert.plan.parent_runs import MAX_LISTED, describe_nearest, readings_of, runs_of

LATEST = "latest"
CHECKPOINTS = (".ckpt", ".safetensors", ".bin")
"""Endings of the files that a command may be given in the place of a run."""


def find_record(name: str, root: Path) -> Path:
    """Return the manifest of a run, as `find_manifest`, or the record in an export's directory."""
    found = find_manifest(name, root)
    return found / RECORD_FILE if (found / RECORD_FILE).is_file() else found


def find_manifest(name: str, root: Path) -> Path:
    """Return the manifest of the run with a name.

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
    named = every[:1] if name == LATEST else [one for one in every if one.name.startswith(name)]
    if len(named) == 1:
        return Path(relative_to_cwd(named[0]))
    if not named and path.suffix in CHECKPOINTS:
        return path
    if not named:
        cure = "name a manifest, a recipe, `latest`, or the beginning of a run; see `runs`"
        raise UsageError(f"no run is named `{name}`", where=str(root / "manifests"), cure=cure)
    listed = at_most(MAX_LISTED, [one.stem for one in named])
    message = f"{len(named)} runs have names that begin with `{name}`:" + bulleted(listed)
    raise UsageError(message, cure="name more of it")
