import os
import shutil
import sqlite3
import struct
from contextlib import contextmanager

import numpy as np
import pytest

from tinybert.data.importing import import_records
from tinybert.data.mindrecord import check_mindrecord, index_path
from tinybert.data.mindrecord_reader import read_mindrecords
from tinybert.data.source import inspect
from tinybert.errors import InputError

NAME = "records-00000.mindrecord"
PAGES = 1 << 20  # where the first page begins
RESTORE = "help: restore the file and its .db from their source"
TEXT = "One two.\nThree four.\nOne.\nTwo three."
WORDS = "[PAD] [UNK] [CLS] [SEP] one two three four ."


@pytest.fixture(scope="module")
def made(tmp_path_factory, prepare_text):
    """A directory with the same rows as MindRecord and as TFRecord."""
    directory = tmp_path_factory.mktemp("made")
    for format in ("mindrecord", "tfrecord"):
        prepare_text(directory / format, TEXT, WORDS, seq_length=8, format=format)
    return directory


@pytest.fixture
def path(made, tmp_path):
    """A MindRecord file of rows of 8 tokens with its index, without records.json."""
    path = tmp_path / "records" / NAME
    path.parent.mkdir()
    for source in (made / "mindrecord" / NAME, index_path(made / "mindrecord" / NAME)):
        shutil.copy(source, path.parent)
    return path


@pytest.fixture
def source(path, find):
    return find(dataset_type="mindrecord", seq_length=8)


def check(path, source):
    return check_mindrecord(path, source.format.columns)


def change(path, old, new):
    """Replace bytes of a file, its length kept."""
    data = path.read_bytes()
    assert data.count(old) >= 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new, 1))


def test_the_same_rows_give_the_same_store_in_either_format(made, tmp_path, find):
    directory = str(made / "mindrecord")
    mindrecord = find(directory, "mindrecord", seq_length=8)
    tfrecord = find(str(made / "tfrecord"), seq_length=8)
    stores = [import_records(source, tmp_path / "store") for source in (mindrecord, tfrecord)]
    assert stores[0].rows == inspect(mindrecord).rows == inspect(tfrecord).rows == 2
    assert stores[0].digest == stores[1].digest
    assert [file.path.name for file in stores[0].files] == [NAME, f"{NAME}.db", "records.json"]
    with pytest.raises(InputError, match="token ids go from 0 to 4"):
        import_records(find(directory, "mindrecord", seq_length=8, vocab_size=5), tmp_path / "s")


def test_prepared_bytes_are_the_same_every_time(made, tmp_path, prepare_text):
    prepare_text(tmp_path / "mindrecord", TEXT, WORDS, seq_length=8, format="mindrecord")
    for path in (tmp_path / "mindrecord").iterdir():
        assert path.read_bytes() == (made / "mindrecord" / path.name).read_bytes()


@contextmanager
def flipped(path, place):
    """Flip one bit of a byte for a while."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes((byte ^ 1 << place % 8,)))
        yield
        file.seek(place)
        file.write(bytes((byte,)))


def test_beside_a_sidecar_every_flip_and_cut_is_an_error(made, path, source):
    shutil.copy(made / "mindrecord" / "records.json", path.parent)
    source.digest_files()
    for file in source.record_files:
        size = file.stat().st_size
        for place in range(0, size, size // 40):
            with flipped(file, place), pytest.raises(InputError, match="its SHA-256 is "):
                source.digest_files()
    for file in source.record_files:
        size = file.stat().st_size
        for length in range(size - 1, 0, -(size // 40)):
            os.truncate(file, length)
            with pytest.raises(InputError, match="changed after it was prepared"):
                source.digest_files()


def test_without_a_sidecar_damage_to_header_or_index_is_one_kind_of_error(path, source):
    rows = check(path, source)
    header_end = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    index = index_path(path)
    places = [(path, place) for place in range(header_end)]
    places += [(index, place) for place in range(0, index.stat().st_size, 61)]
    for file, place in places:
        with flipped(file, place):
            try:
                assert check(path, source) == rows
            except InputError:
                pass


def test_every_cut_is_an_error(path, source):
    for file in (path, index_path(path)):
        whole = file.read_bytes()
        places = {0, 1, 7, 8, 100, PAGES, len(whole) // 2, len(whole) - 1}
        for length in sorted(place for place in places if place < len(whole)):
            file.write_bytes(whole[:length])
            with pytest.raises(InputError):
                check(path, source)
        file.write_bytes(whole)
    check(path, source)


def test_what_is_wrong_with_a_file_is_said_with_its_place(path, source):
    whole = path.read_bytes()
    path.write_bytes(b"no MindRecord file")
    with pytest.raises(InputError) as error:
        check(path, source)
    assert str(error.value) == f"the header is no MindRecord header\n  --> {path}\n{RESTORE}"

    path.write_bytes(whole[:-1])
    with pytest.raises(InputError) as error:
        check(path, source)
    assert str(error.value) == (
        f"the file is cut: it has {len(whole) - 1} bytes of {len(whole)}\n  --> {path}\n{RESTORE}"
    )

    path.write_bytes(whole)
    change(path, b'"page_type":', b'"page_tipe":')
    with pytest.raises(InputError) as error:
        check(path, source)
    assert str(error.value) == (f"the header lacks a field of the format\n  --> {path}\n{RESTORE}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b'"segment_ids":{',
            b'"segment_idx":{',
            "column `segment_ids` is missing; found: `input_ids`, `input_mask`, `segment_idx`",
        ),
        (b'"int32"', b'"bytes"', "column `input_ids` holds bytes values, not int32 or int64"),
        (b"[-1]", b"[16]", "column `input_ids` has shape [16], not [8]"),
    ],
)
def test_other_columns_are_errors(path, source, old, new, message):
    change(path, old, new)
    with pytest.raises(InputError) as error:
        check(path, source)
    assert str(error.value) == f"{message}\n  --> {path}"


def test_the_index_and_every_shard_must_be_there(path, source):
    change(path, b'["records-00000.mindrecord"]', b'["records-00009.mindrecord"]')
    with pytest.raises(InputError) as error:
        check(path, source)
    missing = path.with_name("records-00009.mindrecord")
    assert str(error.value) == (
        f"a shard of the set is missing\n  --> {missing}\n"
        "help: copy the whole set: every shard and its .db"
    )
    change(path, b'["records-00009.mindrecord"]', b'["records-00000.mindrecord"]')
    index_path(path).unlink()
    with pytest.raises(InputError) as error:
        check(path, source)
    assert str(error.value) == (
        f"the index of a MindRecord file is missing\n  --> {index_path(path)}\n"
        "help: copy the .db file together with the records"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DELETE FROM INDEXES WHERE ROW_ID = 1", "the index lists 1 rows, the file's header 2"),
        ("UPDATE INDEXES SET ROW_ID = 5 WHERE ROW_ID = 1", "the index numbers 2 rows from 0 to 5"),
        (
            "UPDATE SHARD_NAME SET NAME = 'b.mindrecord'",
            f"the index belongs to b.mindrecord, not to {NAME}",
        ),
        (
            "UPDATE INDEXES SET PAGE_OFFSET_BLOB_END = 9999999 WHERE ROW_ID = 1",
            "the index places 1 rows outside their pages",
        ),
        (
            "UPDATE INDEXES SET PAGE_ID_RAW = 7",
            "the index places 2 rows outside their pages",
        ),
        (
            "UPDATE INDEXES SET PAGE_OFFSET_BLOB = 1 WHERE ROW_ID = 1",
            "the index places 1 rows over others",
        ),
    ],
)
def test_an_index_that_does_not_fit_is_an_error(path, source, change, message):
    database = sqlite3.connect(index_path(path))
    with database:
        database.execute(change)
    database.close()
    with pytest.raises(InputError) as error:
        check(path, source)
    assert str(error.value) == f"{message}\n  --> {index_path(path)}\n{RESTORE}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b'"page_type_id"',
            b'"page_tipe_id"',
            "the framework ended while reading the file (status -6): ",
        ),
        (
            b'"blob_fields"',
            b'"blob_feilds"',
            "the framework cannot read the file: [ERROR] [Internal ERROR] Failed to deserialize",
        ),
    ],
)
def test_a_framework_that_fails_or_ends_on_a_file_is_an_error(
    path, source, tmp_path, old, new, message
):
    change(path, old, new)
    check(path, source)
    with pytest.raises(InputError) as error:
        import_records(source, tmp_path / "store")
    assert error.value.message.startswith(message)
    assert error.value.where == str(path)
    assert [file for file in (tmp_path / "store").iterdir() if file.suffix != ".lock"] == []


def test_a_row_of_another_length_is_an_error_with_its_number(tmp_path, find):
    from mindspore.mindrecord import FileWriter

    path = tmp_path / "records" / "a.mindrecord"
    path.parent.mkdir()
    writer = FileWriter(str(path), 1)
    writer.set_header_size(1 << 16)
    writer.set_page_size(1 << 16)
    names = ("input_ids", "input_mask", "segment_ids")
    writer.add_schema({name: {"type": "int64", "shape": [-1]} for name in names})
    lengths = (4, 4, 3, 4)
    writer.write_raw_data(
        [{name: np.ones(length, np.int64) for name in names} for length in lengths]
    )
    writer.commit()
    with pytest.raises(InputError) as error:
        import_records(find(dataset_type="mindrecord"), tmp_path / "store")
    assert str(error.value) == (f"column `input_ids` holds 3 values, not 4\n  --> {path}, record 3")


def test_a_framework_that_reads_other_rows_is_an_error(path, source):
    with pytest.raises(InputError) as error:
        list(read_mindrecords({path: 3}, source.format.columns))
    assert str(error.value) == (
        f"the framework reads other rows than the file holds (2 of 3)\n  --> {path}"
    )
