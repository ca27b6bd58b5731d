"""What tokenizer files say is honoured, or refused by name."""

import json

import pytest

from tests.conftest import ROOT
from tinybert.errors import InputError
from tinybert.prepare.tokenizer_files import StatedTokenizer, read_tokenizer
from tinybert.prepare.vocabulary import load_vocabulary

VOCAB = ROOT / "recipes" / "tiny" / "vocab.txt"
PUBLISHED = {
    "added_tokens_decoder": {
        "0": {"content": "[PAD]", "lstrip": False, "special": True},
        "1": {"content": "[UNK]", "lstrip": False, "special": True},
    },
    "clean_up_tokenization_spaces": True,
    "cls_token": "[CLS]",
    "do_basic_tokenize": True,
    "do_lower_case": True,
    "mask_token": {"content": "[MASK]", "lstrip": False},
    "model_max_length": 512,
    "never_split": None,
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
}
"""As transformers saves the tokenizer of an ordinary BERT."""


def write(folder, content, name="tokenizer_config.json"):
    (folder / name).write_text(json.dumps(content))
    return folder


def refusal(folder):
    with pytest.raises(InputError) as caught:
        read_tokenizer(folder)
    return str(caught.value).replace(str(folder), "DIR")


def test_a_published_tokenizer_is_read(tmp_path):
    assert read_tokenizer(write(tmp_path, PUBLISHED)) == StatedTokenizer(True, None, True, 512)


def test_what_transformers_5_adds_has_no_effect(tmp_path):
    added = {"backend": "tokenizers", "is_local": True, "local_files_only": False, "verbose": True}
    assert read_tokenizer(write(tmp_path, PUBLISHED | added)).lowercase


def test_without_files_nothing_is_known(tmp_path):
    assert read_tokenizer(tmp_path) == StatedTokenizer()


def test_what_is_written_is_read_back(tmp_path):
    for tokenizer in (StatedTokenizer(True), StatedTokenizer(False, True, False)):
        (tmp_path / "tokenizer_config.json").write_bytes(tokenizer.encode(64))
        again = read_tokenizer(tmp_path)
        assert (again.lowercase, again.strip_accents) == (
            tokenizer.lowercase,
            tokenizer.strip_accents,
        )
        assert again.tokenize_chinese_chars == (tokenizer.tokenize_chinese_chars is not False)
        assert again.model_max_length == 64


def test_a_length_without_meaning_is_none(tmp_path):
    for length in (10**30, None, 0):
        folder = write(tmp_path, {"model_max_length": length})
        assert read_tokenizer(folder).model_max_length is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("do_basic_tokenize", False),
        ("never_split", ["[X]"]),
        ("unk_token", "<unk>"),
        ("additional_special_tokens", ["[E1]"]),
        ("added_tokens_decoder", {"800": {"content": "[E1]"}}),
        ("tokenizer_class", "XLMRobertaTokenizer"),
        ("truncation_side", "left"),
        ("do_lower_case", "yes"),
        ("a_later_option", True),
    ],
)
def test_an_option_that_is_not_ours_is_refused_by_name(tmp_path, key, value):
    assert refusal(write(tmp_path, PUBLISHED | {key: value})) == (
        "the tokenizer is not one that this program has:\n"
        f"  - {key} is {value!r}\n"
        "  --> DIR/tokenizer_config.json\n"
        "help: take away what has no effect on the tokens; the rest cannot be honoured"
    )


def test_added_tokens_are_refused(tmp_path):
    write(tmp_path, {"[MASK]": 4}, "added_tokens.json")
    assert read_tokenizer(tmp_path) == StatedTokenizer()
    write(tmp_path, {"[E1]": 800}, "added_tokens.json")
    assert "\n  - token `[E1]`\n  --> DIR/added_tokens.json\n" in refusal(tmp_path)


def fast(**changes):
    """Return the content of a tokenizer.json."""
    return {
        "added_tokens": [{"id": 0, "content": "[PAD]", "special": True}],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "vocab": load_vocabulary(VOCAB).ids},
    } | changes


def test_the_fast_tokenizer_of_a_bert_is_accepted(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(VOCAB.read_bytes())
    write(tmp_path, fast(), "tokenizer.json")
    assert read_tokenizer(tmp_path) == StatedTokenizer()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"added_tokens": [{"id": 800, "content": "[E1]"}]}, "token `[E1]`"),
        ({"model": {"type": "BPE"}}, "model is not WordPiece"),
        ({"normalizer": None}, "normalizer is not BertNormalizer"),
        ({"pre_tokenizer": []}, "pre_tokenizer is not BertPreTokenizer"),
        (
            {"model": {"type": "WordPiece", "vocab": {"[PAD]": 0}}},
            "its vocabulary is not that of vocab.txt",
        ),
    ],
)
def test_another_fast_tokenizer_is_refused(tmp_path, changes, problem):
    (tmp_path / "vocab.txt").write_bytes(VOCAB.read_bytes())
    assert f"  - {problem}\n" in refusal(write(tmp_path, fast(**changes), "tokenizer.json"))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"do_lower_case": NaN}'])
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "tokenizer_config.json").write_text(text)
    assert refusal(tmp_path).startswith("not a file of a tokenizer: ")
