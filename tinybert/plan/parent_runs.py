"""Links from a recipe to the results of other runs: by manifest, or by recipe."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.data.sidecar import Sidecar, load_sidecar
from tinybert.errors import InputError, ManifestError, RecipeError, at_most, bulleted
from tinybert.files import digest_file, relative_to_cwd
from tinybert.manifest.checkpoints import changed_file, changed_tensors, require_equal
from tinybert.manifest.document import Run, load_runs
from tinybert.manifest.model import Checkpoint
from tinybert.recipe.identity import changes
from tinybert.recipe.keys import as_toml
from tinybert.recipe.load import ResolvedRecipe, load
from tinybert.recipe.model import AnyRecipe
from tinybert.recipe.network import ROLES, Role
from tinybert.recipe.tables import ManifestLink, RecipeLink

MAX_LISTED = 8
"""Most differences that are named of a run that is not the one asked for."""
MAX_LINKS = 32
"""Links from a run to the runs that it read that are followed; chains have a few."""


@dataclass(frozen=True)
class LinkedRun(Run):
    """A finished run and the checkpoint that others take from it."""

    checkpoint: Path
    """The best checkpoint, or the last where nothing was evaluated."""
    recorded: Checkpoint
    """What the manifest has recorded about it."""

    def check_tensors(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Compare all tensors of the checkpoint with the recorded ones.

        Raises:
            InputError: They are not the same.
        """
        change = changed_tensors(arrays, self.recorded)
        require_equal(self.checkpoint, change, cure=_restore(self.path))

    def sidecars(self) -> list[tuple[Path, Sidecar]]:
        """Return (directory, content) of each records.json that the run read and nobody changed."""
        sidecars = []
        for file in self.manifest.inputs.files:
            path = self.root / file.path
            if file.role != "sidecar" or not path.is_file():
                continue
            if digest_file(path).sha256 == file.sha256:
                sidecar = load_sidecar(path.parent)
                assert sidecar is not None
                sidecars.append((path.parent, sidecar))
        return sidecars


def find_parent_run(
    link: ManifestLink | RecipeLink, root: Path, device: str | None = None
) -> LinkedRun:
    """Return the run that a link of a recipe names.

    Args:
        link: The link.
        root: Where its relative paths start.
        device: The device that the linked recipe was run on, if not its own.

    Raises:
        InputError: There is no such finished run, there are several with different outcomes, or
            its checkpoint is gone or is not as the run wrote it.
    """
    path = (
        root / link.manifest
        if isinstance(link, ManifestLink)
        else _finished_run(root / link.recipe, root, device)
    )
    try:
        run = Run.load(path)
    except ManifestError as error:
        raise InputError(error.message, where=error.where, cure=error.cure) from error
    if (state := run.status) != "finished":
        cure = "finish that run first: the same command goes on with it"
        raise InputError(f"the linked run is {state}", where=str(path), cure=cure)
    outcome = run.manifest.outcome
    chosen = outcome.best_checkpoint or (outcome.checkpoints[-1] if outcome.checkpoints else None)
    if chosen is None:
        raise InputError("the linked run left no checkpoint", where=str(path))
    checkpoint = run.folder / chosen.file
    if not checkpoint.exists():
        message = "the linked run's checkpoint is gone"
        raise InputError(message, where=str(checkpoint), cure=_restore(path))
    recorded = run.manifest.volatile.checkpoint_files.get(chosen.file)
    require_equal(checkpoint, changed_file(checkpoint, recorded), cure=_restore(path))
    return LinkedRun(path, run.manifest, checkpoint, chosen)


def _restore(manifest: Path) -> str:
    return f"restore it, or repeat the run: `rerun {manifest}`"


def _finished_run(recipe: Path, root: Path, device: str | None) -> Path:
    """Return the manifest of the finished run of a recipe, as the recipe is now."""
    try:
        runs = runs_of(readings_of(recipe, device), root)
    except RecipeError as error:
        raise InputError("the linked recipe has problems", where=str(recipe)) from error
    by_outcome: dict[str, Path] = {}
    for each in runs:
        if not each.differences:
            by_outcome.setdefault(each.run.manifest.digests.outcome, each.run.path)
    if not by_outcome:
        cure = f"run it first: `python runner.py {recipe}`"
        message = "the linked recipe has no finished run" + describe_nearest(runs)
        raise InputError(message, where=str(recipe), cure=cure)
    if len(by_outcome) > 1:
        cure = "name one of them: { manifest = ... }"
        message = "the linked recipe has runs with different outcomes:"
        message += bulleted(by_outcome.values())
        raise InputError(message, where=str(recipe), cure=cure)
    return next(iter(by_outcome.values()))


def describe_nearest(runs: Sequence["RecipeRun"]) -> str:
    """Return which run is nearest to what is asked for, and its differences, for a message."""
    if not runs:
        return ""
    nearest = min(runs, key=lambda each: len(each.differences))
    listed = at_most(MAX_LISTED, nearest.differences)
    return f"; the nearest is {relative_to_cwd(nearest.run.path)}:" + bulleted(listed)


@dataclass(frozen=True)
class RecipeRun:
    """A run of a recipe's name."""

    run: Run
    differences: list[str]
    """Why it is not the finished run of the recipe as that reads now; empty if it is."""


def runs_of(readings: Sequence[ResolvedRecipe], root: Path) -> list[RecipeRun]:
    """Return the runs of a recipe's name below a root, the newest first.

    Manifests that cannot be read are passed over.

    Args:
        readings: The recipe, once or more: the finished run is one of any of them.
        root: The directory with `manifests/`.
    """
    runs = load_runs(root, readings[0].name)
    return [RecipeRun(run, _why_not(run, readings, root)) for run in runs]


def find_finished_run(
    runs: Iterable[Run], readings: Sequence[ResolvedRecipe], root: Path
) -> Run | None:
    """Return the first finished run of a recipe as it reads now, if there is one; as `runs_of`."""
    return next((run for run in runs if not _why_not(run, readings, root)), None)


def readings_of(recipe: Path, device: str | None) -> list[ResolvedRecipe]:
    """Return a recipe as it reads, and on the device that the command line names."""
    return [load(recipe), *([load(recipe, device=device)] if device else [])]


def recipe_links(recipe: AnyRecipe) -> Iterator[tuple[Role, str]]:
    """Yield each network whose weights come from the run of another recipe, and that recipe."""
    for role in ROLES:
        link = getattr(getattr(recipe, role), f"load_{role}_ckpt_path", None)
        if isinstance(link, RecipeLink):
            yield role, link.recipe


def _why_not(run: Run, readings: Sequence[ResolvedRecipe], root: Path) -> list[str]:
    """Return why a run is not the finished run of a recipe; nothing if it is."""
    why = [] if (state := run.status) == "finished" else [f"it is {state}"]
    why += ["it is a trial"] if run.manifest.inputs.trial else []
    why += ["it goes on from another run"] if run.manifest.inputs.begins_with else []
    return [*why, *_differences(run, readings, root)]


def _differences(
    run: Run, readings: Sequence[ResolvedRecipe], root: Path, depth: int = 0
) -> list[str]:
    """Return how a run, and the runs that it read, differ from their recipes as these read now.

    A parent whose manifest is gone, or whose recipe cannot be read, is not compared.
    """
    before = run.manifest.inputs.recipe.values
    recipe, differing = min(
        ((reading, list(changes(before, reading.values))) for reading in readings),
        key=lambda pair: len(pair[1]),
    )
    if differing or depth == MAX_LINKS:
        name = recipe.path.name
        return [f"{c.key}: {_value(c.before)} there, {_value(c.now)} in {name}" for c in differing]
    parents, differences = {each.role: each for each in run.manifest.inputs.parents}, []
    for role, linked in recipe_links(recipe.recipe):
        if role not in parents:
            continue
        try:
            parent = Run.load(run.root / parents[role].manifest)
            linked_readings = readings_of(root / linked, recipe.device)
        except (ManifestError, RecipeError):
            continue
        theirs = _differences(parent, linked_readings, root, depth + 1)
        differences += [f"the {role} it read, {parent.path.name}: {text}" for text in theirs]
    return differences


def _value(value: Any) -> str:
    return "absent" if value is None else as_toml(value)
