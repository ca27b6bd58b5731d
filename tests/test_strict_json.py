import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.strict_json import parse_json

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
