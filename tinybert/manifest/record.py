"""The life of a run's manifest: planned, running, then finished, failed or interrupted.

A run lives in `runs/<recipe>/<run id>/`; its manifest is `manifests/<recipe>-<run id>.json`, where
a run id is a UTC time and six random digits. The run's process locks its folder: a run that is
recorded as planned or running and whose folder no process has locked is abandoned.
"""

import hashlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tinybert.atomic import remove_leftovers, write_bytes
from tinybert.errors import REFUSALS, InputError, ManifestError
from tinybert.files import digest_file
from tinybert.manifest.built import Effective, Environment
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import TensorTable, table_of, tensor_digest, write_tensor_table
from tinybert.manifest.document import (
    FOLDER,
    Run,
    Snapshot,
    acquire,
    encode_manifest,
    new_run_id,
    read_manifest,
    require_own_place,
    utc_now,
    utc_text,
)
from tinybert.manifest.identity import PATCH_BYTES
from tinybert.manifest.leaf import NO_FACTS, NoFacts
from tinybert.manifest.model import (
    Checkpoint,
    CheckpointFile,
    Failure,
    Inputs,
    Manifest,
    MemoryFacts,
    Number,
    Outcome,
    Patch,
    Sections,
    Segment,
    ThroughputFacts,
    Volatile,
    build_manifest,
    replace_sections,
)
from tinybert.manifest.trace import TraceWriter

if TYPE_CHECKING:
    from typing_extensions import Unpack

Clock = Callable[[], datetime]
TRACE = "trace.jsonl"
"""The trace, in a run's folder."""
RESTORE = "restore it, or start anew with --fresh"


class RunRecord:
    """One run: its manifest, its trace, its lock. Made by `plan` or `reopen`; a context manager.

    Every method that changes the manifest writes it, whole and synced, before it returns.
    """

    def __init__(
        self, root: Path, path: Path, manifest: Manifest, lock: int, now: Clock = utc_now
    ) -> None:
        self.root = root
        self.path = path
        self.manifest = manifest
        """The content of the file `path`."""
        self.directory = root / manifest.volatile.directory
        """The run's folder."""
        self._lock = lock
        self._now = now
        self._trace: TraceWriter | None = None
        self._before: Snapshot | None = None

    @classmethod
    def plan(cls, root: Path, inputs: Inputs, *, now: Clock = utc_now) -> "RunRecord":
        """Create the run's folder and its manifest, in status `planned`.

        Raises:
            OSError: The folders cannot be written.
        """
        run_id = new_run_id(root, inputs.recipe.name, now())
        directory = Path("runs") / inputs.recipe.name / run_id
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        path = root / FOLDER / f"{inputs.recipe.name}-{run_id}.json"
        return cls._create(root, path, directory, run_id, inputs, now)

    @classmethod
    def fragment(cls, root: Path, directory: Path, run_id: str, inputs: Inputs) -> "RunRecord":
        """Create the record of a process that is not the first: `manifest.json` in a folder.

        What is in the folder, which is named relative to the root, is removed first.

        Raises:
            OSError: The folder cannot be written.
        """
        shutil.rmtree(root / directory, ignore_errors=True)
        path = root / directory / "manifest.json"
        return cls._create(root, path, directory, run_id, inputs, utc_now)

    @classmethod
    def attach(cls, path: Path) -> "RunRecord":
        """Take part in a run whose lock another process holds for this one.

        Raises:
            ManifestError: The manifest cannot be read.
        """
        run = Run.load(path)
        return cls(run.root, path, run.manifest, -1)

    @classmethod
    def _create(
        cls, root: Path, path: Path, directory: Path, run_id: str, inputs: Inputs, now: Clock
    ) -> "RunRecord":
        created = now()
        (root / directory).mkdir(parents=True)
        lock = acquire(root / directory)
        assert lock is not None
        volatile = Volatile(
            run_id=run_id,
            created=utc_text(created),
            root=str(root.absolute()),
            directory=directory.as_posix(),
            command=list(sys.argv),
            segments=[_segment(created)],
        )
        manifest = build_manifest(inputs=inputs, outcome=Outcome(), volatile=volatile)
        write_bytes(path, encode_manifest(manifest))
        return cls(root, path, manifest, lock, now)

    @classmethod
    def reopen(cls, path: Path) -> "RunRecord":
        """Take up a run that was abandoned, interrupted or failed; `rewind` it next.

        The manifest is `planned` again, with a further segment.

        Raises:
            ManifestError: The manifest cannot be read or is elsewhere, the run's folder is gone,
                the run finished, or another process is carrying it out.
        """
        run = Run.load(path)
        require_own_place(run)
        directory = run.folder
        if not directory.is_dir():
            message = f"the run's folder {run.manifest.volatile.directory} is gone"
            raise ManifestError(message, where=str(path))
        lock = acquire(directory)
        if lock is None:
            raise ManifestError("another process is carrying out this run", where=str(path))
        manifest = read_manifest(path)  # again: until now another process may have changed it
        if manifest.outcome.status == "finished":
            os.close(lock)
            raise ManifestError("this run is finished", where=str(path))
        record = cls(run.root, path, manifest, lock)
        record._before = Snapshot.take(path, directory / TRACE)
        for leftover in directory.rglob(".*.tmp"):
            if leftover.is_file():
                leftover.unlink()
        remove_leftovers(path)
        outcome, volatile = manifest.outcome, manifest.volatile
        segments = [*volatile.segments, _segment(utc_now())]
        record.update(
            outcome=Outcome(
                checkpoints=outcome.checkpoints, best_checkpoint=outcome.best_checkpoint
            ),
            volatile=replace(volatile, segments=segments, ended=None),
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
            InputError: The trace does not reach that far, or was changed.
        """
        if self._trace is not None:
            self._trace.close()
        outcome, volatile = self.manifest.outcome, self.manifest.volatile
        expected = next(
            (
                volatile.checkpoint_files[kept.file].trace_digest
                for kept in outcome.checkpoints
                if kept.step == step and kept.file in volatile.checkpoint_files
            ),
            None,
        )
        try:
            self._trace = TraceWriter(self.directory / TRACE, records=step, digest=expected)
        except ManifestError as error:
            raise InputError(error.message, where=error.where, cure=RESTORE) from error
        best = outcome.best_checkpoint
        self.update(
            outcome=replace(
                outcome,
                checkpoints=[kept for kept in outcome.checkpoints if kept.step <= step],
                best_checkpoint=best if best and best.step <= step else None,
            ),
            volatile=volatile.with_last_segment(replace(volatile.segments[-1], first_step=step)),
        )

    def start(self, effective: Effective, environment: Environment) -> None:
        """Record what was built and what it runs on; the status becomes `running`."""
        volatile = self.manifest.volatile
        last = replace(volatile.segments[-1], environment_digest=digest(environment))
        self.update(
            effective=effective,
            environment=environment,
            outcome=replace(self.manifest.outcome, status="running"),
            volatile=volatile.with_last_segment(last),
        )

    def update(self, **sections: "Unpack[Sections]") -> None:
        """Put new sections into the manifest; the others stay."""
        self.manifest = replace_sections(self.manifest, **sections)
        write_bytes(self.path, encode_manifest(self.manifest))

    def keep_patch(self, patch: bytes) -> None:
        """Keep the code's uncommitted changes beside the manifest, unless they are very large."""
        if not patch:
            return
        file = self.path.with_suffix(".patch")
        kept = len(patch) <= PATCH_BYTES
        if kept:
            write_bytes(file, patch)
        sha256 = hashlib.sha256(patch).hexdigest()
        facts = Patch(file=file.name if kept else None, sha256=sha256, size=len(patch))
        inputs = self.manifest.inputs
        self.update(inputs=replace(inputs, code=replace(inputs.code, patch=facts)))

    def checkpoint(
        self,
        step: int,
        path: Path,
        table: TensorTable,
        *,
        best: bool = False,
        expired: Sequence[Path] = (),
    ) -> None:
        """Record a checkpoint that was just written, then remove those that it supersedes.

        The files go after the manifest was written, so that each recorded checkpoint is there
        whenever the process is killed.

        Args:
            step: Steps before it.
            path: The checkpoint, in the run's folder; other processes than the first have none.
            table: Its tensors, all of them.
            best: Whether it is the one of the best evaluation, which is kept apart.
            expired: Earlier checkpoints that are no longer kept.
        """
        table_path = table_of(path)
        table_path.parent.mkdir(parents=True, exist_ok=True)
        write_tensor_table(table_path, table)
        entry = Checkpoint(
            step=step,
            tensor_digest=tensor_digest(table),
            file=self._name(path),
            tensor_table=self._name(table_path),
        )
        gone = {self._name(old) for old in expired}
        volatile = self.manifest.volatile
        files = {name: file for name, file in volatile.checkpoint_files.items() if name not in gone}
        if path.is_file():
            file, trace = digest_file(path), self._trace.digest if self._trace else None
            files[entry.file] = CheckpointFile(
                size=file.size, sha256=file.sha256, trace_digest=trace
            )
        outcome = self.manifest.outcome
        if best:
            outcome = replace(outcome, best_checkpoint=entry)
        else:
            kept = [old for old in outcome.checkpoints if old.step != step and old.file not in gone]
            kept = sorted([*kept, entry], key=lambda each: each.step)
            outcome = replace(outcome, checkpoints=kept)
        self.update(outcome=outcome, volatile=replace(volatile, checkpoint_files=files))
        for old in expired:
            old.unlink(missing_ok=True)
            table_of(old).unlink(missing_ok=True)

    def recorded_file(self, path: Path) -> CheckpointFile | None:
        """Return what is recorded of a checkpoint's file, in the run's folder."""
        return self.manifest.volatile.checkpoint_files.get(self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.directory).as_posix()

    def finish(
        self,
        status: Literal["finished", "interrupted"] = "finished",
        *,
        optimizer_steps: int = 0,
        samples: int = 0,
        metrics: Mapping[str, float] | None = None,
        best_step: int | None = None,
        best_metrics: Mapping[str, float] | None = None,
        throughput: ThroughputFacts | NoFacts = NO_FACTS,
        memory: MemoryFacts | NoFacts = NO_FACTS,
    ) -> None:
        """Record the end of a run that `finished` or was `interrupted`, and release its lock.

        Steps, overflows, losses that are not finite and the trace's digest come from the trace.
        """
        outcome = replace(
            self.manifest.outcome,
            status=status,
            optimizer_steps=optimizer_steps,
            samples=samples,
            metrics={name: Number.of(value) for name, value in (metrics or {}).items()},
            best_step=best_step,
            best_metrics={name: Number.of(value) for name, value in (best_metrics or {}).items()},
        )
        self._end(outcome, replace(self.manifest.volatile, throughput=throughput, memory=memory))

    def fail(
        self,
        error: BaseException,
        *,
        rank: int | None = None,
        step: int | None = None,
        exit_code: int | None = None,
        last_lines: Sequence[str] = (),
    ) -> None:
        """Record what ended the run, as `Failure` explains it, and release its lock.

        A run that was reopened, and refused before its trace was touched, is as it was before.
        """
        if self._before and isinstance(error, REFUSALS) and self._before.restore():
            self.reload()
            self.close()
            return
        failure = Failure(
            type=type(error).__name__,
            message=getattr(error, "message", None) or str(error),
            rank=rank,
            step=step,
            exit_code=exit_code,
            last_lines=list(last_lines),
        )
        outcome = self.manifest.outcome
        steps = outcome.steps if step is None else step
        outcome = replace(outcome, status="failed", steps=steps, error=failure)
        self._end(outcome, self.manifest.volatile)

    def reload(self) -> None:
        """Take over what another process wrote into the manifest; raises as `read_manifest`."""
        self.manifest = read_manifest(self.path)

    def close(self) -> None:
        """Release trace and lock; a run without a final state is abandoned from now on."""
        if self._trace is not None:
            self._trace.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _end(self, outcome: Outcome, volatile: Volatile) -> None:
        if self._trace is not None:
            self._trace.flush()
            outcome = replace(
                outcome,
                steps=self._trace.records,
                overflows=self._trace.overflows,
                nonfinite_losses=self._trace.nonfinite,
                trace_digest=self._trace.digest,
            )
        ended = utc_text(self._now())
        last = replace(volatile.segments[-1], ended=ended)
        volatile = replace(volatile, ended=ended).with_last_segment(last)
        self.update(outcome=outcome, volatile=volatile)
        self.close()


def _segment(started: datetime) -> Segment:
    return Segment(started=utc_text(started), host=socket.gethostname(), pid=os.getpid())
