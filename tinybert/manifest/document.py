"""Manifests as files: JSON with one fact a line, sealed by a digest a section; locks of runs.

The kernel releases the lock of a run however the process that holds it ends.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tinybert.atomic import write_bytes
from tinybert.errors import ManifestError
from tinybert.files import open_file, read_file
from tinybert.manifest.canonical import digest, to_json
from tinybert.manifest.model import FORMAT_VERSION, Digests, Manifest
from tinybert.strict_json import read_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

FOLDER = "manifests"
"""The folder of the manifests, below the root."""
START = "start"
"""The role, among parents, of the run that another goes on from."""
RUN_TIME = "%Y%m%dT%H%M%SZ"
"""The time in a run id."""
RUN_ID = len("-20260301T120000Z-abcdef.json")
"""Characters of a manifest's name after that of its recipe."""
LIVE = ("planned", "running")
"""States in which a process carries out a run, or did when it was killed."""
LOCK = "lock"
"""The file in a run's folder that its process has locked."""
LOG = "log.jsonl"
"""The log, in a run's folder."""
TOKENIZER_FOLDER = "tokenizer"
"""The folder, in a run's folder, with vocabulary and tokenizer in the files of transformers."""
ATTEMPTS = 20
PAUSE = 0.05  # seconds; `is_locked` holds the lock for an instant


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's file: stable order of keys, one fact a line, a newline at the end."""
    text = json.dumps(to_json(manifest), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest and check its digests.

    Raises:
        ManifestError: It is missing, is no manifest, is of another version, or was edited.
    """
    try:
        document = read_json(path, exact_integers=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ManifestError(f"cannot read the manifest: {reason}", where=str(path)) from error
    except ValueError as error:
        raise ManifestError(f"file is no manifest: {error}", where=str(path)) from error
    if not isinstance(document, dict) or "format_version" not in document:
        raise ManifestError("file is JSON, but no manifest", where=str(path))
    version = document["format_version"]
    if version != FORMAT_VERSION:
        raise ManifestError(
            f"manifest has format version {version}; this program reads {FORMAT_VERSION}",
            where=str(path),
            cure="use the program's version that wrote it: its commit is in inputs.code",
        )
    return _validated(document, path)


@dataclass(frozen=True)
class Run:
    """A manifest with where it is."""

    path: Path
    manifest: Manifest

    @staticmethod
    def load(path: Path) -> "Run":
        """Read a manifest; raises as `read_manifest`."""
        return Run(path, read_manifest(path))

    @property
    def root(self) -> Path:
        """What the manifest's relative paths start from, also after the tree was moved."""
        folder = self.path.absolute().parent
        return folder.parent if folder.name == FOLDER else Path(self.manifest.volatile.root)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.root / self.manifest.volatile.directory

    @property
    def status(self) -> str:
        """The recorded status, or `abandoned` if the run's process is gone."""
        recorded = self.manifest.outcome.status
        return "abandoned" if recorded in LIVE and not is_locked(self.folder) else recorded


def acquire(directory: Path) -> int | None:
    """Return a descriptor that holds the lock of a run's folder, or None if another process does.

    Raises:
        OSError: The folder is missing or cannot be written.
    """
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(PAUSE)
    os.close(descriptor)
    return None


def is_locked(directory: Path) -> bool:
    """Return whether a process holds the lock of the run in a folder."""
    try:
        with open_file(directory / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def require_own_place(run: Run) -> None:
    """Check that a manifest and its run's folder are where the run put them, below one root.

    What writes or removes files for a run asks this first: elsewhere, a manifest from somebody
    else could name any folder.

    Raises:
        ManifestError: They are not.
    """
    name, volatile = run.manifest.inputs.recipe.name, run.manifest.volatile
    place = Path(FOLDER, f"{name}-{volatile.run_id}.json")
    folder = f"runs/{name}/{volatile.run_id}"
    if run.path.absolute().parts[-2:] != place.parts or volatile.directory != folder:
        raise ManifestError(
            "the manifest is not where its run put it",
            where=str(run.path),
            cure=f"below one directory, it belongs to {place}, its run's folder to {folder}",
        )


def newest_first(root: Path, recipe_name: str | None = None) -> list[Path]:
    """Return the manifests of a recipe's runs, or of all runs, the newest first."""
    tail = "[0-9]" * 8 + "T" + "[0-9]" * 6 + "Z-" + "[0-9a-f]" * 6 + ".json"
    paths = (root / FOLDER).glob(f"*-{tail}")
    named = (path for path in paths if recipe_name in (None, path.name[:-RUN_ID]))
    return sorted(named, key=lambda path: (path.name[-RUN_ID:], path.name), reverse=True)


def load_runs(root: Path, recipe_name: str) -> Iterator[Run]:
    """Yield a recipe's runs, the newest first; manifests that cannot be read are passed over."""
    for path in newest_first(root, recipe_name):
        try:
            yield Run.load(path)
        except ManifestError:
            continue


def new_run_id(root: Path, recipe_name: str, now: datetime) -> str:
    """Return a run id that sorts after those of all other runs, also where the clock went back."""
    try:
        (newest,) = newest_first(root, recipe_name)[:1]
        last = datetime.strptime(newest.stem[len(recipe_name) + 1 : -7], RUN_TIME)
        now = max(now, last.replace(tzinfo=timezone.utc) + timedelta(seconds=1))
    except (ValueError, OverflowError):  # there is no other run, or what it has is no time
        pass
    return f"{now:{RUN_TIME}}-{secrets.token_hex(3)}"


def _validated(document: dict[str, Any], path: Path) -> Manifest:
    from pydantic import ValidationError

    digests = document.get("digests")
    for name in (field.name for field in fields(Digests)):
        sealed = digests.get(name) if isinstance(digests, dict) else None
        if name not in document or sealed is None:
            raise ManifestError(f"manifest has no section `{name}`", where=str(path))
        if sealed != digest(document[name]):
            raise ManifestError(
                f"section `{name}` was edited: its digest is not the recorded one",
                where=str(path),
                cure="use the manifest as the run wrote it",
            )
    try:
        manifest = _reader().validate_json(json.dumps(document))
    except ValidationError as error:
        raise ManifestError(f"no manifest: {_first(error)}", where=str(path)) from error
    for place, name in _names_of_files(manifest):
        if not is_below(name):
            raise ManifestError(
                f"no manifest: `{place}` leaves its folder: {name}", where=str(path)
            )
    return manifest


def is_below(name: str) -> bool:
    """Return whether a relative path names something in the folder that it is relative to."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name


def _names_of_files(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield place and value of every name by which files of the run are read or written."""
    inputs, outcome, volatile = manifest.inputs, manifest.outcome, manifest.volatile
    yield "inputs.recipe.name", inputs.recipe.name
    yield "volatile.directory", volatile.directory
    yield "volatile.run_id", volatile.run_id
    if inputs.code.patch is not None and inputs.code.patch.file is not None:
        yield "inputs.code.patch.file", inputs.code.patch.file
    for file in inputs.files:
        if file.tensor_table is not None:
            yield "inputs.files.tensor_table", file.tensor_table
    for checkpoint in outcome.every_checkpoint():
        yield "outcome.checkpoints.file", checkpoint.file
        yield "outcome.checkpoints.tensor_table", checkpoint.tensor_table


@cache
def _reader() -> "TypeAdapter[Manifest]":
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)


def _first(error: "ValidationError") -> str:
    """Return the first validation error in one line."""
    problem = error.errors()[0]
    place = ".".join(str(key) for key in problem["loc"])
    return f"`{place}`: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


@dataclass(frozen=True)
class Snapshot:
    """A manifest before its run was reopened, and what changes when its trace does."""

    path: Path
    content: bytes
    trace: Path
    stamp: tuple[int, int] | None
    """Size and time of change; None: there is no trace."""

    @classmethod
    def take(cls, path: Path, trace: Path) -> "Snapshot":
        """Read a manifest.

        Raises:
            OSError: It cannot be read.
        """
        return cls(path, read_file(path), trace, _stamp(trace))

    def restore(self) -> bool:
        """Write the manifest as it was, unless the trace was touched; returns whether it was."""
        untouched = _stamp(self.trace) == self.stamp
        if untouched:
            write_bytes(self.path, self.content)
        return untouched


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


def utc_text(time: datetime) -> str:
    """Return a time in UTC as manifests have it."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"


def parse_utc(text: str | None) -> datetime | None:
    """Return a time of a manifest; None where there is none."""
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns
