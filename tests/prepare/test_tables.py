"""Records from tables whose columns are named."""

import pytest

from tests.prepare.conftest import CLS, SEP, UNK, A, B, C, prepare_table
from tinybert.data.labels import labels
from tinybert.errors import InputError, UsageError
from tinybert.prepare.sentences import sort_labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.tsv", "x\tt\tl\n\ta b\tyes\n\tc\tno\n"),
        ("in.csv", 't,l,x\n"a\nb",yes,\nc,no,\n'),
        ("in.jsonl", '{"t": "a b", "l": "yes"}\n\n{"l": "no", "t": "c", "x": [1]}\n'),
    ],
)
def test_a_table_is_read_by_the_names_of_its_columns(name, content, write, options, read_batch):
    path = write(name, content)
    sidecar = prepare_table([path, path], options())
    assert sidecar.task.labels == ("no", "yes")
    batch = read_batch(options().output, "class")
    assert batch.input_ids[:, :4].tolist() == [[CLS, A, B, SEP], [CLS, C, SEP, 0]] * 2
    assert batch.label_ids.tolist() == [1, 0, 1, 0]


def test_a_table_may_hold_pairs_and_numbers(write, options, read_batch):
    path = write("in.json", '{"t": "a", "u": "b", "l": 1.5}\n{"t": "c", "u": 3, "l": "-2"}\n')
    changes = {"text_pair": "u", "label_kind": "number"}
    sidecar = prepare_table([path], options(), **changes)
    assert sidecar.task.columns == {"text": "t", "text_pair": "u", "label": "l"}
    assert sidecar.task.labels is sidecar.task.label_counts is labels(options().output) is None
    batch = read_batch(options().output, "number")
    assert batch.label_ids.tolist() == [1.5, -2.0]
    assert batch.input_ids[:, :5].tolist() == [[CLS, A, SEP, B, SEP], [CLS, C, SEP, UNK, SEP]]


def test_the_label_order_is_given_taken_over_or_sorted(write, options):
    train = write("train.tsv", "t\tl\na\t10\nb\t9\nc\t1\n")
    dev = write("dev.tsv", "t\tl\na\t9\n")
    assert prepare_table([train], options("train")).task.labels == ("1", "9", "10")
    taken = options("train").output
    assert prepare_table([dev], options("dev"), labels_from=taken).task.label_counts == (0, 1, 0)
    assert prepare_table([dev], options("given"), labels=["9", "8"]).task.labels == ("9", "8")
    assert sort_labels({"b", "10", "9"}) == ["10", "9", "b"]
    assert sort_labels({"\u0662", "10", "9"}) == ["10", "9", "\u0662"]


def test_equal_numbers_are_one_label(write, options, read_batch):
    path = write("in.jsonl", '{"t": "a", "l": 1}\n{"t": "b", "l": 1.0}\n{"t": "c", "l": 0}\n')
    assert prepare_table([path], options()).task.labels == ("0", "1")
    assert read_batch(options().output, "class").label_ids.tolist() == [1, 1, 0]
    path = write("in.tsv", "t\tl\na\t1\nb\t1.0\n")
    with pytest.raises(InputError) as error:
        prepare_table([path], options("other"))
    assert str(error.value) == (
        "labels `1` and `1.0` are the same number\n"
        "help: write it in one way, or name the labels with --labels"
    )


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        (
            "in.txt",
            "",
            {},
            "the name does not say whether this is TSV, CSV or JSON lines\n  --> {0}\n"
            "help: name it with --input-format",
        ),
        (
            "in.csv",
            't,l\na,x\n"b,y\n',
            {},
            "the row is not CSV: unexpected end of data\n  --> {0}:3",
        ),
        ("in.csv", 't,l\n"b"c,y\n', {}, "the row is not CSV: ',' expected after '\"'\n  --> {0}:2"),
        ("in.tsv", "t\tl\tt\na\tx\tb\n", {}, "column `t` is there 2 times\n  --> {0}:1"),
        ("in.tsv", "t\tl\na\tx\nb\t \n", {}, "the label is empty\n  --> {0}:3"),
        ("in.tsv", "t\tl\na\tx\n", {}, "a task has at least 2 labels; here: `x`"),
        ("in.tsv", "t\tl\na\tx\n", {"labels": ["x", "x"]}, "label `x` is named twice"),
        (
            "in.tsv",
            "t\tl\na\tx\n",
            {"labels": ["x", "y"], "label_kind": "number"},
            "labels that are numbers have no names\nhelp: leave out --labels",
        ),
        (
            "in.tsv",
            "",
            {"labels": ["x"], "labels_from": "."},
            "--labels and --labels-from exclude each other",
        ),
    ],
)
def test_a_bad_table_is_one_clear_error(name, content, changes, message, write, options):
    path = write(name, content)
    with pytest.raises((InputError, UsageError)) as error:
        prepare_table([path], options(), **changes)
    assert str(error.value) == message.format(path)
    assert not options().output.exists()


@pytest.mark.parametrize("dataset_type", ["tfrecord", "mindrecord"])
@pytest.mark.parametrize(
    ("name", "content", "separator"),
    [
        ("in.tsv", "t\tl\na\tx,y\nb\t\nc\t y , z\n", ","),
        ("in.csv", 't,l\na,"[""x"", ""y""]"\nb,[]\nc,"[""z"", ""y""]"\n', None),
        (
            "in.jsonl",
            '{"t": "a", "l": ["x", "y"]}\n{"t": "b", "l": []}\n{"t": "c", "l": ["y", "z"]}\n',
            None,
        ),
    ],
)
def test_a_row_may_have_any_number_of_labels(
    name, content, separator, dataset_type, write, options, read_batch
):
    made = options(format=dataset_type)
    path = write(name, content)
    sidecar = prepare_table([path], made, label_kind="classes", label_separator=separator)
    assert (sidecar.task.label, sidecar.task.labels) == ("classes", ("x", "y", "z"))
    assert sidecar.task.label_counts == (1, 2, 1)
    assert sidecar.counts["rows_without_labels"] == 1
    batch = read_batch(made.output, "classes", dataset_type, num_labels=3)
    assert batch.label_ids.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert batch.label_ids.dtype == "int32"


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ("t\tl\na\tx,y\n", {}, "in.tsv:2: the labels are no JSON list of texts"),
        ("t\tl\na\t[1]\n", {}, "in.tsv:2: the labels are no JSON list of texts"),
        (
            "t\tl\na\tx,w\n",
            {"label_separator": ",", "labels": ["x", "y"]},
            "in.tsv:2: `w` is not a label of this task: `x`, `y`",
        ),
        (
            "t\tl\na\tx\n",
            {"label_kind": "class", "label_separator": ","},
            "--label-separator is for --label-kind classes",
        ),
    ],
)
def test_labels_that_cannot_be_read_are_errors(content, changes, message, write, options):
    with pytest.raises((InputError, UsageError)) as caught:
        prepare_table([write("in.tsv", content)], options(), **{"label_kind": "classes", **changes})
    assert message in f"{caught.value.where}: {caught.value.message}"
