import bz2
import gzip
import lzma

import pytest

from tinybert.data.tfrecord import count_records, masked_crc, read_records, write_records
from tinybert.errors import InputError

PAYLOADS = [b"first", b"", b"x" * 60]
RECORD_STARTS = [0, 21, 37, 113]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.tfrecord"
    with open(path, "wb") as file:
        write_records(file, PAYLOADS)
    return path


def read_all(path):
    return [payload for _, payload in read_records(path)]


def test_the_checksum_is_that_of_the_format():
    # CRC-32C of "123456789" is 0xE3069283; rotated by 15 bits, plus 0xA282EAD8
    rotated = (0xE3069283 >> 15 | 0xE3069283 << 17) & 0xFFFFFFFF
    assert masked_crc(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF


def test_records_are_read_with_their_places(path):
    assert list(read_records(path)) == list(zip(RECORD_STARTS, PAYLOADS, strict=False))
    assert count_records(path) == 3


def test_every_flipped_bit_is_an_error(path):
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            read_all(path)


def test_every_cut_is_an_error_except_between_records(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length in RECORD_STARTS[1:]:
            assert read_all(path) == PAYLOADS[: RECORD_STARTS.index(length)]
        else:
            for function in (read_all, count_records):
                with pytest.raises(InputError):
                    function(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda data: data[:50],
            "the file ends inside a record (60 payload bytes announced)\n"
            "  --> {0}, record 3, byte 37\nhelp: restore the file from its source; it was cut",
        ),
        (
            lambda data: data[:40],
            "the file ends inside a record (3 of a record's 12 header bytes)\n"
            "  --> {0}, record 3, byte 37\nhelp: restore the file from its source; it was cut",
        ),
        (
            lambda data: data[:22] + b"\1" + data[23:],
            "the record's length does not match its checksum\n  --> {0}, record 2, byte 21\n"
            "help: restore the file from its source; it is damaged, or not a TFRecord file",
        ),
        (
            lambda data: data[:100] + b"y" + data[101:],
            "the record's payload does not match its checksum\n  --> {0}, record 3, byte 37\n"
            "help: restore the file from its source; it is damaged, or not a TFRecord file",
        ),
        (lambda data: b"", "the file holds no record\n  --> {0}"),
    ],
)
def test_the_message_names_file_record_and_byte(path, damage, message):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as error:
        read_all(path)
    assert str(error.value) == message.format(path)


@pytest.mark.parametrize(("program", "library"), [("gzip", gzip), ("bzip2", bz2), ("xz", lzma)])
def test_a_compressed_file_is_named_as_such(path, program, library):
    path.write_bytes(library.compress(path.read_bytes()))
    for function in (read_all, count_records):
        with pytest.raises(InputError) as error:
            function(path)
        assert str(error.value) == (
            f"the file is compressed with {program}\n  --> {path}, record 1, byte 0\n"
            "help: unpack it: record files are read as they are"
        )


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError) as error:
        count_records(tmp_path / "no.tfrecord")
    assert str(error.value) == (
        f"cannot be read: No such file or directory\n  --> {tmp_path / 'no.tfrecord'}"
    )
