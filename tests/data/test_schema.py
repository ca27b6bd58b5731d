import json

import pytest

from tinybert.data.example import Column
from tinybert.data.schema import check_rows, load_schema, schema_bytes
from tinybert.errors import InputError

COLUMNS = (Column("input_ids", "int", 4), Column("label_ids", "float", 1))
CURE = "\nhelp: let schema_dir, seq_length and the label of the recipe fit the record files"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "schema.json"
    path.write_bytes(schema_bytes(COLUMNS, 7))
    return path


def changed(path, *keys, value):
    content = json.loads(path.read_bytes())
    table = content
    for key in keys[:-1]:
        table = table[key]
    if value is None:
        del table[keys[-1]]
    else:
        table[keys[-1]] = value
    path.write_text(json.dumps(content))


def test_a_schema_that_was_written_is_read(path):
    schema = load_schema(path, COLUMNS)
    assert schema.numRows == 7
    assert schema.columns["input_ids"].shape == (4,)
    check_rows(path, schema, 7)


def test_num_rows_rank_shape_and_other_columns_may_be_left_out(path):
    changed(path, "numRows", value=None)
    changed(path, "columns", "input_ids", "rank", value=None)
    changed(path, "columns", "input_ids", "shape", value=None)
    changed(path, "columns", "next_sentence_labels", value={"type": "int64"})
    check_rows(path, load_schema(path, COLUMNS), 123)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("columns", "input_ids"), None, "column `input_ids` is missing; found: `label_ids`"),
        (("columns", "input_ids", "shape"), [128], "column `input_ids` has shape [128], not [4]"),
        (("columns", "input_ids", "rank"), 2, "column `input_ids` has rank 2, not 1"),
        (
            ("columns", "input_ids", "type"),
            "float32",
            'column `input_ids` has type "float32", not "int64"',
        ),
        (
            ("columns", "label_ids", "type"),
            "int64",
            'column `label_ids` has type "int64", not "float32"',
        ),
    ],
)
def test_a_schema_that_says_something_else_is_an_error(path, keys, value, message):
    changed(path, *keys, value=value)
    with pytest.raises(InputError) as error:
        load_schema(path, COLUMNS)
    assert str(error.value) == f"the schema contradicts the recipe: {message}\n  --> {path}{CURE}"


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("columns",), None, "at `columns`: Field required"),
        (("numRows",), "7", "at `numRows`: Input should be a valid integer"),
        (("numRows",), -1, "at `numRows`: Input should be greater than or equal to 0"),
        (("datasetType",), "MR", "at `datasetType`: Input should be 'TF'"),
        (("columns", "input_ids", "type"), None, "at `columns.input_ids.type`: Field required"),
    ],
)
def test_a_malformed_schema_is_an_error(path, keys, value, message):
    changed(path, *keys, value=value)
    with pytest.raises(InputError) as error:
        load_schema(path, COLUMNS)
    assert str(error.value) == f"the schema file is wrong {message}\n  --> {path}"


DOUBLED = b'{"columns": {}, "columns": {}}'


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b"null", b"[" * 5000, DOUBLED])
def test_what_is_no_json_object_is_an_error(path, data):
    path.write_bytes(data)
    with pytest.raises(InputError, match="the schema file is wrong"):
        load_schema(path, COLUMNS)


def test_a_missing_schema_is_an_error(tmp_path):
    with pytest.raises(InputError) as error:
        load_schema(tmp_path / "no.json", COLUMNS)
    assert str(error.value) == (
        f"the schema file cannot be read: No such file or directory\n  --> {tmp_path / 'no.json'}"
    )


def test_rows_are_held_against_num_rows(path):
    with pytest.raises(InputError) as error:
        check_rows(path, load_schema(path, COLUMNS), 6)
    assert str(error.value) == (
        f"the record files hold 6 rows; the schema's numRows is 7\n  --> {path}\n"
        "help: restore the missing or cut record files, or correct numRows"
    )
