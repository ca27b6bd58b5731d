import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinybert.errors import InputError
from tinybert.manifest.canonical import canonical, digest, parse_number, to_json


def test_the_example_of_the_rfc() -> None:
    # RFC 8785, section 3.2.2
    text = r"""{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(json.loads(text)) == expected.encode()


def test_keys_are_sorted_by_utf16_units() -> None:
    # RFC 8785, section 3.2.3: U+1F600 is written as surrogates, which come before U+FB33
    assert canonical({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


def test_digest_is_the_sha256_of_the_canonical_bytes() -> None:
    # echo -n '{}' | sha256sum
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_floats_that_json_cannot_write_are_tagged_and_their_digest_survives_json() -> None:
    value = {"a": [math.nan, math.inf, -math.inf, 1.5]}
    assert to_json(value) == {"a": ["float:NaN", "float:Infinity", "float:-Infinity", 1.5]}
    assert digest(json.loads(json.dumps(to_json(value)))) == digest(value)
    assert [str(parse_number(item)) for item in to_json(value)["a"]] == [
        "nan",
        "inf",
        "-inf",
        "1.5",
    ]


def test_tuples_paths_and_numpy_scalars_are_plain() -> None:
    value = {"a": (np.float32(0.5), np.int64(3), np.bool_(True)), "b": Path("x") / "y"}
    assert to_json(value) == {"a": [0.5, 3, True], "b": "x/y"}
    assert [type(item) for item in to_json(value)["a"]] == [float, int, bool]


def test_what_json_has_no_form_for_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"^set has no JSON form$"):
        to_json({"a": {1, 2}})
    with pytest.raises(TypeError, match=r"^keys must be text, not \['1'\]$"):
        to_json({1: 2})
    with pytest.raises(ValueError, match="9007199254740992"):
        canonical(2**53)


@pytest.mark.parametrize("value", [{"path": "a\udcff"}, {"a\udcff": 1}, ["\udcff"]])
def test_a_text_with_other_bytes_than_utf8_is_an_error_that_names_it(value: Any) -> None:
    with pytest.raises(InputError, match=r"^the name is not UTF-8: 'a?\\udcff'\n"):
        canonical(value)
