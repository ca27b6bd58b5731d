"""The life of a run's manifest: planned, running, then finished, failed or interrupted.

A run lives in `runs/<recipe>/<run id>/`; its manifest is `manifests/<recipe>-<run id>.json`, where
a run id is a UTC time and six random digits. The run holds a lock on `lock` in its folder, which
the kernel releases however the process ends: a manifest that says planned or running while nobody
holds that lock was abandoned.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tinybert.atomic import remove_leftovers, write_bytes
from tinybert.errors import ManifestError
from tinybert.manifest.canonical import to_json
from tinybert.manifest.digests import TensorTable, tensor_digest, write_tensor_table
from tinybert.manifest.document import (
    FOLDER,
    LOCK,
    encode_manifest,
    newest_first,
    read_manifest,
    root_of,
    run_directory,
    status,
)
from tinybert.manifest.model import (
    SECTIONS,
    Environment,
    Manifest,
    Number,
    Outcome,
    build_manifest,
    section_digest,
)
from tinybert.manifest.trace import TraceWriter

Clock = Callable[[], datetime]
TRACE = "trace.jsonl"
"""The trace, in a run's folder."""
TABLE_SUFFIX = ".tensors.json"
"""What a checkpoint's tensor table is called, after the checkpoint's name."""
PATCH_BYTES = 1 << 20
"""A larger patch is not kept, only its digest and size."""
LOCK_ATTEMPTS = 20
LOCK_PAUSE = 0.05  # seconds; `status` holds the lock for an instant


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


class RunRecord:
    """One run: its manifest, its trace, its lock. Made by `plan` or `reopen`; a context manager.

    Every method that changes the manifest writes it, whole and synced, before it returns.
    """

    def __init__(self, root: Path, path: Path, manifest: Manifest, lock: int, now: Clock) -> None:
        self.root = root
        self.path = path
        """The manifest's file."""
        self.manifest = manifest
        """What the file says."""
        self.directory = root / manifest.volatile.directory
        """The run's folder."""
        self._lock = lock
        self._now = now
        self._trace: TraceWriter | None = None

    @classmethod
    def plan(
        cls,
        root: Path,
        recipe_name: str,
        stage: str,
        inputs: Mapping[str, Any],
        *,
        now: Clock = utc_now,
    ) -> "RunRecord":
        """Create the run's folder and its manifest, in status `planned`.

        Args:
            root: The directory that relative paths start from.
            recipe_name: The recipe's file name without `.toml`.
            stage: The recipe's stage.
            inputs: The section `inputs` without `stage`; what is not known yet comes by `update`.
            now: The clock.

        Raises:
            OSError: The folders cannot be written.
        """
        created = now()
        run_id = f"{created:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        directory = Path("runs") / recipe_name / run_id
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        path = root / FOLDER / f"{recipe_name}-{run_id}.json"
        return cls._create(root, path, directory, run_id, {**inputs, "stage": stage}, now)

    @classmethod
    def fragment(
        cls,
        root: Path,
        directory: Path,
        run_id: str,
        inputs: Mapping[str, Any],
        *,
        now: Clock = utc_now,
    ) -> "RunRecord":
        """Create the record of a process that is not the first: `manifest.json` in a folder.

        Args:
            root: The directory that relative paths start from.
            directory: The process's folder below the root; what is there is thrown away.
            run_id: The run's.
            inputs: The section `inputs`.
            now: The clock.

        Raises:
            OSError: The folder cannot be written.
        """
        shutil.rmtree(root / directory, ignore_errors=True)
        path = root / directory / "manifest.json"
        return cls._create(root, path, directory, run_id, inputs, now)

    @classmethod
    def attach(cls, path: Path, *, now: Clock = utc_now) -> "RunRecord":
        """Take part in a run whose lock another process holds for this one.

        Raises:
            ManifestError: The manifest cannot be read.
        """
        manifest = read_manifest(path)
        return cls(root_of(path, manifest), path, manifest, -1, now)

    @classmethod
    def _create(
        cls,
        root: Path,
        path: Path,
        directory: Path,
        run_id: str,
        inputs: Mapping[str, Any],
        now: Clock,
    ) -> "RunRecord":
        created = now()
        (root / directory).mkdir(parents=True)
        lock = _acquire(root / directory)
        assert lock is not None
        volatile = {
            "run_id": run_id,
            "created": _text(created),
            "root": str(root.absolute()),
            "directory": directory.as_posix(),
            "command": sys.argv,
            "segments": [_segment(created)],
        }
        manifest = build_manifest(inputs=inputs, outcome={"status": "planned"}, volatile=volatile)
        record = cls(root, path, manifest, lock, now)
        write_bytes(path, encode_manifest(manifest))
        return record

    @classmethod
    def reopen(cls, path: Path, *, now: Clock = utc_now) -> "RunRecord":
        """Take up a run that was abandoned, interrupted or failed; `rewind` it next.

        The manifest is `planned` again, with a further segment.

        Raises:
            ManifestError: The manifest cannot be read, the run's folder is gone, the run finished,
                or another process is at it.
        """
        manifest = read_manifest(path)
        directory = run_directory(path, manifest)
        if not directory.is_dir():
            raise ManifestError(
                f"the run's folder {manifest.volatile.directory} is gone", where=str(path)
            )
        lock = _acquire(directory)
        if lock is None:
            raise ManifestError("another process is at this run", where=str(path))
        manifest = read_manifest(path)  # again: until now another process may have been at it
        if manifest.outcome.status == "finished":
            os.close(lock)
            raise ManifestError("this run is finished", where=str(path))
        record = cls(root_of(path, manifest), path, manifest, lock, now)
        for leftover in directory.rglob(".*.tmp"):
            if leftover.is_file():
                leftover.unlink()
        remove_leftovers(path)
        segments = [*manifest.volatile.model_dump()["segments"], _segment(now())]
        kept = manifest.outcome.model_dump(include={"checkpoints", "best_checkpoint"})
        record.update(
            outcome={**Outcome().model_dump(), **kept},
            volatile={"segments": segments, "ended": None},
        )
        return record

    def __enter__(self) -> "RunRecord":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def trace(self) -> TraceWriter:
        """The trace, `trace.jsonl` in the run's folder; a new one unless the run was rewound."""
        if self._trace is None:
            self.rewind(0)
        assert self._trace is not None
        return self._trace

    def rewind(self, step: int) -> None:
        """Go back to the checkpoint after `step` steps: what came later is forgotten.

        Raises:
            ManifestError: The trace does not reach that far, or was changed.
        """
        if self._trace is not None:
            self._trace.close()
        self._trace = TraceWriter(self.directory / TRACE, records=step)
        outcome = self.manifest.outcome
        best = outcome.best_checkpoint
        kept = [entry.model_dump() for entry in outcome.checkpoints if entry.step <= step]
        self.update(
            outcome={
                "checkpoints": kept,
                "best_checkpoint": best.model_dump() if best and best.step <= step else None,
            },
            volatile={"segments": self._segments(first_step=step)},
        )

    def start(self, effective: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Record what was built and what it runs on; the status becomes `running`."""
        facts = Environment.model_validate(to_json(environment))
        self.update(
            effective=effective,
            environment=facts.model_dump(),
            outcome={"status": "running"},
            volatile={"segments": self._segments(environment_digest=section_digest(facts))},
        )

    def update(self, **sections: Mapping[str, Any]) -> None:
        """Replace keys of sections: `inputs`, `effective`, `environment`, `outcome`, `volatile`.

        Raises:
            pydantic.ValidationError: A key that the section does not have, or a wrong type.
        """
        contents = {name: self._contents(name, sections.pop(name, None)) for name in SECTIONS}
        if sections:
            raise TypeError(f"no such section: {', '.join(sections)}")
        self.manifest = build_manifest(**contents)
        write_bytes(self.path, encode_manifest(self.manifest))

    def keep_patch(self, patch: bytes) -> None:
        """Keep the code's uncommitted changes beside the manifest, unless they are very large."""
        if not patch:
            return
        file = self.path.with_suffix(".patch")
        kept = len(patch) <= PATCH_BYTES
        if kept:
            write_bytes(file, patch)
        facts = {
            "file": file.name if kept else None,
            "sha256": hashlib.sha256(patch).hexdigest(),
            "size": len(patch),
        }
        self.update(inputs={"code": {**self.manifest.inputs.code.model_dump(), "patch": facts}})

    def checkpoint(self, step: int, path: Path, table: TensorTable, *, best: bool = False) -> None:
        """Record a checkpoint that was just written, and forget those that were removed.

        Args:
            step: Steps before it.
            path: The checkpoint, in the run's folder.
            table: Its tensors, all of them.
            best: Whether it is the one of the best evaluation, which is kept apart.
        """
        table_path = path.with_name(path.name + TABLE_SUFFIX)
        table_path.parent.mkdir(parents=True, exist_ok=True)
        write_tensor_table(table_path, table)
        entry = {
            "step": step,
            "tensor_digest": tensor_digest(table),
            "file": path.relative_to(self.directory).as_posix(),
            "tensor_table": table_path.relative_to(self.directory).as_posix(),
        }
        if best:
            self.update(outcome={"best_checkpoint": entry})
            return
        kept = []
        for old in self.manifest.outcome.checkpoints:
            if (self.directory / old.file).exists() and old.step != step:
                kept.append(old.model_dump())
            elif old.step != step:
                (self.directory / old.tensor_table).unlink(missing_ok=True)
        kept.append(entry)
        self.update(outcome={"checkpoints": sorted(kept, key=lambda item: int(item["step"]))})

    def finish(
        self,
        status: str = "finished",
        *,
        optimizer_steps: int = 0,
        samples: int = 0,
        metrics: Mapping[str, float] | None = None,
        best_step: int | None = None,
        best_metrics: Mapping[str, float] | None = None,
        volatile: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the end of a run that `finished` or was `interrupted`, and let go of its lock.

        Steps, overflows, losses that are not finite and the trace's digest come from the trace.
        """
        outcome = {
            "status": status,
            "optimizer_steps": optimizer_steps,
            "samples": samples,
            "metrics": _numbers(metrics),
            "best_step": best_step,
            "best_metrics": _numbers(best_metrics),
        }
        self._end(outcome, volatile or {})

    def fail(self, error: BaseException, **facts: Any) -> None:
        """Record what ended the run, and let go of its lock.

        Args:
            error: What was raised.
            facts: Of the process that failed, where there were several; see `Failure`.
        """
        message = getattr(error, "message", None) or str(error)
        failure = {"type": type(error).__name__, "message": message, **facts}
        self._end({"status": "failed", "error": failure}, {})

    def reload(self) -> None:
        """Take over what another process wrote into the manifest.

        Raises:
            ManifestError: The manifest cannot be read.
        """
        self.manifest = read_manifest(self.path)

    def close(self) -> None:
        """Let go of trace and lock; a run that has no final state now reads as abandoned."""
        if self._trace is not None:
            self._trace.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _end(self, outcome: Mapping[str, Any], volatile: Mapping[str, Any]) -> None:
        facts = dict(outcome)
        if self._trace is not None:
            self._trace.flush()
            facts |= {
                "steps": self._trace.records,
                "overflows": self._trace.overflows,
                "nonfinite_losses": self._trace.nonfinite,
                "trace_digest": self._trace.digest,
            }
        ended = _text(self._now())
        ends = {"ended": ended, "segments": self._segments(ended=ended)}
        self.update(outcome=facts, volatile={**volatile, **ends})
        self.close()

    def _contents(self, name: str, changes: Mapping[str, Any] | None) -> Any:
        section = getattr(self.manifest, name)
        if section is None:
            return changes
        return {**section.model_dump(), **(changes or {})}

    def _segments(self, **changes: Any) -> list[dict[str, Any]]:
        """Return the segments with changes to the last of them."""
        *before, last = (item.model_dump() for item in self.manifest.volatile.segments)
        return [*before, {**last, **changes}]


def resumable(
    root: Path,
    recipe_name: str,
    recipe_digest: str,
    code_digest: str,
    *,
    now: Clock = utc_now,
) -> RunRecord | None:
    """Reopen the newest run of this recipe and code if it was abandoned or interrupted.

    A newer run of the same recipe and code that ended otherwise, or that is under way, leaves
    nothing to resume. Manifests that cannot be read are passed over.
    """
    for path in newest_first(root, recipe_name):
        try:
            manifest = read_manifest(path)
        except ManifestError:
            continue
        inputs = manifest.inputs
        if (inputs.recipe.digest, inputs.code.digest) == (recipe_digest, code_digest):
            wanted = status(path, manifest) in ("abandoned", "interrupted")
            return RunRecord.reopen(path, now=now) if wanted else None
    return None


def _acquire(directory: Path) -> int | None:
    """Return a descriptor that holds the run's lock, or None if another process holds it."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
    os.close(descriptor)
    return None


def _segment(started: datetime) -> dict[str, Any]:
    return {"started": _text(started), "host": socket.gethostname(), "pid": os.getpid()}


def _numbers(values: Mapping[str, float] | None) -> dict[str, Any]:
    return {name: Number.of(value).model_dump() for name, value in (values or {}).items()}


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
