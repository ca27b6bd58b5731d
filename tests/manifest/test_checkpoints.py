import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tinybert.errors import ManifestError
from tinybert.manifest.checkpoints import (
    read_tensor_table,
    tensor_digest,
    tensor_table,
    write_tensor_table,
)


def test_table_by_hand() -> None:
    table = tensor_table({"b": np.array([[1.0, 2.0]], np.float32), "a": np.array(7, np.int32)})
    assert list(table) == ["a", "b"]
    assert table["a"] == {
        "dtype": "int32",
        "shape": [],
        "sha256": hashlib.sha256(b"\x07\0\0\0").hexdigest(),
    }
    assert table["b"]["shape"] == [1, 2]
    assert table["b"]["sha256"] == hashlib.sha256(b"\0\0\x80\x3f\0\0\0\x40").hexdigest()


def test_equal_values_agree_whatever_their_layout_in_memory() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    others = [array.astype(">f4"), np.asfortranarray(array), np.repeat(array, 2, axis=0)[::2]]
    for other in others:
        assert tensor_table({"a": other}) == tensor_table({"a": array})


def test_equal_weights_agree_whatever_the_file_format(tmp_path: Path) -> None:
    arrays = {"b": np.ones((2, 3), np.float16), "a": np.zeros(0, np.float32)}
    save_file(arrays, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **arrays)
    first = tensor_table(load_file(tmp_path / "a.safetensors"))
    with np.load(tmp_path / "a.npz") as second:
        assert tensor_digest(first) == tensor_digest(tensor_table(second))


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.array([1, 2], np.int32)},
        {"a": np.array([[1.0, 2.0]], np.float32)},
        {"b": np.array([1.0, 2.0], np.float32)},
        {"a": np.array([1.0, np.nextafter(np.float32(2), np.float32(3))], np.float32)},
        {"a": np.array([1.0, 2.0], np.float32), "b": np.array(0)},
    ],
    ids=["type", "shape", "name", "one bit", "one tensor more"],
)
def test_every_part_of_a_tensor_is_in_the_digest(other: dict[str, np.ndarray]) -> None:
    one = {"a": np.array([1.0, 2.0], np.float32)}
    assert tensor_digest(tensor_table(other)) != tensor_digest(tensor_table(one))


def test_a_table_is_written_one_tensor_a_line(tmp_path: Path) -> None:
    table = tensor_table({"b": np.ones(2, np.int8), "a": np.zeros((1, 2), np.float32)})
    write_tensor_table(tmp_path / "t.json", table)
    assert (tmp_path / "t.json").read_text().splitlines() == [
        "{",
        f'  "a": {{"dtype": "float32", "shape": [1, 2], "sha256": "{table["a"]["sha256"]}"}},',
        f'  "b": {{"dtype": "int8", "shape": [2], "sha256": "{table["b"]["sha256"]}"}}',
        "}",
    ]
    assert read_tensor_table(tmp_path / "t.json") == table


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"dtype": "int8"}}', "\xff"])
def test_what_is_no_table_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ManifestError, match=r"^file is not a tensor table\n"):
        read_tensor_table(tmp_path / "t.json")
