"""Which files a run read, for its manifest; checkpoints are hashed beside other work."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tinybert.data.store import TokenStore
from tinybert.files import FileDigest, digest_files, relative_to
from tinybert.manifest.digests import TensorTable, tensor_digest, tensor_table, write_tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.model.weights import LoadedWeights


class Provenance:
    """Hashes the checkpoints of a run in a thread, and writes down all files at the end.

    Args:
        stores: The token stores by role, such as `data`; their files are hashed already.
        weights: The weights that were read from files, by network.
    """

    def __init__(
        self, stores: Mapping[str, TokenStore], weights: Mapping[str, LoadedWeights]
    ) -> None:
        self._stores = stores
        self._weights = weights
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._hashed: Future[dict[str, Any]] = self._pool.submit(self._hash)

    def write(self, record: RunRecord) -> None:
        """Wait for the hashes, and put every file into the manifest."""
        hashed = self._hashed.result()
        self._pool.shutdown()
        files = []
        modified = {}
        for role, store in self._stores.items():
            for file in store.files:
                files.append(_entry(file, _role(role, file.path), record.root))
        for which, (found, table) in hashed["checkpoints"].items():
            name = f"{which}.tensors.json"
            write_tensor_table(record.directory / name, table)
            for file in found:
                entry = _entry(file, which, record.root)
                if file is found[0]:
                    entry |= {"tensor_digest": tensor_digest(table), "tensor_table": name}
                files.append(entry)
        for entry in files:
            path = record.root / entry["path"]
            modified[entry["path"]] = path.stat().st_mtime_ns // 1000
        seconds = hashed["seconds"] + sum(s.hashing_seconds for s in self._stores.values())
        record.update(
            inputs={"files": files},
            volatile={"modified": modified, "hashing_seconds": seconds},
        )

    def _hash(self) -> dict[str, Any]:
        began = time.perf_counter()
        checkpoints: dict[str, tuple[tuple[FileDigest, ...], TensorTable]] = {
            which: (digest_files(loaded.files), tensor_table(loaded.arrays))
            for which, loaded in self._weights.items()
        }
        return {"checkpoints": checkpoints, "seconds": time.perf_counter() - began}


def _role(role: str, path: Path) -> str:
    """Return what a file of a token store is: its records, or their schema or records.json."""
    return {"records.json": "sidecar", "schema.json": "schema"}.get(path.name, role)


def _entry(file: FileDigest, role: str, root: Path) -> dict[str, Any]:
    path = relative_to(file.path, root)
    return {"role": role, "path": path, "size": file.size, "sha256": file.sha256}
