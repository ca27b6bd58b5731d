import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinybert.data.example import Column, ExampleError, decode_examples, encode_examples

INT64 = st.integers(-(2**63), 2**63 - 1)
IDS = Column("input_ids", "int", 2)
MALFORMED = "the record is no tf.train.Example"


def field(number, data):
    return bytes((number << 3 | 2, len(data))) + data


def example(name, list_field, content):
    entry = field(1, name) + field(2, field(list_field, content))
    return field(1, field(1, entry))


@given(
    ids=arrays(np.int64, (3, 5), elements=INT64),
    labels=arrays(np.float32, (3, 1), elements=st.floats(width=32, allow_nan=False)),
)
def test_what_is_encoded_is_decoded(ids, labels):
    payloads = encode_examples({"input_ids": ids, "label_ids": labels})
    found = decode_examples(
        payloads, [Column("input_ids", "int", 5), Column("label_ids", "float", 1)]
    )
    assert np.array_equal(found["input_ids"], ids)
    assert found["label_ids"].tobytes() == labels.tobytes()


def test_columns_of_equal_bytes_and_other_types_are_kept_apart():
    narrow, wide = np.array([[1, 0]], np.int32), np.array([[1]], np.int64)
    assert narrow.tobytes() == wide.tobytes()
    payloads = [encode_examples({"input_ids": values})[0] for values in (narrow, wide)]
    found = [
        decode_examples([payload], [Column("input_ids", "int", length)])["input_ids"].tolist()
        for payload, length in zip(payloads, (2, 1), strict=True)
    ]
    assert found == [[[1, 0]], [[1]]]


def test_an_example_has_the_bytes_that_protobuf_gives_it():
    # field 1 (Features), field 1 (map entry), key "a", Feature, Int64List, packed 1, 300, -1
    expected = bytes.fromhex("0a180a160a016112111a0f0a0d01ac02" + "ff" * 9 + "01")
    assert encode_examples({"a": np.array([[1, 300, -1]])}) == [expected]


def test_numbers_that_are_not_packed_are_read_too():
    unpacked = example(b"input_ids", 3, b"\x08\x05\x08\xac\x02")
    assert decode_examples([unpacked], [IDS])["input_ids"].tolist() == [[5, 300]]
    single = example(b"label_ids", 2, b"\x0d" + struct.pack("<f", 2.5))
    column = Column("label_ids", "float", 1)
    assert decode_examples([single], [column])["label_ids"].tolist() == [[2.5]]


def test_unknown_fields_and_other_columns_are_left_out():
    extra = field(9, b"x") + b"\x50\x01" + b"\x5d1234" + b"\x6112345678"
    payload = encode_examples({"input_ids": np.array([[1, 2]]), "other": np.array([[1]])})[0]
    assert decode_examples([payload + extra], [IDS])["input_ids"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "column `input_ids` is missing; found: none"),
        (
            encode_examples({"ids": np.array([[1, 2]]), "b": np.array([[1]])})[0],
            "column `input_ids` is missing; found: `b`, `ids`",
        ),
        (example(b"input_ids", 3, b""), "column `input_ids` holds 0 values, not 2"),
        (
            example(b"input_ids", 3, b"\x0a\x03\x01\x02\x03"),
            "column `input_ids` holds 3 values, not 2",
        ),
        (
            example(b"input_ids", 2, b"\x0a\x04abcd"),
            "column `input_ids` holds float values, not int",
        ),
        (example(b"input_ids", 1, b"\x0a\x01a"), "column `input_ids` holds bytes values, not int"),
        (field(1, field(1, field(1, b"input_ids"))), "column `input_ids` holds no values, not int"),
        (example(b"input_ids", 3, b"\x0d1234"), "column `input_ids` holds 0 values, not 2"),
        (b"\x08\x01", "column `input_ids` is missing; found: none"),
        (field(1, field(1, field(1, b"a")) * 2), "column `a` is there twice"),
        (
            field(1, field(1, field(1, b"input_ids") + field(2, field(3, b"") * 2))),
            "column `input_ids` holds two lists",
        ),
        (
            field(1, field(1, field(1, b"input_ids") + field(2, field(2, b"") + field(3, b"")))),
            "column `input_ids` holds two lists",
        ),
        (example(b"input_ids", 3, b"\x0a\x03\x01\x02\x83"), MALFORMED),  # inside a number
        (example(b"input_ids", 3, b"\x0a\x0d\x01" + b"\xff" * 11 + b"\x01"), MALFORMED),  # too long
        (field(1, field(1, field(1, b"\xff"))), MALFORMED),  # a name that is not UTF-8
        (b"\x0a\x7f", MALFORMED),
        (b"\x0a", MALFORMED),
        (b"\x02\x01a", MALFORMED),
        (b"\x0b", MALFORMED),
        (b"\xff" * 11, MALFORMED),
    ],
)
def test_a_bad_record_is_reported_with_its_index(payload, message):
    good = encode_examples({"input_ids": np.array([[7, 8]])})[0]
    with pytest.raises(ExampleError) as error:
        decode_examples([good, good, payload, good, payload], [IDS])
    assert (error.value.index, error.value.message) == (2, message)


@given(payload=st.binary(max_size=40), at=st.integers(0, 60), junk=st.binary(max_size=4))
def test_garbage_is_never_another_kind_of_error(payload, at, junk):
    good = encode_examples({"input_ids": np.array([[7, 800]])})[0]
    for data in (payload, good[:at] + junk + good[at + len(junk) :], good[:at]):
        try:
            found = decode_examples([good, data], [IDS])["input_ids"]
        except ExampleError as error:
            assert error.index == 1
        else:
            assert found.shape == (2, 2)
