import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinybert.atomic import atomic_directory, atomic_replace, remove_leftovers, write_bytes

SIZE = 200_000
WRITER = f"""
import itertools, pathlib, sys
from tinybert.atomic import write_bytes
path = pathlib.Path(sys.argv[1])
for number in itertools.count():
    write_bytes(path, bytes([number % 256]) * {SIZE})
    if number == 0:
        print("ready", flush=True)
"""


def test_write_creates_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"one")
    assert path.read_bytes() == b"one"
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_body_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), atomic_replace(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_body_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")
    with pytest.raises(FileNotFoundError), atomic_replace(path):
        pass
    assert path.read_bytes() == b"old"


def test_the_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_bytes(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for kill in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            try:
                writer.wait(0.003 * kill)
            except subprocess.TimeoutExpired:
                writer.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert len(data) == SIZE
        assert data == data[:1] * SIZE
    remove_leftovers(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_directory_is_whole_or_as_it_was(tmp_path: Path, replace: bool) -> None:
    path = tmp_path / "made"
    with atomic_directory(path) as temporary:
        (temporary / "file").write_text("first")
    with pytest.raises(OSError), atomic_directory(path, replace=replace) as temporary:
        (temporary / "file").write_text("second")
        raise OSError
    assert [file.name for file in tmp_path.iterdir()] == ["made"]
    assert (path / "file").read_text() == "first"


def test_a_directory_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "made"
    for replace, content in ((False, "first"), (True, "second")):
        with atomic_directory(path, replace=replace) as temporary:
            (temporary / "file").write_text(content)
    with pytest.raises(OSError), atomic_directory(path) as temporary:
        (temporary / "file").write_text("third")
    assert (path / "file").read_text() == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["made"]


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".made.0123.tmp").mkdir()
    (tmp_path / ".made.0123.tmp" / "file").touch()
    (tmp_path / ".made.4567.tmp").touch()
    (tmp_path / ".other.0123.tmp").touch()
    remove_leftovers(tmp_path / "made")
    assert [entry.name for entry in tmp_path.iterdir()] == [".other.0123.tmp"]
