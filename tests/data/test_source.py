import json
import shutil
from hashlib import sha256

import pytest

from tinybert.data.sidecar import load_sidecar
from tinybert.data.source import inspect
from tinybert.errors import InputError

FIND = "help: let the recipe name a record file, a directory of them, or a glob"
RESTORE = "help: restore the directory as it was prepared, or prepare it anew"


def names(source):
    return [path.name for path in source.paths]


def other_bytes(path, before):
    now, then = (sha256(content).hexdigest() for content in (path.read_bytes(), before))
    message = "the file was changed after it was prepared: its SHA-256 is"
    return f"{message} {now}, not {then}\n  --> {path}\n{RESTORE}"


def touch(tmp_path, *files):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()


@pytest.fixture
def prepared(tmp_path, prepare_text):
    """Two prepared rows of 4 tokens in two files, in `records`."""
    words = "[PAD] [UNK] [CLS] [SEP] a b"
    prepare_text(tmp_path / "records", "A.\nB.", words, seq_length=4, rows_per_file=1)
    return tmp_path / "records"


def test_files_are_found_by_name_directory_and_glob_in_sorted_order(tmp_path, find):
    touch(
        tmp_path,
        "r/b.tfrecord",
        "r/a.tf_record",
        "r/c.tfrecord-00",
        "r/schema.json",
        "r/notes.md",
        "r/.hidden",
        "r/vocab.txt",
    )
    assert names(find("r")) == ["a.tf_record", "b.tfrecord", "c.tfrecord-00"]
    assert names(find("r/b.tfrecord")) == ["b.tfrecord"]
    assert names(find("r/[bc]*")) == ["b.tfrecord", "c.tfrecord-00"]
    assert names(find("*/*record")) == ["a.tf_record", "b.tfrecord"]
    assert names(find(str(tmp_path / "r"))) == ["a.tf_record", "b.tfrecord", "c.tfrecord-00"]
    touch(tmp_path, "m/a.mindrecord1", "m/a.mindrecord0", "m/a.mindrecord0.db")
    assert names(find("m", "mindrecord")) == ["a.mindrecord0", "a.mindrecord1"]


@pytest.mark.parametrize(
    ("files", "data_dir", "place", "message", "cure"),
    [
        ([], "no", "no", "no such file or directory", FIND),
        ([], "no*", "no*", "data_dir names no file", FIND),
        (["r/schema.json"], "r", "r", "data_dir holds no record file", FIND),
        (
            ["r/a.tfrecord", "r/b.mindrecord"],
            "r",
            "r/b.mindrecord",
            'by its name this is no tfrecord file; dataset_type is "tfrecord"',
            "help: correct dataset_type, or name the record files by a glob",
        ),
        (
            ["r/a.tfrecord", "r/part-00000"],
            "r",
            "r/part-00000",
            "the name does not say whether this is a record file: it has neither `tfrecord` nor "
            "`mindrecord` in it",
            "help: move it elsewhere, or name the record files by a glob",
        ),
    ],
)
def test_what_names_no_record_files_is_an_error(
    tmp_path, find, files, data_dir, place, message, cure
):
    touch(tmp_path, *files)
    with pytest.raises(InputError) as error:
        find(data_dir)
    assert str(error.value) == f"{message}\n  --> {tmp_path / place}\n{cure}"


def test_a_glob_may_go_through_directories_and_the_root_is_no_pattern(tmp_path, find):
    root = tmp_path / "[a]*"
    touch(root.parent, "[a]*/x.tfrecord")
    touch(root, "r/2.tfrecord", "q/1.tfrecord")
    source = find("**/*.tfrecord", root=root)
    assert [str(path.relative_to(root)) for path in source.paths] == [
        "q/1.tfrecord",
        "r/2.tfrecord",
        "x.tfrecord",
    ]


def test_prepared_records_are_accepted_as_they_are(prepared, find):
    source = find(schema_dir="records/schema.json", vocab_size=6)
    assert [file.path.name for file in source.digest_files()] == [
        "records-00000.tfrecord",
        "records-00001.tfrecord",
        "schema.json",
        "records.json",
    ]
    inspection = inspect(source)
    assert (inspection.rows, inspection.problems) == (load_sidecar(prepared).rows, ())


def damages(whole):
    """Every byte with one bit flipped, and every shorter file."""
    for index in range(len(whole)):
        flipped = bytes((whole[index] ^ 1 << index % 8,))
        yield whole[:index] + flipped + whole[index + 1 :]
        yield whole[:index]


@pytest.mark.parametrize("name", ["records-00001.tfrecord", "schema.json"])
def test_every_flipped_byte_and_every_cut_of_a_prepared_file_is_an_error(prepared, find, name):
    source = find(schema_dir="records/schema.json")
    source.digest_files()
    for damaged in damages((prepared / name).read_bytes()):
        (prepared / name).write_bytes(damaged)
        with pytest.raises(InputError, match="the file was changed after it was prepared"):
            source.digest_files()


def test_every_flipped_byte_and_every_cut_of_a_sidecar_is_an_error(prepared):
    path = prepared / "records.json"
    whole = path.read_bytes()
    content = load_sidecar(prepared)
    for damaged in damages(whole):
        path.write_bytes(damaged)
        if damaged == whole[:-1]:  # without its last line break it says the same
            assert load_sidecar(prepared) == content
            continue
        with pytest.raises(InputError):
            load_sidecar(prepared)


def test_exchanged_added_and_missing_files_are_errors(prepared, find):
    first, second = sorted(prepared.glob("*.tfrecord"))
    source = find()
    kept = first.read_bytes()

    second.rename(prepared.parent / "kept")
    for data_dir in ("records", "records/*.tfrecord"):
        with pytest.raises(InputError) as error:
            find(data_dir)
        assert str(error.value) == f"a prepared record file is missing\n  --> {second}\n{RESTORE}"
    assert names(find("records/records-00000.tfrecord")) == ["records-00000.tfrecord"]
    shutil.copy(prepared.parent / "kept", second)

    shutil.copy(second, first)
    second.write_bytes(kept)
    with pytest.raises(InputError) as error:
        source.digest_files()
    assert str(error.value) == other_bytes(first, before=kept)
    shutil.copy(second, first)
    shutil.copy(prepared.parent / "kept", second)

    added = prepared / "more.tfrecord"
    added.write_bytes(kept)
    message = (
        "the file was added to prepared records: records.json does not list it\n"
        f"  --> {added}\nhelp: move it to a directory of its own"
    )
    with pytest.raises(InputError) as error:
        find().digest_files()
    assert str(error.value) == message
    assert [str(problem) for problem in inspect(find()).problems] == [message]


def test_a_changed_byte_is_said_to_differ_in_its_digest(prepared, find):
    path = prepared / "records-00000.tfrecord"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + b"\0")
    with pytest.raises(InputError) as error:
        find().digest_files()
    assert str(error.value) == other_bytes(path, before)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is not what `prepare` writes"),
        (b"[]", "the file is not what `prepare` writes"),
        (b"{}", "the file is not what `prepare` writes"),
        (b'{"sha256": "0"}', "the file was changed after it was made"),
        (
            b'{"sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}',
            "the file is not what `prepare` writes: `dataset_type`: Field required",
        ),
    ],
)
def test_a_bad_sidecar_is_an_error(prepared, data, message):
    (prepared / "records.json").write_bytes(data)
    with pytest.raises(InputError) as error:
        load_sidecar(prepared)
    assert str(error.value) == f"{message}\n  --> {prepared / 'records.json'}\n{RESTORE}"


def test_another_seq_length_than_prepared_is_an_error(prepared, find):
    message = (
        f"the records hold 4 tokens a row, seq_length is 5\n  --> {prepared / 'records.json'}\n"
        "help: prepare the records anew with this seq_length, or correct the recipe"
    )
    with pytest.raises(InputError) as error:
        find(seq_length=5).digest_files()
    assert str(error.value) == message
    assert [str(problem) for problem in inspect(find(seq_length=5)).problems] == [message]


def test_inspection_lists_every_problem_and_reads_no_payload(
    tmp_path, find, write_tfrecord, columns
):
    for name in ("a", "b", "c"):
        write_tfrecord(tmp_path / "records" / f"{name}.tfrecord", columns)
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"columns": {}, "numRows": 9}))
    for name in ("a", "b"):
        path = tmp_path / "records" / f"{name}.tfrecord"
        path.write_bytes(path.read_bytes()[:-1])
    inspection = inspect(find(schema_dir="schema.json"))
    assert inspection.rows is None
    assert [(problem.message, problem.where) for problem in inspection.problems] == [
        (
            "the file ends inside a record (74 payload bytes announced)",
            f"{tmp_path}/records/a.tfrecord, record 3, byte 183",
        ),
        (
            "the file ends inside a record (74 payload bytes announced)",
            f"{tmp_path}/records/b.tfrecord, record 3, byte 183",
        ),
        (
            "the schema contradicts the recipe: column `input_ids` is missing; found: none",
            str(schema),
        ),
    ]
