import json
import math
import os
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinybert.strict_json import EXACT, MAX_DEPTH, parse_json, read_json

TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@given(VALUES, st.booleans())
def test_every_value_of_json_is_read(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == parse_json(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number of JSON"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "key `c` is there twice"),
        ("[1e999]", "1e999 is beyond 64-bit floats"),
        (r'["\ud800"]', "it holds half a surrogate pair"),
        (r'{"\udc00": 1}', "it holds half a surrogate pair"),
        ("[" * 100_000, "it is nested too deeply"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "it is nested too deeply"),
        ('"\ud800"', "it holds half a surrogate pair"),
        ("9" * 5000, "Exceeds the limit"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("1_000", "Extra data: line 1 column 2 (char 1)"),
        ("\ufeff1", "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ('"1"'.encode("utf-16"), "'utf-8' codec can't decode byte 0xff in position 0"),
        ("", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_is_no_json_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError) as error:
        parse_json(text)
    assert str(error.value).startswith(reason)


@given(st.floats())
def test_only_finite_numbers_are_read(number):
    if math.isfinite(number):
        assert parse_json(json.dumps(number)) == number
    else:
        with pytest.raises(ValueError, match="is no number of JSON"):
            parse_json(json.dumps(number))


@given(st.binary() | st.text('[]{},:"\\u0123456789dDeE+-.aNIfinty \ud800').map(repr))
@example(b"")
def test_anything_is_read_or_refused(data):
    try:
        value = parse_json(data)
    except ValueError:
        return
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("text", [str(EXACT), f"[{-EXACT}]", "9" * 5000])
def test_integers_that_others_round_are_refused_where_they_must_be_exact(text):
    with pytest.raises(ValueError) as error:
        parse_json(text, exact_integers=True)
    assert str(error.value) == "it holds an integer of 2^53 or more"


def test_limits_are_reached():
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deepest)) == deepest
    assert parse_json(str(EXACT - 1), exact_integers=True) == EXACT - 1
    assert parse_json("1.7976931348623157e308") == math.nextafter(math.inf, 0)
    assert parse_json(r'"\ud83d\ude00"') == "\U0001f600"


def test_a_file_is_read_up_to_a_limit(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, limit=11) == {"a": 1}
    with pytest.raises(ValueError, match="it is larger than 10 bytes"):
        read_json(path, limit=10)


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none", "/dev/zero", tmp_path / "\x00"):
        with pytest.raises(OSError):
            read_json(path)


def test_many_keys_take_linear_time():
    keys = [f'"key{number}": {number}' for number in range(200_000)]
    began = time.process_time()
    with pytest.raises(ValueError, match="is there twice"):
        parse_json("{" + ", ".join([*keys, keys[-1]]) + "}")
    assert time.process_time() - began < 5
