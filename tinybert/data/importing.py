"""Record files -> token store: checked, read once, and from then on only the store is read."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from tinybert.atomic import atomic_directory, remove_leftovers, sync
from tinybert.data.example import Column, Columns, ExampleError, decode_examples
from tinybert.data.mindrecord_reader import BLOCK_ROWS, read_mindrecords
from tinybert.data.source import RecordSource
from tinybert.data.store import DAMAGED_CURE, FORMAT, INDEX, StoreWriter, TokenStore
from tinybert.data.tfrecord import place, read_records
from tinybert.errors import InputError
from tinybert.files import FileDigest, digest_file, writing

STORES = Path("runs", "store")
"""Folder of all token stores, below the root."""
Progress = Callable[[int, int], None]
Stamps = list[tuple[int, int, int]]


def import_records(
    source: RecordSource,
    store_root: Path,
    *,
    files: Sequence[FileDigest] | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """Return the token store of record files; they are checked and read where it is not there.

    Any number of processes may import the same files at once: one does, the others wait.

    Args:
        source: The record files.
        store_root: Directory of all stores; created if missing.
        files: What `source.digest_files` returned to another process of this host just now; None:
            the files are hashed here.
        progress: Called with (rows read, rows in all) during an import.

    Raises:
        InputError: A file is missing, damaged, changed since it was prepared, or holds rows
            that do not fit `source`.
    """
    began = time.perf_counter()
    before = _stamps(source)
    files = source.digest_files() if files is None else files
    seconds = time.perf_counter() - began
    key = _key(source, files)
    path = _stored(store_root, key)
    if path is None:
        with writing(store_root / key), _alone(store_root / key):
            path = _stored(store_root, key)
            if path is None:
                remove_leftovers(store_root / key)
                path = _import(source, store_root / key, before, progress or _ignore)
    store = TokenStore.open(path, source.format, files)
    if store.digest != path.name[-len(store.digest) :]:
        raise InputError(
            f"the token store is damaged: its digest is {store.digest}, which its name is not",
            where=str(path),
            cure=DAMAGED_CURE,
        )
    return replace(store, hashing_seconds=seconds)


def _stored(store_root: Path, key: str) -> Path | None:
    """Return the store of a key, whose name ends in the digest of its content, if it is there."""
    return next(store_root.glob(f"{key}-{'[0-9a-f]' * 64}"), None)


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
    """Take the lock of a store; the system releases it when the process ends, however it ends."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _import(source: RecordSource, path: Path, before: Stamps, progress: Progress) -> Path:
    """Write the store of `path` and of the digest of its content; return its path."""
    shutil.rmtree(path, ignore_errors=True)  # of an import that was killed before it got its name
    counts = {record_file: source.count(record_file) for record_file in source.paths}
    source.check_schema(sum(counts.values()))
    read = _read_tfrecords if source.dataset_type == "tfrecord" else read_mindrecords
    done = dict.fromkeys(counts, 0)
    with atomic_directory(path) as temporary:
        with (
            closing(read(counts, source.format.columns)) as blocks,
            StoreWriter(temporary, source.format) as writer,
        ):
            for record_file, block in blocks:
                problem = source.format.problem(block)
                if problem is not None:
                    row = done[record_file] + problem[0] + 1
                    raise InputError(problem[1], where=place(record_file, row))
                writer.append(block)
                done[record_file] += len(block["input_ids"])
                progress(sum(done.values()), sum(counts.values()))
        if _stamps(source) != before:
            raise InputError(
                "a record file was changed while it was read",
                where=", ".join(map(str, source.paths)),
                cure="start again when nothing writes to it",
            )
    sealed = path.with_name(f"{path.name}-{digest_file(path / INDEX).sha256}")
    path.rename(sealed)
    sync(path.parent)
    return sealed


def _stamps(source: RecordSource) -> Stamps:
    """Return what changes when a file does; a missing one is reported where it is read."""
    stats = [path.stat() for path in source.record_files if path.exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _read_tfrecords(
    paths: Iterable[Path], columns: Sequence[Column]
) -> Generator[tuple[Path, Columns], None, None]:
    """Yield blocks of TFRecord files, each with its file: arrays (rows, length) by column name."""
    for path in paths:
        records = read_records(path)
        first = 1
        while block := list(islice(records, BLOCK_ROWS)):
            try:
                yield path, decode_examples([payload for _, payload in block], columns)
            except ExampleError as error:
                where = place(path, first + error.index, block[error.index][0])
                raise InputError(error.message, where=where) from error
            first += len(block)


def _ignore(done: int, total: int) -> None:
    return None
