import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinybert.atomic import atomic_directory
from tinybert.data.rows import RowFormat
from tinybert.data.store import StoreWriter, TokenStore
from tinybert.errors import InputError
from tinybert.files import digest_file


@st.composite
def tables(draw):
    """Any legal rows, in any format: columns (rows, length) and their RowFormat."""
    rows, width = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    rows_format = RowFormat(
        seq_length=width,
        vocab_size=draw(st.sampled_from([1, 2, 300, 65536, 65537, 2**31])),
        type_vocab_size=draw(st.sampled_from([1, 2, 128, 129, 40000])),
        input_mask_from_dataset=draw(st.booleans()),
        token_type_ids_from_dataset=draw(st.booleans()),
        label=draw(st.sampled_from([None, "class", "number", "token"])),
    )
    highest = {
        "input_ids": rows_format.vocab_size - 1,
        "input_mask": 1,
        "segment_ids": rows_format.type_vocab_size - 1,
    }
    columns = {}
    for column in rows_format.columns:
        shape = (rows, column.length)
        if column.kind == "float":
            columns[column.name] = draw(arrays(np.float32, shape, elements=st.floats(width=32)))
        elif column.name == "label_ids":
            numbers = st.integers(-(2**31), 2**31 - 1)
            columns[column.name] = draw(arrays(np.int64, shape, elements=numbers))
        else:
            ends = st.sampled_from([0, highest[column.name]])
            numbers = ends | st.integers(0, highest[column.name])
            columns[column.name] = draw(arrays(np.int64, shape, elements=numbers))
    return rows_format, columns


def written(path, rows_format, *blocks):
    with atomic_directory(path) as temporary, StoreWriter(temporary, rows_format) as writer:
        for block in blocks:
            writer.append(block)
    return TokenStore.open(path, rows_format, ())


def naive_batch(rows_format, columns, indices):
    ids = columns["input_ids"][indices]
    ones, zeros = np.ones_like(ids), np.zeros_like(ids)
    labels = columns["label_ids"][indices] if rows_format.label else None
    if rows_format.label in ("class", "number"):
        labels = labels[:, 0]
    mask = columns["input_mask"][indices] if rows_format.input_mask_from_dataset else ones
    types = columns["segment_ids"][indices] if rows_format.token_type_ids_from_dataset else zeros
    return ids, types, mask, labels


@given(table=tables(), data=st.data())
def test_any_legal_rows_come_back_as_they_were(table, data, tmp_path_factory):
    rows_format, columns = table
    rows = len(columns["input_ids"])
    cut = data.draw(st.integers(0, rows))
    blocks = [
        {name: values[a:b] for name, values in columns.items()} for a, b in ((0, cut), (cut, rows))
    ]
    store = written(tmp_path_factory.mktemp("store") / "s", rows_format, *blocks)
    assert store.rows == rows
    indices = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=8)), np.int64)
    batch = store.batch(indices)
    ids, types, mask, labels = naive_batch(rows_format, columns, indices)
    assert np.array_equal(batch.input_ids, ids)
    assert np.array_equal(batch.segment_ids, types)
    assert np.array_equal(batch.input_mask, mask)
    assert batch.input_ids.dtype == batch.segment_ids.dtype == batch.input_mask.dtype == np.int32
    if rows_format.label is None:
        assert batch.label_ids is None
    else:
        assert batch.label_ids.dtype == (np.float32 if rows_format.label == "number" else np.int32)
        assert np.array_equal(batch.label_ids, labels, equal_nan=rows_format.label == "number")


@pytest.fixture
def rows_format():
    return RowFormat(4, 300, 2, True, True, "token")


@pytest.fixture
def block():
    return {
        "input_ids": np.array([[2, 0, 3, 0], [2, 0, 0, 0], [0, 0, 0, 0]]),
        "input_mask": np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
        "segment_ids": np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]),
        "label_ids": np.array([[5, 6, 7, -100], [1, 2, -100, -100], [-100] * 4]),
    }


def test_a_batch_can_be_as_narrow_as_its_longest_row(tmp_path, rows_format, block):
    store = written(tmp_path / "s", rows_format, block)
    assert store.lengths.tolist() == [3, 2, 0]
    batch = store.batch(np.array([1, 2]), seq_length=2)
    assert batch.input_ids.tolist() == [[2, 0], [0, 0]]
    assert batch.segment_ids.tolist() == [[0, 1], [0, 0]]
    assert batch.input_mask.tolist() == [[1, 0], [0, 0]]
    assert batch.label_ids.tolist() == [[1, 2], [-100, -100]]
    with pytest.raises(ValueError, match="a row is longer than seq_length 2"):
        store.batch(np.array([0, 1]), seq_length=2)


def test_a_batch_is_wide_enough_for_every_label_that_counts(tmp_path, rows_format, block):
    block["label_ids"] = np.array(
        [[5, -100, -100, -100], [1, -100, 2, -100], [-100, -100, -100, 3]]
    )
    store = written(tmp_path / "s", rows_format, block)
    assert store.lengths.tolist() == [3, 3, 4]
    assert store.batch_lengths(np.array([2, 0]), 3).tolist() == [4, 3, 0]


def test_where_every_position_counts_no_row_is_short(tmp_path, block):
    rows_format = RowFormat(4, 300, 2, False, True)
    store = written(tmp_path / "s", rows_format, block)
    assert store.lengths.tolist() == [4, 4, 4]
    assert store.batch(np.array([2])).input_mask.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("index", [-1, 3])
def test_rows_outside_the_store_are_refused(tmp_path, rows_format, block, index):
    store = written(tmp_path / "s", rows_format, block)
    with pytest.raises(IndexError, match="rows go from 0 to 2"):
        store.batch(np.array([0, index]))


def test_plain_text_needs_no_marks_and_two_bytes_a_token(tmp_path):
    rows_format = RowFormat(4, 30522, 2, True, True)
    ids = np.array([[101, 7, 102, 0]])
    block = {"input_ids": ids, "input_mask": (ids > 0) * 1, "segment_ids": ids * 0}
    written(tmp_path / "s", rows_format, block)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "s").glob("*.bin")}
    assert sizes == {"input_ids.bin": 6, "offsets.bin": 16}


def test_equal_rows_have_equal_digests_and_one_token_changes_it(tmp_path, rows_format, block):
    first = written(tmp_path / "a", rows_format, block)
    rows = [{name: values[row : row + 1] for name, values in block.items()} for row in range(3)]
    assert written(tmp_path / "b", rows_format, *rows).digest == first.digest
    other = {**block, "input_ids": block["input_ids"].copy()}
    other["input_ids"][0, 1] = 1
    assert written(tmp_path / "c", rows_format, other).digest != first.digest


def test_every_flipped_byte_of_a_store_is_an_error(tmp_path, rows_format, block):
    written(tmp_path / "s", rows_format, block)
    for path in (tmp_path / "s").iterdir():
        whole = path.read_bytes()
        for index in range(len(whole)):
            flipped = bytes((whole[index] ^ 1 << index % 8,))
            path.write_bytes(whole[:index] + flipped + whole[index + 1 :])
            with pytest.raises(InputError):
                TokenStore.open(tmp_path / "s", rows_format, ())
        path.write_bytes(whole)
    TokenStore.open(tmp_path / "s", rows_format, ())


def test_a_damaged_store_says_how_to_get_a_whole_one(tmp_path, rows_format, block):
    written(tmp_path / "s", rows_format, block)
    ids = tmp_path / "s" / "input_ids.bin"
    before = digest_file(ids).sha256
    ids.write_bytes(b"")
    cure = "help: delete this directory; the next run imports the records again"
    with pytest.raises(InputError) as error:
        TokenStore.open(tmp_path / "s", rows_format, ())
    assert str(error.value) == (
        f"the token store is damaged: its SHA-256 is {digest_file(ids).sha256}, not {before}\n"
        f"  --> {ids}\n{cure}"
    )
    index = tmp_path / "s" / "store.json"
    index.write_text(json.dumps({"arrays": {}}))
    with pytest.raises(InputError) as error:
        TokenStore.open(tmp_path / "s", rows_format, ())
    assert str(error.value) == f"the token store is damaged\n  --> {index}\n{cure}"


def test_the_digest_of_a_batch_covers_every_array_and_its_shape(tmp_path, rows_format, block):
    store = written(tmp_path / "s", rows_format, block)
    digests = [
        store.batch(np.array([0, 1])).digest(),
        store.batch(np.array([1, 0])).digest(),
        store.batch(np.array([0, 1]), seq_length=3).digest(),
        store.batch(np.array([0])).digest(),
    ]
    for name in block:
        other = {**block, name: block[name].copy()}
        other[name][0, 0] ^= 1
        digests.append(
            written(tmp_path / name, rows_format, other).batch(np.array([0, 1])).digest()
        )
    assert len(set(digests)) == len(digests)
    assert store.batch(np.array([0, 1])).digest() == digests[0]
