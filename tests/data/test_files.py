import pytest

from tinybert.data.files import creating_directory, digest_file, digest_files
from tinybert.errors import InputError


def test_files_are_hashed_in_their_order(tmp_path):
    paths = []
    for name, data in (("b", b"abc"), ("a", b"")):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    files = digest_files(paths)
    assert [(file.path.name, file.size, file.sha256[:8]) for file in files] == [
        ("b", 3, "ba7816bf"),
        ("a", 0, "e3b0c442"),
    ]
    with pytest.raises(InputError) as error:
        digest_file(tmp_path / "no")
    assert str(error.value) == f"cannot be read: No such file or directory\n  --> {tmp_path / 'no'}"


@pytest.mark.parametrize("replace", [False, True])
def test_a_directory_is_whole_or_as_it_was(tmp_path, replace):
    path = tmp_path / "made"
    with creating_directory(path) as temporary:
        (temporary / "file").write_text("first")
    with pytest.raises(OSError), creating_directory(path, replace=replace) as temporary:
        (temporary / "file").write_text("second")
        raise OSError
    assert [file.name for file in tmp_path.iterdir()] == ["made"]
    assert (path / "file").read_text() == "first"


def test_a_directory_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "made"
    for replace, content in ((False, "first"), (True, "second")):
        with creating_directory(path, replace=replace) as temporary:
            (temporary / "file").write_text(content)
    with pytest.raises(OSError), creating_directory(path) as temporary:
        (temporary / "file").write_text("third")
    assert (path / "file").read_text() == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["made"]
