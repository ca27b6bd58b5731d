"""What is no regular file is named at once, wherever a file is read or written: nothing waits."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tinybert.compare.verify import verify
from tinybert.data.rows import RowFormat
from tinybert.data.sidecar import load_sidecar
from tinybert.data.source import RecordSource, inspect
from tinybert.data.tfrecord import count_records
from tinybert.errors import InputError, ManifestError, RecipeError, TinybertError
from tinybert.files import digest_file, open_file, open_safetensors, open_to_append
from tinybert.manifest.document import read_manifest
from tinybert.manifest.trace import TraceWriter, read_trace
from tinybert.model.checkpoint_files import read_arrays
from tinybert.prepare.text import find_texts, paragraphs
from tinybert.prepare.vocabulary import load_vocabulary
from tinybert.recipe.load import load


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": lambda path: os.mkfifo(path),
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "nothing": lambda path: path.symlink_to(path.with_name("gone")),
}


def records(path: Path) -> None:
    """Read a record file, or the directory where it is."""
    source = RecordSource.find(
        str(path),
        Path("/"),
        dataset_type="tfrecord",
        schema_dir=None,
        format=RowFormat(
            seq_length=4,
            vocab_size=10,
            type_vocab_size=2,
            input_mask_from_dataset=True,
            token_type_ids_from_dataset=True,
            label=None,
        ),
    )
    for problem in inspect(source).problems:
        raise problem


def texts(path: Path) -> None:
    for text in find_texts([str(path)]):
        list(paragraphs(text, "text", lambda size: None))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "record file": ("a.tfrecord", records),
    "records": ("a.tfrecord", lambda path: records(path.parent)),
    "records by a glob": ("a.tfrecord", lambda path: records(path.with_name("a.tf*d"))),
    "rows of records": ("a.tfrecord", count_records),
    "sidecar": ("records.json", lambda path: load_sidecar(path.parent)),
    "safetensors": ("a.safetensors", read_arrays),
    "model": ("model.safetensors", lambda path: read_arrays(path.parent)),
    "ckpt": ("a.ckpt", read_arrays),
    "vocabulary": ("vocab.txt", load_vocabulary),
    "tokenizer": ("tokenizer.json", load_vocabulary),
    "recipe": ("a.toml", load),
    "manifest": ("a.json", read_manifest),
    "export": ("export.json", verify),
    "trace": ("trace.jsonl", lambda path: list(read_trace(path))),
    "text": ("a.txt", texts),
    "digest": ("a", digest_file),
}
NO_SIDECAR = ("sidecar", "nothing")
LEFT_OUT = ("records by a glob", "folder")
"""A glob may name folders beside files; then it names none."""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """End a test that waits."""

    def end(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_one_error_that_names_the_file(tmp_path: Path, reader: str, kind: str) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    KINDS[kind](path)
    if (reader, kind) == NO_SIDECAR:
        assert read(path) is None
        return
    began = time.monotonic()
    with pytest.raises((InputError, ManifestError, RecipeError)) as caught:
        read(path)
    assert time.monotonic() - began < 1
    place = "a.tf*d" if (reader, kind) == LEFT_OUT else name
    assert isinstance(caught.value, TinybertError)
    assert place in str(caught.value) or str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
@pytest.mark.parametrize("opener", [open_file, open_safetensors, open_to_append, TraceWriter])
def test_what_opens_files_neither_waits_nor_reads_a_device(
    tmp_path: Path, opener: Callable[[Path], object], kind: str
) -> None:
    path = tmp_path / "a"
    KINDS[kind](path)
    with pytest.raises(OSError, match=r"regular|directory|address"):
        opener(path)


def test_a_file_is_appended_to_and_made_where_it_is_missing(tmp_path: Path) -> None:
    for _ in range(2):
        with open_to_append(tmp_path / "a") as file:
            file.write(b"x")
    assert (tmp_path / "a").read_bytes() == b"xx"
