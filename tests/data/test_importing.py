import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinybert.data.example import encode_examples
from tinybert.data.importing import import_records
from tinybert.data.schema import schema_bytes
from tinybert.data.tfrecord import write_records
from tinybert.errors import InputError
from tinybert.files import digest_file


@pytest.fixture
def store_root(tmp_path):
    return tmp_path / "runs" / "store"


def stores(store_root):
    """Names of everything in the store's root that is not a lock."""
    return [path.name for path in store_root.iterdir() if path.suffix != ".lock"]


def random_columns(rows, seed):
    random = np.random.default_rng(seed)
    return {
        "input_ids": random.integers(0, 300, (rows, 4)),
        "input_mask": random.permuted(np.tile([1, 1, 0, 0], (rows, 1)), axis=1),
        "segment_ids": random.integers(0, 2, (rows, 4)),
    }


def test_rows_of_several_files_are_in_the_order_of_their_paths(
    tmp_path, find, write_tfrecord, store_root
):
    parts = [random_columns(rows, seed) for seed, rows in enumerate((1500, 1, 1024))]
    for name, part in zip(("a", "b", "c"), parts, strict=True):
        write_tfrecord(tmp_path / "records" / f"{name}.tfrecord", part)
    seen = []
    store = import_records(find(), store_root, progress=lambda *rows: seen.append(rows))
    batch = store.batch(np.arange(2525))
    for name in ("input_ids", "input_mask", "segment_ids"):
        expected = np.concatenate([part[name] for part in parts])
        assert np.array_equal(getattr(batch, name), expected)
    assert seen == [(1024, 2525), (1500, 2525), (1501, 2525), (2525, 2525)]
    assert [(file.path.name, file.size) for file in store.files] == [
        (path.name, path.stat().st_size) for path in sorted((tmp_path / "records").iterdir())
    ]


@pytest.mark.parametrize(
    ("kind", "labels", "expected"),
    [
        ("class", [[1], [0], [-(2**31)]], [1, 0, -(2**31)]),
        ("number", np.array([[0.5], [-1.25], [5.0]], np.float32), [0.5, -1.25, 5.0]),
        ("token", [[1, 2, 3, 4]] * 3, [[1, 2, 3, 4]] * 3),
    ],
)
def test_labels_of_every_kind_are_read(
    tmp_path, find, write_tfrecord, columns, store_root, kind, labels, expected
):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", {**columns, "label_ids": labels})
    batch = import_records(find(label=kind), store_root).batch(np.arange(3))
    assert batch.label_ids.tolist() == expected
    assert batch.input_ids.tolist() == columns["input_ids"]


def test_masks_and_segments_that_are_not_from_the_dataset_are_not_read(
    tmp_path, find, write_tfrecord, columns, store_root
):
    ids = {"input_ids": columns["input_ids"], "input_mask": [[9, 9, 9, 9]] * 3}
    write_tfrecord(tmp_path / "records" / "a.tfrecord", ids)
    source = find(input_mask_from_dataset=False, token_type_ids_from_dataset=False)
    batch = import_records(source, store_root).batch(np.arange(3))
    assert batch.input_ids.tolist() == columns["input_ids"]
    assert batch.input_mask.tolist() == [[1] * 4] * 3
    assert batch.segment_ids.tolist() == [[0] * 4] * 3


def test_a_store_is_made_once_for_files_and_options(
    tmp_path, find, write_tfrecord, columns, store_root
):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    first = import_records(find(), store_root)
    other = import_records(find(token_type_ids_from_dataset=False), store_root)
    assert len(stores(store_root)) == 2
    assert first.digest != other.digest
    (tmp_path / "records").rename(tmp_path / "moved")
    again = import_records(find("moved"), store_root, progress=lambda *rows: pytest.fail("read"))
    assert again.digest == first.digest
    assert len(stores(store_root)) == 2


def test_files_that_were_hashed_already_are_not_read_again(
    tmp_path, find, write_tfrecord, columns, store_root
):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    source = find()
    first = import_records(source, store_root)
    (tmp_path / "records").rename(tmp_path / "moved")
    again = import_records(source, store_root, files=first.files)
    assert (again.digest, again.files) == (first.digest, first.files)


@pytest.mark.parametrize(
    ("name", "row", "values", "message"),
    [
        (
            "input_ids",
            1,
            [2, 300, 300, 3],
            "input_ids[1] is 300; token ids go from 0 to 299 (vocab_size 300)\n  --> {0}, record 2",
        ),
        (
            "input_ids",
            2,
            [2, 3, 0, -1],
            "input_ids[3] is -1; token ids go from 0 to 299 (vocab_size 300)\n  --> {0}, record 3",
        ),
        (
            "input_mask",
            0,
            [1, 1, 2, 0],
            "input_mask[2] is 2; a mask is 0 or 1\n  --> {0}, record 1",
        ),
        (
            "input_mask",
            1,
            [0, 0, 0, 0],
            "input_mask has no 1; a row has a token\n  --> {0}, record 2",
        ),
        (
            "segment_ids",
            2,
            [0, 0, 0, 2],
            "segment_ids[3] is 2; segment ids go from 0 to 1 (type_vocab_size 2)\n"
            "  --> {0}, record 3",
        ),
        (
            "label_ids",
            2,
            [0, 0, 2**31, 2],
            "label_ids[2] is 2147483648; labels have 32 bits\n  --> {0}, record 3",
        ),
    ],
)
def test_values_that_are_not_legal_are_errors(
    tmp_path, find, write_tfrecord, columns, store_root, name, row, values, message
):
    path = tmp_path / "records" / "a.tfrecord"
    columns["label_ids"] = [[0, 0, 0, 0] for _ in range(3)]
    columns[name][row] = values
    write_tfrecord(path, columns)
    with pytest.raises(InputError) as error:
        import_records(find(label="token"), store_root)
    assert str(error.value) == message.format(path)
    assert stores(store_root) == []


def test_labels_that_are_not_finite_are_errors(tmp_path, find, write_tfrecord, columns, store_root):
    path = tmp_path / "records" / "a.tfrecord"
    labels = np.array([[1.0], [np.nan], [np.inf]], np.float32)
    write_tfrecord(path, {**columns, "label_ids": labels})
    with pytest.raises(InputError) as error:
        import_records(find(label="number"), store_root)
    assert str(error.value) == f"label_ids[0] is nan; labels are finite\n  --> {path}, record 2"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            encode_examples({"ids": np.array([[1]])})[0],
            "column `input_ids` is missing; found: `ids`\n  --> {0}, record 2, byte 91",
        ),
        (
            encode_examples({"input_ids": np.array([[1, 2, 3, 4]])})[0],
            "column `input_mask` is missing; found: `input_ids`\n  --> {0}, record 2, byte 91",
        ),
        (
            b"garbage with a checksum",
            "the record is no tf.train.Example\n  --> {0}, record 2, byte 91",
        ),
    ],
)
def test_records_with_valid_checksums_and_wrong_content_are_errors(
    tmp_path, find, columns, store_root, bad, message
):
    good = encode_examples({name: np.array(values[:1]) for name, values in columns.items()})
    path = tmp_path / "records" / "a.tfrecord"
    path.parent.mkdir()
    with open(path, "wb") as file:
        write_records(file, [*good, bad, *good])
    with pytest.raises(InputError) as error:
        import_records(find(), store_root)
    assert str(error.value) == message.format(path)
    assert stores(store_root) == []


def test_a_wrong_number_of_values_is_an_error(tmp_path, find, write_tfrecord, columns, store_root):
    path = tmp_path / "records" / "a.tfrecord"
    write_tfrecord(path, columns)
    with pytest.raises(InputError) as error:
        import_records(find(seq_length=8), store_root)
    assert str(error.value) == (
        f"column `input_ids` holds 4 values, not 8\n  --> {path}, record 1, byte 0"
    )


def test_no_flipped_byte_and_no_cut_is_imported(
    tmp_path, find, write_tfrecord, columns, store_root
):
    path = tmp_path / "records" / "a.tfrecord"
    write_tfrecord(path, {name: values[:2] for name, values in columns.items()})
    (tmp_path / "schema.json").write_bytes(schema_bytes(find().format.columns, 2))
    source = find(schema_dir="schema.json")
    whole = path.read_bytes()
    for index in range(len(whole)):
        flipped = bytes((whole[index] ^ 1 << index % 8,))
        for damaged in (whole[:index] + flipped + whole[index + 1 :], whole[:index]):
            path.write_bytes(damaged)
            with pytest.raises(InputError):
                import_records(source, store_root)
    assert stores(store_root) == []


def test_rows_are_counted_against_the_schema_before_reading(
    tmp_path, find, write_tfrecord, columns, store_root
):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    schema = tmp_path / "schema.json"
    schema.write_bytes(schema_bytes(find().format.columns, 4))
    with pytest.raises(InputError) as error:
        import_records(find(schema_dir="schema.json"), store_root)
    assert error.value.message == "the record files hold 3 rows; the schema's numRows is 4"


def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path, find, write_tfrecord, columns, store_root
):
    path = tmp_path / "records" / "a.tfrecord"
    write_tfrecord(path, columns)
    with pytest.raises(InputError) as error:
        import_records(find(), store_root, progress=lambda *rows: os.utime(path, ns=(0, 0)))
    assert str(error.value) == (
        f"a record file was changed while it was read\n  --> {path}\n"
        "help: start again when nothing writes to it"
    )
    assert stores(store_root) == []


def test_a_store_that_was_changed_with_its_digests_is_an_error(
    tmp_path, find, write_tfrecord, columns, store_root
):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    import_records(find(), store_root)
    (store,) = (store_root / name for name in stores(store_root))
    ids, index = store / "input_ids.bin", store / "store.json"
    before = digest_file(ids).sha256
    ids.write_bytes(ids.read_bytes()[::-1])
    index.write_text(index.read_text().replace(before, digest_file(ids).sha256))
    with pytest.raises(InputError) as error:
        import_records(find(), store_root)
    assert str(error.value) == (
        f"the token store is damaged: its digest is {digest_file(index).sha256}, which its name is"
        f" not\n  --> {store}\n"
        "help: delete this directory; the next run imports the records again"
    )


def test_an_import_that_was_killed_before_its_store_had_its_name_begins_anew(
    tmp_path, find, write_tfrecord, columns, store_root
):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    import_records(find(), store_root)
    (name,) = stores(store_root)
    left = (store_root / name).rename(store_root / name.partition("-")[0])
    (left / "input_ids.bin").write_bytes(b"")
    import_records(find(), store_root)
    assert stores(store_root) == [name]


def test_a_store_that_cannot_be_written_is_an_error(tmp_path, find, write_tfrecord, columns):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written: File exists"):
        import_records(find(), tmp_path / "file")


STRESS = """
import json, os, signal, sys
from pathlib import Path
from tests.data.kills import die_at
from tinybert.data import importing
from tinybert.data.rows import RowFormat
from tinybert.data.source import RecordSource
from tinybert.data.store import TokenStore

root, task = Path(sys.argv[1]), sys.argv[2]
source = RecordSource.find(
    "records", root, dataset_type="tfrecord", schema_dir=None,
    format=RowFormat(4, 300, 2, input_mask_from_dataset=True, token_type_ids_from_dataset=True),
)
store_root = root / "store"


def log_import(done, total):
    with open(root / "imports", "a") as log:
        log.write("one")


def import_in_a_process(kill_at):
    if process := os.fork():
        return process
    die_at(kill_at)
    store = importing.import_records(source, store_root, progress=log_import)
    (root / "digest").write_text(store.digest)
    os._exit(0)


def wait(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def whole_stores():
    return [p for p in store_root.glob("*") if p.is_dir() and not p.name.startswith(".")]


def leftovers():
    return [p for p in store_root.glob(".*")]


if task == "kill":
    killed = kept = 0
    digests = set()
    for kill_at in range(1, 10000):
        for path in sorted(store_root.glob("*/*")):
            path.unlink()
        for path in whole_stores():
            path.rmdir()
        status = wait(import_in_a_process(kill_at))
        for path in whole_stores():
            kept += status != 0
            TokenStore.open(path, source.format, ())
        assert wait(import_in_a_process(0)) == 0
        assert len(whole_stores()) == 1 and not leftovers(), (kill_at, leftovers())
        digests.add((root / "digest").read_text())
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
    print(json.dumps([killed, kept, len(digests)]))
else:
    statuses = [wait(process) for process in [import_in_a_process(0) for _ in range(8)]]
    print(json.dumps([statuses, (root / "imports").read_text(), len(whole_stores())]))
"""


def stress(tmp_path, task):
    """Run many importing processes of a program that has no threads and no framework."""
    run = subprocess.run(
        [sys.executable, "-c", STRESS, str(tmp_path), task],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_kill_at_any_moment_leaves_no_store_or_a_whole_one(tmp_path, write_tfrecord, columns):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    killed, kept, digests = stress(tmp_path, "kill")
    assert killed > 30
    assert 0 < kept < killed
    assert digests == 1


def test_of_many_processes_one_imports_and_all_get_the_store(tmp_path, write_tfrecord, columns):
    write_tfrecord(tmp_path / "records" / "a.tfrecord", columns)
    assert stress(tmp_path, "race") == [[0] * 8, "one", 1]
