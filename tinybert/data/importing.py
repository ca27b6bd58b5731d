"""Record files -> token store: checked, read once, and from then on only the store is read."""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from tinybert.atomic import atomic_directory, remove_leftovers
from tinybert.data.example import Columns, ExampleError, decode_examples
from tinybert.data.reader import BLOCK_ROWS, Reader, mindrecord_reader, read_tfrecord
from tinybert.data.source import RecordSource
from tinybert.data.store import FORMAT, StoreWriter, TokenStore
from tinybert.data.tfrecord import place, read_records
from tinybert.errors import InputError
from tinybert.files import FileDigest, writing

Progress = Callable[[int, int], None]


def import_records(
    source: RecordSource, store_root: Path, *, progress: Progress | None = None
) -> TokenStore:
    """Return the token store of record files; they are checked and read where it is not there.

    Any number of processes may import the same files at once: one does, the others wait.

    Args:
        source: The record files.
        store_root: Directory of all stores; created if missing.
        progress: Called with (rows read, rows in all) during an import.

    Raises:
        InputError: A file is missing, damaged, changed since it was prepared, or holds rows
            that are not as `source` says.
    """
    began = time.perf_counter()
    files = source.digest_files()
    seconds = time.perf_counter() - began
    path = store_root / _key(source, files)
    if not path.exists():
        with writing(path), _alone(path):
            if not path.exists():
                remove_leftovers(path)
                _import(source, path, progress or _ignore)
    return replace(TokenStore.open(path, source.format, files), hashing_seconds=seconds)


def _key(source: RecordSource, files: Sequence[FileDigest]) -> str:
    """Digest everything that the store depends on: bytes of the record files, and options."""
    digests = {file.path: file.sha256 for file in files}
    content = {
        "store": FORMAT,
        "format": asdict(source.format),
        "dataset_type": source.dataset_type,
        "records": [digests[path] for path in source.record_files],
        "schema": digests.get(source.schema) if source.schema else None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a store; the system releases it when the process ends, however it ends."""
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _import(source: RecordSource, path: Path, progress: Progress) -> None:
    before = _stamps(source)
    counts = [source.count(record_file) for record_file in source.paths]
    source.check_schema(sum(counts))
    done = 0
    with atomic_directory(path) as temporary, _reader(source) as read:
        with StoreWriter(temporary, source.format) as writer:
            for record_file, count in zip(source.paths, counts, strict=True):
                for block in _checked_blocks(source, record_file, count, read):
                    writer.append(block)
                    done += len(block["input_ids"])
                    progress(done, sum(counts))
        if _stamps(source) != before:
            raise InputError(
                "a record file was changed while it was read",
                where=", ".join(map(str, source.paths)),
                cure="start again when nothing writes to it",
            )


def _reader(source: RecordSource) -> AbstractContextManager[Reader]:
    if source.dataset_type == "mindrecord":
        return mindrecord_reader(source.paths, source.format.columns)
    return nullcontext(partial(read_tfrecord, columns=source.format.columns))


def _stamps(source: RecordSource) -> list[tuple[int, int, int]]:
    stats = [path.stat() for path in source.record_files]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _checked_blocks(
    source: RecordSource, path: Path, count: int, reader: Reader
) -> Iterator[Columns]:
    """Yield the rows of one file as the framework reads them, each held against the laws."""
    expected = _check_examples(source, path) if source.dataset_type == "tfrecord" else None
    read = hashlib.sha256()
    rows = 0
    for block in reader(path):
        problem = source.format.problem(block)
        if problem is not None:
            raise InputError(problem[1], where=place(path, rows + problem[0] + 1))
        rows += len(block["input_ids"])
        _digest(read, source, block)
        yield block
    if rows != count or expected not in (None, read.hexdigest()):
        raise InputError(
            f"the framework reads other rows than the file holds ({rows} of {count})",
            where=str(path),
        )


def _check_examples(source: RecordSource, path: Path) -> str:
    """Check framing and messages of a TFRecord file; returns the digest of its numbers."""
    digest = hashlib.sha256()
    records = read_records(path)
    first = 1
    while block := list(islice(records, BLOCK_ROWS)):
        try:
            columns = decode_examples([payload for _, payload in block], source.format.columns)
        except ExampleError as error:
            offset = block[error.index][0]
            raise InputError(
                error.message, where=place(path, first + error.index, offset)
            ) from error
        _digest(digest, source, columns)
        first += len(block)
    return digest.hexdigest()


def _digest(digest: "hashlib._Hash", source: RecordSource, columns: Columns) -> None:
    for column in source.format.columns:
        digest.update(np.ascontiguousarray(columns[column.name]).data)


def _ignore(done: int, total: int) -> None:
    return None
