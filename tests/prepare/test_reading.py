from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinybert.errors import TinybertError, UsageError
from tinybert.prepare.ner import prepare_ner
from tinybert.prepare.reading import read_lines, read_table
from tinybert.prepare.sentences import prepare_glue, prepare_table

GOOD = {
    "tsv": b"t\tl\na b\tx\nc\ty\n",
    "csv": b't,l\n"a, ""b""",x\nc,y\n',
    "jsonl": b'{"t": "a", "l": "x"}\n{"t": "\\u00e9", "l": 2}\n',
    "conll": b"a B-x\nb I-x\n\nc O\n",
    "cluener": b'{"text": "ab c", "label": {"name": {"ab": [[0, 1]]}}}\n',
    "QQP": b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t1\n",
}


def prepare(kind, path, options):
    if kind in ("conll", "cluener"):
        prepare_ner([path], options, input_format=kind, labels=None, labels_from=None)
    elif kind == "QQP":
        prepare_glue("QQP", [path], options, label_names=None)
    else:
        prepare_table(
            [path],
            options,
            text="t",
            text_pair=None,
            label="l",
            label_kind="class",
            labels=None,
            labels_from=None,
            input_format=kind,
        )


@pytest.mark.parametrize("kind", GOOD)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_prepared_or_refused_and_nothing_else(kind, data, write, options):
    content = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        taken = data.draw(st.integers(0, 3))
        content[place : place + taken] = data.draw(
            st.binary(max_size=3)
            | st.sampled_from([b'"', b"\n", b"\t", b"null", b"1e999", b"{", b"-"])
        )
    path = write("raw", bytes(content))
    try:
        prepare(kind, path, options(force=True))
    except TinybertError as error:
        assert str(path) in str(error) or isinstance(error, UsageError)


def test_only_a_line_feed_ends_a_line(write):
    path = write("raw", "\ufeffa\u2028b\x0cc\r\nd\re\n\ufefff")
    sizes = []
    assert list(read_lines(path, sizes.append)) == [
        (1, "a\u2028b\x0cc"),
        (2, "d\re"),
        (3, "\ufefff"),
    ]
    assert sum(sizes) == path.stat().st_size


def test_rows_name_their_lines(write):
    path = write("raw", 't,l\n\n"a\n\nb",x\nc,y\n')
    rows = list(read_table(path, "csv", ["l", "t"], lambda size: None))
    assert rows == [(f"{path}:5", ["x", "a\n\nb"]), (f"{path}:6", ["y", "c"])]


def test_broken_rows_are_counted_where_they_may_be_left_out(write):
    path = write("raw", "t\tl\na\na\tb\na\tb\tc\n")
    damaged = Counter()
    rows = list(read_table(path, "tsv", ["t"], lambda size: None, damaged=damaged))
    assert rows == [(f"{path}:3", ["a"])]
    assert damaged == {"left_out_rows": 2}
