import hashlib
from pathlib import Path

import pytest

from tinybert.errors import InputError
from tinybert.files import BLOCK, PROGRAM, digest_file, digest_files, relative_to


def test_the_program_is_where_runner_is() -> None:
    assert (PROGRAM / "runner.py").is_file()


def test_known_digest_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_file(path).sha256 == expected


def test_files_of_any_size_are_hashed_whole_and_in_their_order(tmp_path: Path) -> None:
    paths, contents = [], []
    for size in (3 * BLOCK + 5, 0, 1, BLOCK - 1, BLOCK, BLOCK + 1):
        contents.append((b"0123456789a" * (size // 11 + 1))[:size])
        paths.append(tmp_path / str(size))
        paths[-1].write_bytes(contents[-1])
    files = digest_files(paths)
    assert [file.path for file in files] == paths
    assert [file.size for file in files] == [len(data) for data in contents]
    assert [file.sha256 for file in files] == [hashlib.sha256(d).hexdigest() for d in contents]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        digest_files([tmp_path / "no"])
    expected = f"cannot be read: No such file or directory\n  --> {tmp_path / 'no'}"
    assert str(caught.value) == expected


def test_a_path_below_the_root_is_relative_to_it(tmp_path: Path) -> None:
    assert relative_to(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert relative_to(tmp_path / "b", tmp_path / "a") == str(tmp_path / "b")
    assert relative_to(Path("b"), Path.cwd()) == "b"
