"""Record files -> token store: checked, read once, and from then on only the store is read."""

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tinybert.data.example import Column, Columns, ExampleError, decode_examples
from tinybert.data.mindrecord_reader import BLOCK_ROWS, read_mindrecords
from tinybert.data.source import RecordSource
from tinybert.data.store import FORMAT, TOKEN_STORE, StoreWriter, TokenStore
from tinybert.data.tfrecord import place, read_records
from tinybert.errors import InputError
from tinybert.files import FileDigest

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

    def write(directory: Path) -> None:
        _import(source, directory, before, progress or _ignore)

    path = TOKEN_STORE.find_or_create(store_root, key, write)
    store = TokenStore.open(path, source.format, files)
    TOKEN_STORE.require_name(path, store.digest)
    return replace(store, hashing_seconds=seconds)


def _key(source: RecordSource, files: Sequence[FileDigest]) -> str:
    """Digest everything that the store depends on: bytes of the record files, and options."""
    digests = {file.path: file.sha256 for file in files}
    content = {
        "store": FORMAT,
        "format": source.format.to_json(),
        "dataset_type": source.dataset_type,
        "records": [digests[path] for path in source.record_files],
        "schema": digests.get(source.schema) if source.schema else None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _import(source: RecordSource, directory: Path, before: Stamps, progress: Progress) -> None:
    """Write the store of record files into a directory."""
    counts = {record_file: source.count(record_file) for record_file in source.paths}
    source.check_schema(sum(counts.values()))
    read = _read_tfrecords if source.dataset_type == "tfrecord" else read_mindrecords
    done = dict.fromkeys(counts, 0)
    with (
        closing(read(counts, source.format.columns)) as blocks,
        StoreWriter(directory, source.format) as writer,
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
