"""Which files a run read, for its manifest; checkpoints are hashed beside other work."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tinybert.data.sidecar import NAME, QUESTIONS, WINDOWS
from tinybert.data.store import TokenStore
from tinybert.errors import InputError, bulleted
from tinybert.files import FileDigest, digest_files, relative_to
from tinybert.manifest.checkpoints import (
    TensorTable,
    tensor_digest,
    tensor_table,
    write_tensor_table,
)
from tinybert.manifest.model import InputFile
from tinybert.manifest.record import RunRecord
from tinybert.model.weights import LoadedWeights


class Provenance:
    """Hashes the checkpoints of a run in a thread, and records all files at the end.

    Args:
        stores: The token stores by role, such as `data`; their files are hashed already.
        weights: The weights that were read from files, by network.
    """

    def __init__(
        self, stores: Mapping[str, TokenStore], weights: Mapping[str, LoadedWeights]
    ) -> None:
        self._stores = stores
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._hashed: Future[tuple[dict[str, _Checkpoint], float]]
        # a copy: the trainings let go of the weights that they have taken
        self._hashed = self._pool.submit(_hash, dict(weights))

    def check(self, record: RunRecord) -> None:
        """Compare the files of a run that is resumed with those that it began with.

        Raises:
            InputError: A file has another role or other bytes than the recorded one.
        """
        recorded = record.manifest.inputs.files
        if not recorded:
            return
        files = self._files(record.root)
        changes = [
            f"{new.path} ({new.role}): SHA-256 {new.sha256}, not {old.sha256}"
            for old, new in zip(recorded, files, strict=False)
            if (old.role, old.sha256) != (new.role, new.sha256)
        ]
        if len(recorded) != len(files):
            changes.append(f"{len(files)} files, not {len(recorded)}")
        if changes:
            raise InputError(
                "the files are not those that this run began with:" + bulleted(changes),
                where=str(record.path),
                cure="restore them, or start anew with --fresh",
            )

    def write(self, record: RunRecord) -> None:
        """Wait for the hashes, and put every file into the manifest."""
        files, (checkpoints, seconds) = self._files(record.root), self._hashed.result()
        self._pool.shutdown()
        for role, checkpoint in checkpoints.items():
            write_tensor_table(record.directory / _table_name(role), checkpoint.table)
        times = {file.path: (record.root / file.path).stat().st_mtime_ns // 1000 for file in files}
        seconds += sum(store.hashing_seconds for store in self._stores.values())
        manifest = record.manifest
        record.update(
            inputs=replace(manifest.inputs, files=files),
            volatile=replace(manifest.volatile, modified=times, hashing_seconds=seconds),
        )

    def _files(self, root: Path) -> list[InputFile]:
        """Wait for the hashes, and return every file in the order in which it is recorded."""
        files = [
            _input_file(file, _role(role, file.path), root)
            for role, store in self._stores.items()
            for file in store.files
        ]
        checkpoints, _ = self._hashed.result()
        for role, checkpoint in checkpoints.items():
            first, *others = (_input_file(file, role, root) for file in checkpoint.files)
            digest = tensor_digest(checkpoint.table)
            files += [replace(first, tensor_digest=digest, tensor_table=_table_name(role)), *others]
        return files


@dataclass(frozen=True)
class _Checkpoint:
    files: tuple[FileDigest, ...]
    table: TensorTable


def _hash(weights: Mapping[str, LoadedWeights]) -> tuple[dict[str, _Checkpoint], float]:
    """Return the checkpoints by network, and the seconds that it took to hash them."""
    began = time.perf_counter()
    checkpoints = {
        role: _Checkpoint(digest_files(loaded.files), tensor_table(loaded.arrays))
        for role, loaded in weights.items()
    }
    return checkpoints, time.perf_counter() - began


def _table_name(role: str) -> str:
    return f"{role}.tensors.json"


def _role(role: str, path: Path) -> str:
    """Return the role of a file of a token store: its records', or that of a file beside them."""
    roles = {NAME: "sidecar", "schema.json": "schema", QUESTIONS: "questions", WINDOWS: "questions"}
    return roles.get(path.name, role)


def _input_file(file: FileDigest, role: str, root: Path) -> InputFile:
    path = relative_to(file.path, root)
    return InputFile(role=role, path=path, size=file.size, sha256=file.sha256)
