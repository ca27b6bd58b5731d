import bz2
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from runner import main
from tinybert.data.example import decode_examples
from tinybert.data.rows import RowFormat
from tinybert.data.sidecar import load_sidecar
from tinybert.data.tfrecord import read_records
from tinybert.errors import InputError, UsageError
from tinybert.prepare.corpus import pack
from tinybert.prepare.vocabulary import load_vocabulary
from tinybert.prepare.vocabulary_training import VocabularyOptions, prepare_vocabulary

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
WIKI = "help: it was read as wiki; name another format with --input-format"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three", "four", "five", ".", "##s"]
PAD, UNK, CLS, SEP, ONE, TWO, THREE, FOUR, FIVE, DOT, S = range(11)


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return path


@pytest.fixture
def prepare(write, options, corpus):
    """Prepare a text with the words of this file, lower-cased."""

    def prepare_text(text, output="records", pairs=None, **changes):
        settings = {} if pairs is None else {"single_segments": False, "seed": pairs}
        source = write("text.txt", text)
        return corpus([source], options(output, lowercase=True, **changes), **settings)

    return prepare_text


def make_vocabulary(text, output, size, *, force=False):
    options = VocabularyOptions(output, size, None, True, None, None, force)
    return prepare_vocabulary([str(text)], options)


def read_rows(directory, seq_length):
    rows = RowFormat(seq_length, 2**31, 2, True, True)
    payloads = [
        payload
        for path in sorted(directory.glob("*.tfrecord"))
        for _, payload in read_records(path)
    ]
    return decode_examples(payloads, rows.columns)


def test_sentences_are_packed_in_document_order_as_computed_by_hand(prepare, tmp_path):
    text = (
        '<doc id="1">\nThe title\n\nOne two. Three.\nFour five one two. Ones\n</doc>\n'
        '<doc id="2">\nTitle\n\nOne two three four five one two three.\n</doc>\n'
    )
    sidecar = prepare(text)
    columns = read_rows(tmp_path / "records", 8)
    assert columns["input_ids"].tolist() == [
        [CLS, ONE, TWO, DOT, THREE, DOT, SEP, PAD],  # the third sentence does not fit
        [CLS, FOUR, FIVE, ONE, TWO, DOT, SEP, PAD],  # nor does the fourth: two tokens, one place
        [CLS, ONE, S, SEP, PAD, PAD, PAD, PAD],  # a document never shares a row
        [CLS, ONE, TWO, THREE, FOUR, FIVE, ONE, SEP],  # nine tokens are cut at six
        [CLS, TWO, THREE, DOT, SEP, PAD, PAD, PAD],
    ]
    assert columns["input_mask"].tolist() == (columns["input_ids"] != PAD).astype(int).tolist()
    assert not columns["segment_ids"].any()
    assert sidecar.rows == 5
    assert sidecar.counts == {
        "documents": 2,
        "sentences": 5,
        "cut_sentences": 1,
        "tokens": 21,
        "unknown": 0,
    }


def test_the_last_piece_of_a_cut_sentence_is_packed_like_a_sentence():
    sentences = [((0, 0), [5]), ((0, 0), [6] * 5), ((0, 0), [7])]
    counts = Counter()
    rows = list(pack(iter(sentences), 5, 1, 2, counts))
    assert rows == [[1, 5, 2], [1, 6, 6, 6, 2], [1, 6, 6, 7, 2]]
    assert counts["cut_sentences"] == 1


def test_text_never_makes_special_tokens(prepare, tmp_path):
    prepare("one [SEP] two")
    ids = read_rows(tmp_path / "records", 8)["input_ids"]
    assert ids.tolist() == [[CLS, ONE, UNK, UNK, UNK, TWO, SEP, PAD]]


def test_rows_are_spread_over_files_in_their_order(prepare, tmp_path):
    text = "\n".join(["One two three four."] * 5)
    whole = prepare(text, output="whole")
    split = prepare(text, output="split", rows_per_file=2)
    assert [file.rows for file in split.files] == [2, 2, 1, None]
    assert whole.rows == split.rows == 5
    assert np.array_equal(
        read_rows(tmp_path / "whole", 8)["input_ids"], read_rows(tmp_path / "split", 8)["input_ids"]
    )


def test_the_committed_records_can_be_made_again_byte_for_byte(tmp_path, options, corpus):
    changes = {"vocab": TINY / "vocab.txt", "seq_length": 32, "rows_per_file": 1_000_000}
    corpus([TINY / "text"], options(lowercase=True, **changes))
    committed = {path.name: path.read_bytes() for path in (TINY / "records").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()} == committed
    assert load_sidecar(TINY / "records").rows >= 400


def test_the_committed_vocabulary_can_be_made_again_byte_for_byte(tmp_path):
    path = tmp_path / "vocab.txt"
    tokens = make_vocabulary(TINY / "text", path, 800)
    assert tokens == len(load_vocabulary(path).ids) == 800
    assert path.read_bytes() == (TINY / "vocab.txt").read_bytes()


def test_an_existing_output_stays_as_it_is(prepare, tmp_path):
    prepare("One.")
    before = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    with pytest.raises(UsageError) as error:
        prepare("Two.")
    assert str(error.value) == (
        f"the output exists\n  --> {tmp_path / 'records'}\n"
        "help: name another, or replace it with --force"
    )
    with pytest.raises(InputError, match="not UTF-8"):
        prepare(b"Two. \xff", force=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records", "text.txt", "vocab.txt"]


def test_force_replaces_prepared_records_and_nothing_else(prepare, tmp_path):
    prepare("One.")
    assert prepare("One.\nTwo three four five one.", force=True).rows == 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError) as error:
        prepare("One.", output="other", force=True)
    assert str(error.value) == (
        "the output was not made by `prepare` (it holds no records.json), and is not replaced\n"
        f"  --> {other}\nhelp: name another, or remove it yourself"
    )
    assert (other / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the input holds no text\n  --> {0}"),
        (b" \n\n", "the input holds no text\n  --> {0}"),
        (
            b"One.\nTw\xffo.",
            "the line is not UTF-8\n  --> {0}:2\nhelp: convert the file, for example with iconv",
        ),
        (b"<doc id=1>\nT\nOne.", f"the file ends inside a document\n  --> {{0}}:3\n{WIKI}"),
        (b"<doc id=1>\nT\n<doc id=2>\n", f"unexpected <doc \n  --> {{0}}:3\n{WIKI}"),
        (b"<doc id=1>\nT\n</doc>\nOne.", f"text between two documents\n  --> {{0}}:4\n{WIKI}"),
        (
            b"One.\n</doc>\n",
            "a mark of WikiExtractor in plain text: </doc>\n  --> {0}:2\n"
            "help: it was read as text; name another format with --input-format",
        ),
        (
            b'\n{"text": "One."}\nTwo.\n',
            "the line is not JSON: Expecting value: line 1 column 1 (char 0)\n  --> {0}:3\n"
            "help: it was read as jsonl; name another format with --input-format",
        ),
        (
            b'{"title": "One."}\n',
            "`text` is missing, or no text\n  --> {0}:1\n"
            "help: it was read as jsonl; name another format with --input-format",
        ),
        (bz2.compress(b"One."), "the file is compressed with bzip2\n  --> {0}:1\nhelp: unpack it"),
    ],
)
def test_bad_text_is_one_clear_error(prepare, tmp_path, text, message):
    with pytest.raises(InputError) as error:
        prepare(text)
    assert str(error.value) == message.format(tmp_path / "text.txt")
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n", "the vocabulary lacks [SEP]\n  --> {0}"),
        (b"", "the vocabulary lacks [PAD]\n  --> {0}"),
        (
            b"a\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n",
            "[PAD] has id 1, not 0\n  --> {0}:2\n"
            "help: padding is id 0: let the vocabulary begin with [PAD]",
        ),
        (b"[PAD]\na\nb\na\n", "the vocabulary lists `a` twice, first in line 2\n  --> {0}:4"),
        (
            b"[PAD]\n\xe4",
            "the line is not UTF-8\n  --> {0}:2\nhelp: convert the file, for example with iconv",
        ),
        (
            b"[PAD]\n\n[UNK]\n",
            "the vocabulary has an empty line\n  --> {0}:2\n"
            "help: remove it: a token's id is its line, counted from 0",
        ),
    ],
)
def test_a_bad_vocabulary_is_one_clear_error(tmp_path, data, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        load_vocabulary(path)
    assert str(error.value) == message.format(path)


def test_marks_line_ends_and_blank_lines_at_the_end_change_no_vocabulary(vocab):
    plain = load_vocabulary(vocab)
    data = vocab.read_bytes()
    assert plain.sha256 == sha256(data).hexdigest()
    for other in (
        b"\xef\xbb\xbf" + data,
        data + b"\n\n \n",
        data.replace(b"\n", b"\r\n"),
        data.removesuffix(b"\n"),
    ):
        vocab.write_bytes(other)
        assert load_vocabulary(vocab) == plain


def test_missing_inputs_are_errors(tmp_path, vocab):
    with pytest.raises(InputError) as error:
        load_vocabulary(tmp_path / "no.txt")
    assert str(error.value) == (
        f"cannot be read: No such file or directory\n  --> {tmp_path / 'no.txt'}"
    )
    with pytest.raises(InputError) as error:
        make_vocabulary(tmp_path / "no*", tmp_path / "v", 99)
    assert str(error.value) == f"the input names no text file\n  --> {tmp_path / 'no*'}"


def test_a_vocabulary_is_not_replaced_unless_asked_and_has_room_for_the_letters(tmp_path, vocab):
    before = vocab.read_bytes()
    with pytest.raises(UsageError, match="the file exists"):
        make_vocabulary(vocab, vocab, 99)
    with pytest.raises(UsageError, match="has at least 49 tokens, not 9"):
        make_vocabulary(vocab, vocab, 9, force=True)
    assert vocab.read_bytes() == before


def test_an_output_that_cannot_be_written_is_an_error(prepare, tmp_path):
    with pytest.raises(InputError) as error:
        prepare("One.", output="text.txt/records")
    assert str(error.value) == f"cannot be written: File exists\n  --> {tmp_path / 'text.txt'}"


def test_pairs_of_segments_are_the_default_of_the_command_line_and_are_recorded(tmp_path, vocab):
    text = tmp_path / "text.txt"
    text.write_text("One two.\nThree four.\nFive one.\n\nTwo two two.\n")
    command = f"prepare corpus {text} --vocab {vocab} --lowercase --seq-length 12 --output"
    for name, extra in (("default", ""), ("same", "--seed 1"), ("other", "--seed 2")):
        assert main([*command.split(), str(tmp_path / name), *extra.split()]) == 0
    columns = read_rows(tmp_path / "default", 12)
    for ids, mask, segments in zip(
        *(columns[name].tolist() for name in ("input_ids", "input_mask", "segment_ids")),
        strict=True,
    ):
        first, last = (place for place, token in enumerate(ids) if token == SEP)
        assert ids[0] == CLS and mask == [1] * (last + 1) + [0] * (11 - last)
        assert segments == [0] * (first + 1) + [1] * (last - first) + [0] * (11 - last)
    sidecar = load_sidecar(tmp_path / "default")
    assert sidecar.pairs.model_dump() == {
        "seed": 1,
        "short_documents": 0.1,
        "recent_documents": 1000,
    }
    assert sidecar.counts["documents"] == 2
    assert sidecar == load_sidecar(tmp_path / "same")
    assert load_sidecar(tmp_path / "other").files != sidecar.files
