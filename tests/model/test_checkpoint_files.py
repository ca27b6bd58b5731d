"""Checkpoint files against the libraries that write them, and every length that they state."""

import json
import random
import struct

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import save_file

from tinybert.errors import InputError
from tinybert.model.checkpoint_files import encode_ckpt, read_arrays

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([1.5, -2.0], np.float16),
    "double": np.array([[0.1]], np.float64),
    "ids": np.arange(4),
    "flag": np.array([True, False]),
    "scalar": np.float32(3),
}
BRAINS = np.array([1.0, -0.5, 3.140625, 1e30, -1e-30, 0.0], np.float32)
BITS = (BRAINS.view(np.uint32) >> 16).astype(np.uint16)
WIDENED = (BITS.astype(np.uint32) << 16).view(np.float32)


def save_by_framework(path, arrays, **options):
    parameters = [{"name": name, "data": ms.Tensor(value)} for name, value in arrays.items()]
    ms.save_checkpoint(parameters, str(path), **options)


def same(arrays, wanted):
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in wanted.items()
    }


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    return str(caught.value).replace(str(path.parent), "DIR")


def test_ckpt_files_have_the_bytes_and_the_arrays_of_the_framework(tmp_path):
    path = tmp_path / "a.ckpt"
    save_by_framework(path, ARRAYS)
    assert b"".join(encode_ckpt(ARRAYS)) == path.read_bytes()
    same(read_arrays(path).arrays, ARRAYS)


def test_what_training_adds_to_a_ckpt_file_is_read(tmp_path):
    path = tmp_path / "a.ckpt"
    save_by_framework(path, {}, append_dict={"epoch": 3, "lr": 0.5, "ok": True, "note": "hé"})
    arrays = read_arrays(path).arrays
    assert {name: array.item() for name, array in arrays.items()} == {
        "epoch": 3, "lr": 0.5, "ok": True, "note": "hé",
    }  # fmt: skip


def test_a_ckpt_file_of_bfloat16_is_widened_exactly(tmp_path):
    path = tmp_path / "a.ckpt"
    save_by_framework(path, {})
    ms.save_checkpoint([{"name": "b", "data": ms.Tensor(BRAINS, ms.bfloat16)}], str(path))
    same(read_arrays(path).arrays, {"b": ms.Tensor(BRAINS, ms.bfloat16).float().asnumpy()})


def test_the_checksum_of_a_ckpt_file_is_compared(tmp_path):
    path = tmp_path / "a.ckpt"
    save_by_framework(path, ARRAYS, crc_check=True)
    content = path.read_bytes()
    same(read_arrays(path).arrays, ARRAYS)
    path = tmp_path / "b.ckpt"
    path.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:])
    assert "unreadable MindSpore checkpoint: its CRC-32 is another\n" in refusal(path)


def value(tag, dims, kind, content):
    """Return one value of a ckpt file, encoded by hand."""

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    shape = b"".join(bytes([8]) + varint(dim) for dim in dims)
    tensor = shape + field(2, kind.encode()) + field(3, content)
    return field(1, field(1, tag.encode()) + field(2, tensor))


def varint(number):
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def test_a_large_tensor_lies_in_several_values(tmp_path):
    path = tmp_path / "a.ckpt"
    data = ARRAYS["a"].tobytes()
    parts = [value("a", (2, 3), "Float32", part) for part in (data[:12], data[12:20], data[20:])]
    path.write_bytes(b"".join(parts))
    same(read_arrays(path).arrays, {"a": ARRAYS["a"]})
    path.write_bytes(b"".join(parts[:2]))
    assert "a holds 20 bytes and states 2 x 3 Float32\n" in refusal(path)


def test_older_scalars_have_a_dimension_of_none(tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_bytes(value("lr", (0,), "Float32", np.float32(2).tobytes()))
    same(read_arrays(path).arrays, {"lr": np.float32(2)})


BYTE = value("a", (1,), "Int8", b"1")
HUGE = (2**40, 2**40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (value("a", (2,), "Float64", bytes(8)), "a holds 8 bytes and states 2 Float64"),
        (value("a", (2,), "Float16", bytes(8)), "a holds 8 bytes and states 2 Float16"),
        (
            value("a", HUGE, "Int8", b"1"),
            "a holds 1 bytes and states 1099511627776 x 1099511627776 Int8",
        ),
        (value("a", (-2, -1), "Int8", b"12"), "a holds 2 bytes and states -2 x -1 Int8"),
        (value("a", (), "Float32", b""), "a holds 0 bytes and states one Float32"),
        (value("a", (1,), "Int4", b"1"), "a is of unknown type `Int4`"),
        (value("a", (1,), "", b"1"), "a is of unknown type ``"),
        (BYTE + value("b", (1,), "Int8", b"1") + BYTE, "a is there twice"),
        (BYTE + value("a", (2,), "Int8", b"1"), "the parts of a differ in shape or type"),
        (b"", "it holds no tensors"),
    ],
)
def test_a_ckpt_file_that_does_not_hold_what_it_states_is_refused(tmp_path, content, message):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    assert refusal(path) == (
        f"unreadable MindSpore checkpoint: {message}\n  --> DIR/a.ckpt\n"
        "help: get the file again; it is cut short or not a MindSpore checkpoint"
    )


def write_bfloat16(path, **others):
    """Write a safetensors file by hand, with a tensor of bfloat16."""
    data = b"".join(array.tobytes() for array in others.values())
    header, place = {}, 0
    for name, array in others.items():
        entry = {"dtype": "F32", "shape": array.shape}
        header[name] = entry | {"data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    offsets = [place, place + BITS.nbytes]
    header["brains"] = {"dtype": "BF16", "shape": [2, 3], "data_offsets": offsets}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data + BITS.tobytes())


def test_a_safetensors_file_of_bfloat16_is_widened_exactly(tmp_path):
    path = tmp_path / "a.safetensors"
    write_bfloat16(path, a=ARRAYS["a"])
    same(read_arrays(path).arrays, {"a": ARRAYS["a"], "brains": WIDENED.reshape(2, 3)})


@pytest.fixture
def shards(tmp_path):
    """A directory with a model in two shards; returns the index as a function of its content."""
    save_file({"a": ARRAYS["a"]}, tmp_path / "model-1.safetensors")
    save_file({"half": ARRAYS["half"], "ids": ARRAYS["ids"]}, tmp_path / "model-2.safetensors")
    index = tmp_path / "model.safetensors.index.json"

    def write(**places):
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
        return tmp_path

    return write


PLACES = {"a": "model-1.safetensors", "half": "model-2.safetensors", "ids": "model-2.safetensors"}


def test_the_shards_of_an_index_are_read(shards):
    directory = shards(**PLACES)
    stored = read_arrays(directory)
    same(stored.arrays, {name: ARRAYS[name] for name in PLACES})
    assert [file.name for file in stored.files] == [
        "model.safetensors.index.json",
        "model-1.safetensors",
        "model-2.safetensors",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": "other.safetensors"}, "the index names `other.safetensors`, which is not beside it"),
        ({"a": "../model-1.safetensors"}, "the index names `../model-1.safetensors`, which is not"),
        ({"b": "model-1.safetensors"}, "do not name the same tensors, such as b"),
        ({"ids": "model-1.safetensors"}, "do not name the same tensors, such as ids"),
    ],
)
def test_shards_that_the_index_does_not_describe_are_refused(shards, changes, message):
    assert message in refusal(shards(**(PLACES | changes)))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert refusal(tmp_path).startswith("not an index of safetensors files\n")


def mutations(content, count):
    """Yield copies of a file with bits changed, parts cut, doubled, or put in other places."""
    draw = random.Random(7)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(draw.randrange(1, 4)):
            begin = draw.randrange(len(changed) + 1)
            length = draw.choice((1, 2, 8, 64))
            match draw.randrange(4):
                case 0:
                    del changed[begin : begin + length]
                case 1:
                    changed[begin:begin] = draw.randbytes(length)
                case 2:
                    changed[begin:begin] = changed[begin : begin + length]
                case 3:
                    for place in range(begin, min(begin + length, len(changed))):
                        changed[place] ^= 1 << draw.randrange(8)
        yield bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_no_damage_gives_anything_but_arrays_of_the_bytes_there_or_a_refusal(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "ckpt":
        path.write_bytes(b"".join(encode_ckpt(ARRAYS)))
    else:
        write_bfloat16(path, **{f"a{index}": ARRAYS["a"] for index in range(4)})
    whole, refused = path.read_bytes(), 0
    for content in mutations(whole, 4000):
        path.write_bytes(content)
        try:
            arrays = read_arrays(path).arrays
        except InputError:
            refused += 1
            continue
        stored = sum(array.nbytes for array in arrays.values() if array.dtype.kind != "U")
        widened = 2 if kind == "safetensors" else 1
        assert stored <= widened * len(content)
    assert 1000 < refused < 4000
