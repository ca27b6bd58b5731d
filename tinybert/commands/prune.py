"""The command `prune`: removes what nothing needs, after saying what and how much."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinybert.errors import ManifestError, UsageError, counted
from tinybert.files import relative_to_cwd
from tinybert.manifest.document import Run, is_locked, newest_first, require_own_place
from tinybert.recipe.identity import changes
from tinybert.report.runs import folder_bytes, size_text
from tinybert.report.table import as_table

CACHES = {"store": "imported records", "teacher": "a teacher's outputs"}
"""Folders below runs/ whose content the next run that needs it makes again."""


@dataclass(frozen=True)
class Unneeded:
    """A folder that may be removed."""

    folder: Path
    why: str


def prune(manifests: Sequence[Path], *, caches: bool, yes: bool, root: Path) -> str:
    """Remove folders that nothing needs; manifests stay, as the record of what ran.

    Without names: of runs that failed, of those that were cut off before a later run of their
    recipe, of those that a later run repeated bit for bit, and those without a manifest. Folders
    that a run is built on, and those of runs that a process carries out, stay in any case.

    Args:
        manifests: The runs whose folders are to go; without any, those that nothing needs.
        caches: Remove imported records and teachers' outputs as well.
        yes: Do not ask.
        root: The directory with runs/ and manifests/.

    Raises:
        UsageError: A named run is not below the root, or is one that others are built on, or that
            a process carries out; or a process carries out a run that may read a cache.
    """
    every = list(_every_run(root))
    unneeded = list(_named(manifests, every) if manifests else _unneeded(every, root))
    unneeded += _caches(root) if caches else []
    if not unneeded:
        return "nothing to remove"
    sizes = [folder_bytes(each.folder) for each in unneeded]
    rows = [
        (size_text(size), relative_to_cwd(each.folder), each.why)
        for size, each in zip(sizes, unneeded, strict=True)
    ]
    total = f"{counted(len(unneeded), 'folder')}, {size_text(sum(sizes))}"
    if not yes:
        print("\n".join(as_table(rows)), file=sys.stderr)
        if not sys.stdin.isatty():
            return f"{total}: nothing was removed; --yes removes them"
        print(f"remove {total}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return "nothing was removed"
    for each in unneeded:
        _require_unused(each.folder)  # again: a run may have begun since they were listed
        shutil.rmtree(each.folder)
    return "\n".join([*as_table(rows), f"removed: {total}"])


def _every_run(root: Path) -> Iterator[Run]:
    for path in newest_first(root):
        try:
            run = Run.load(path)
            require_own_place(run)
        except ManifestError:
            continue
        yield run


def _needed(runs: Sequence[Run]) -> dict[Path, str]:
    """Return the folders that are needed: by other runs, or by a process; and why."""
    folders = {run.path.resolve(): run.folder for run in runs}
    needed = {run.folder: "a process is carrying it out" for run in runs if is_locked(run.folder)}
    for run in runs:
        for parent in run.manifest.inputs.parents:
            folder = folders.get((run.root / parent.manifest).resolve())
            if folder is not None:
                needed.setdefault(folder, f"{run.path.stem} is built on it")
    return needed


def _named(manifests: Sequence[Path], every: Sequence[Run]) -> Iterator[Unneeded]:
    needed = _needed(every)
    known = {run.path.resolve(): run for run in every}
    for path, manifest in {manifest.resolve(): manifest for manifest in manifests}.items():
        run = known.get(path)
        if run is None:
            run = Run.load(manifest)
            require_own_place(run)
            cure = f"name its root: --root {relative_to_cwd(run.root)}"
            raise UsageError("the run is not below the root", where=str(manifest), cure=cure)
        if why := needed.get(run.folder):
            raise UsageError(f"the run is needed: {why}", where=str(manifest))
        if run.folder.is_dir():
            yield Unneeded(run.folder, "named")


def _unneeded(every: Sequence[Run], root: Path) -> Iterator[Unneeded]:
    needed = _needed(every)
    for place, run in enumerate(every):
        if run.folder in needed or not run.folder.is_dir():
            continue
        later = [one for one in every[:place] if _same_recipe(one, run)]
        if run.status == "failed":
            yield Unneeded(run.folder, "failed")
        elif run.status != "finished" and later:
            yield Unneeded(run.folder, f"{run.status}, and run again")
        elif run.status == "finished" and any(_same_outcome(one, run) for one in later):
            yield Unneeded(run.folder, "repeated, with the same outcome")
    known = {run.folder.resolve() for run in every}  # also by the name of a symbolic link
    listed = {path.stem for path in newest_first(root)}
    for folder in sorted((root / "runs").glob("*/*")):
        name = f"{folder.parent.name}-{folder.name}"
        if folder.parent.name in CACHES or not folder.is_dir() or name in listed:
            continue
        if folder.resolve() not in known and not is_locked(folder):
            yield Unneeded(folder, "without a manifest")


def _same_recipe(one: Run, other: Run) -> bool:
    mine, theirs = one.manifest.inputs.recipe, other.manifest.inputs.recipe
    return mine.name == theirs.name and not any(changes(mine.values, theirs.values))


def _same_outcome(one: Run, other: Run) -> bool:
    return one.folder.is_dir() and one.manifest.digests.outcome == other.manifest.digests.outcome


def _caches(root: Path) -> Iterator[Unneeded]:
    for name, what in CACHES.items():
        folder = root / "runs" / name
        _require_unused(folder)
        if folder.is_dir():
            yield Unneeded(folder, f"{what}, made again when needed")


def _require_unused(folder: Path) -> None:
    """Check that no process carries out the run of a folder, or any run that may read a cache."""
    is_cache = folder.name in CACHES
    for used in folder.parent.glob("*/*") if is_cache else [folder]:
        if is_locked(used):
            reads = ", and may read them" if is_cache else ""
            message = f"{used.parent.name}-{used.name} is under way{reads}"
            raise UsageError(message, cure="wait for its end")
