"""Links from a recipe to the results of other runs: by manifest, or by recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.data.sidecar import Sidecar, load_sidecar
from tinybert.errors import InputError, ManifestError, RecipeError, bulleted
from tinybert.files import digest_file
from tinybert.manifest.checkpoints import changed_file, changed_tensors, require_equal
from tinybert.manifest.document import Run, newest_first
from tinybert.manifest.model import Checkpoint
from tinybert.recipe.load import load
from tinybert.recipe.tables import ManifestLink, RecipeLink


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


def find_parent_run(link: ManifestLink | RecipeLink, root: Path) -> LinkedRun:
    """Return the run that a link of a recipe means; relative paths start from `root`.

    Raises:
        InputError: There is no such finished run, there are several with different outcomes, or
            its checkpoint is gone or is not as the run wrote it.
    """
    path = (
        root / link.manifest
        if isinstance(link, ManifestLink)
        else _finished_run(root / link.recipe, root)
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


def _finished_run(recipe: Path, root: Path) -> Path:
    """Return the manifest of the finished run of a recipe, as the recipe is now."""
    try:
        digest = load(recipe).digest
    except RecipeError as error:
        raise InputError("the linked recipe has problems", where=str(recipe)) from error
    by_outcome: dict[str, Path] = {}
    for path in newest_first(root, recipe.stem):
        try:
            run = Run.load(path)
        except ManifestError:
            continue
        if run.manifest.inputs.recipe.digest == digest and run.status == "finished":
            by_outcome.setdefault(run.manifest.digests.outcome, path)
    if not by_outcome:
        cure = f"run it first: `python runner.py {recipe}`"
        raise InputError("the linked recipe has no finished run", where=str(recipe), cure=cure)
    if len(by_outcome) > 1:
        cure = "name one of them: { manifest = ... }"
        message = "the linked recipe has runs with different outcomes:"
        message += bulleted(by_outcome.values())
        raise InputError(message, where=str(recipe), cure=cure)
    return next(iter(by_outcome.values()))
