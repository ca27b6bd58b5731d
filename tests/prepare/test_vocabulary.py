import json
from pathlib import Path

import pytest

from tinybert.data.sidecar import TokenizerOptions
from tinybert.errors import InputError
from tinybert.prepare.vocabulary import (
    Vocabulary,
    build_tokenizer,
    find_vocabulary,
    load_vocabulary,
)

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
TEXTS = [
    "A hammer, isn't it? Un-believable: caf\u00e9 na\u00efve \u00dcber-cool 3.14%!",
    "tab\tand\u00a0space \u2014 dash \u201cquoted\u201d \u5929\u6c14 mixed\u0000control\ufffd",
    "x" * 101 + " " + "ab" * 50,
    "",
]


@pytest.mark.parity
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False, None])
@pytest.mark.parametrize("chinese", [True, False])
def test_tokens_are_those_of_transformers(lowercase, strip_accents, chinese):
    transformers = pytest.importorskip("transformers")
    reference = transformers.BertTokenizer(
        str(TINY / "vocab.txt"),
        do_lower_case=lowercase,
        strip_accents=strip_accents,
        tokenize_chinese_chars=chinese,
    )
    options = TokenizerOptions.resolve(lowercase, strip_accents, chinese)
    tokenizer = build_tokenizer(load_vocabulary(TINY / "vocab.txt"), options)
    lines = [line for path in (TINY / "text").iterdir() for line in path.read_text().split("\n")]
    for text in [*TEXTS, *lines]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == reference(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "chinese", "tokens"),
    [
        (True, True, True, "fur \u4e2d \u56fd"),
        (True, False, True, "f\u00fcr \u4e2d \u56fd"),
        (False, False, True, "F\u00fcr \u4e2d \u56fd"),
        (False, True, True, "Fur \u4e2d \u56fd"),
        (True, True, False, "fur \u4e2d\u56fd"),
    ],
)
def test_every_option_decides_over_tokens(lowercase, strip_accents, chinese, tokens):
    words = "[PAD] [UNK] fur f\u00fcr Fur F\u00fcr \u4e2d \u56fd \u4e2d\u56fd".split()
    vocabulary = Vocabulary({word: id for id, word in enumerate(words)})
    tokenizer = build_tokenizer(vocabulary, TokenizerOptions(lowercase, strip_accents, chinese))
    assert tokenizer.encode("F\u00fcr \u4e2d\u56fd").tokens == tokens.split()


def test_accents_and_case_are_kept_unless_lower_case_is_asked_for():
    vocabulary = load_vocabulary(TINY / "vocab.txt")
    unknown = vocabulary.ids["[UNK]"]
    for lowercase, text, expected in (
        (True, "The \u00c1", [vocabulary.ids["the"], vocabulary.ids["a"]]),
        (False, "The \u00c1 the", [unknown, unknown, vocabulary.ids["the"]]),
    ):
        tokenizer = build_tokenizer(vocabulary, TokenizerOptions(lowercase, lowercase))
        assert tokenizer.encode(text, add_special_tokens=False).ids == expected


def write_tokenizer(folder, vocab, kind="WordPiece"):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": kind, "vocab": vocab}}))
    return path


def test_a_tokenizer_json_holds_the_vocabulary_of_the_equal_vocab_txt(tmp_path):
    plain = load_vocabulary(TINY / "vocab.txt")
    read = load_vocabulary(write_tokenizer(tmp_path, dict(reversed(plain.ids.items()))))
    assert read == plain
    assert read.encode() == (TINY / "vocab.txt").read_bytes()


IDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4}


@pytest.mark.parametrize(
    ("vocab", "message"),
    [
        (IDS | {"b": 6}, "the vocabulary has 6 tokens, and none has id 5"),
        (IDS | {"b": 4}, "the vocabulary has 6 tokens, and none has id 5"),
        (IDS | {"a": True, "[UNK]": 4}, "the vocabulary has 5 tokens, and none has id 1"),
        (IDS | {"b\nc": 5}, "token 'b\\nc', id 5, is no line of text"),
        (IDS | {" ": 5}, "token ' ', id 5, is no line of text"),
        ({"[PAD]": 0, "[UNK]": 1, "a": 2}, "the vocabulary lacks [CLS]"),
        (IDS | {"[PAD]": 4, "a": 0}, "[PAD] has id 4, not 0"),
        (["[PAD]"], "the file holds no vocabulary of WordPiece"),
    ],
)
def test_a_tokenizer_json_without_such_a_vocabulary_is_refused(tmp_path, vocab, message):
    path = write_tokenizer(tmp_path, vocab)
    with pytest.raises(InputError) as error:
        load_vocabulary(path)
    assert str(error.value).splitlines()[:2] == [message, f"  --> {path}"]


def test_the_vocabulary_of_a_directory_is_vocab_txt_else_a_wordpiece_tokenizer_json(tmp_path):
    assert find_vocabulary(tmp_path) is None
    write_tokenizer(tmp_path, {"a": 0}, "BPE")
    assert find_vocabulary(tmp_path) is None
    tokenizer = write_tokenizer(tmp_path, IDS)
    assert find_vocabulary(tmp_path) == tokenizer
    (tmp_path / "vocab.txt").touch()
    assert find_vocabulary(tmp_path) == tmp_path / "vocab.txt"
    assert find_vocabulary(tokenizer) is None, "a checkpoint that is a file"
