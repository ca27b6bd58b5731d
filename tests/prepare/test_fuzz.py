"""Damaged raw files, and inputs that look alike: prepared as they are, or refused by name."""

import json
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prepare.conftest import WORDS, prepare_glue, prepare_ner, prepare_table
from tinybert.data.labels import labels
from tinybert.errors import InputError, TinybertError, UsageError
from tinybert.prepare.vocabulary import load_vocabulary

GOOD = {
    "tsv": b"t\tl\na b\tx\nc\ty\n",
    "csv": b't,l\n"a, ""b""",x\nc,y\n',
    "jsonl": b'{"t": "a", "l": "x"}\n{"t": "\\u00e9", "l": 2}\n',
    "conll": b"a B-x\nb I-x\n\nc O\n",
    "cluener": b'{"text": "ab c", "label": {"name": {"ab": [[0, 1]]}}}\n',
    "QQP": b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t1\n",
    "text": b"A b. C d.\n\nE.\n",
    "wiki": b"<doc id=1>\nA\n\nA b.\n</doc>\n<doc id=2>\nB\n\nC d.\n</doc>\n",
    "documents": b'{"text": "A b.\\nC d."}\n{"text": "E.", "title": "E"}\n',
    "vocabulary": "".join(f"{word}\n" for word in WORDS).encode(),
}
JUNK = [
    b'"', b"\n", b"\n\n", b"\t", b"null", b"1e999", b"{", b"}", b"-", b"NaN", b"<doc ", b"</doc>",
    b"\xef\xbb\xbf", b"\xc2\xa0", b"\xe2\x80\xa8", b"\x00", b"\x1f\x8b\x08", b"1_000", b"\\ud800",
    b"\r", b"[" * 2000, b'"l": 1, ', b"-DOCSTART- ",
]  # fmt: skip
SECONDS = 5


def prepare(kind, path, options, corpus):
    if kind in ("conll", "cluener"):
        return prepare_ner([path], options, kind)
    if kind == "QQP":
        return prepare_glue("QQP", [path], options)
    if kind == "vocabulary":
        return load_vocabulary(path)
    if kind in ("text", "wiki", "documents"):
        return corpus([path], options, single_segments=False)
    return prepare_table([path], options, input_format=kind)


def damage_and_prepare(kind, data, write, options, corpus):
    content = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        taken = data.draw(st.integers(0, 4))
        content[place : place + taken] = data.draw(st.binary(max_size=4) | st.sampled_from(JUNK))
    path = write("raw", bytes(content))
    began = time.monotonic()
    try:
        prepare(kind, path, options(force=True), corpus)
    except TinybertError as error:
        assert str(path) in str(error) or isinstance(error, UsageError) or "labels" in str(error)
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_file_is_prepared_or_refused(kind, data, write, options, corpus):
    damage_and_prepare(kind, data, write, options, corpus)


@pytest.mark.slow
@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=500)
@given(data=st.data())
def test_many_damaged_files_are_prepared_or_refused(kind, data, write, options, corpus):
    damage_and_prepare(kind, data, write, options, corpus)


@pytest.mark.parametrize(
    "letter",
    [
        chr(code)
        for code in range(0x80, 0x3100)
        if chr(code).isspace() or unicodedata.category(chr(code)) in ("Zs", "Zl", "Zp", "Cf")
    ],
    ids=lambda letter: f"{ord(letter):04x}",
)
def test_no_white_space_but_ascii_parts_columns_or_is_left_out_of_labels(letter, write, options):
    path = write("raw", f"a{letter}b O\n{letter} B-x\n")
    sidecar = prepare_ner([path], options("ner"))
    assert sidecar.counts["words"] == 2
    with pytest.raises(InputError, match="the line is not a word and a tag"):
        prepare_ner([write("raw", f"a{letter}O\n")], options("x"))
    path = write("raw.tsv", f"t\tl\na\tx\nb\tx{letter}\n")
    prepare_table([path], options("table"))
    assert labels(options("table").output) == ("x", f"x{letter}")


@given(
    numbers=st.lists(
        st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False),
        min_size=2,
        max_size=5,
    )
)
def test_labels_are_one_where_their_numbers_are_equal(numbers, write, options, read_batch):
    lines = [json.dumps({"t": "a", "l": number}) for number in [*numbers, 0.5, 1.5]]
    path = write("raw.jsonl", "\n".join(lines))
    prepare_table([path], options(force=True))
    ids = read_batch(options().output, "class").label_ids
    values = np.array([*numbers, 0.5, 1.5], np.float64)
    assert np.array_equal(ids[:, None] == ids, values[:, None] == values)
