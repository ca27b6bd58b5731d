from pathlib import Path

import pytest

from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
TEXTS = [
    "A hammer, isn't it? Un-believable: caf\u00e9 na\u00efve \u00dcber-cool 3.14%!",
    "tab\tand\u00a0space \u2014 dash \u201cquoted\u201d \u5929\u6c14 mixed\u0000control\ufffd",
    "x" * 101 + " " + "ab" * 50,
    "",
]


@pytest.mark.parity
@pytest.mark.parametrize("lowercase", [True, False])
def test_tokens_are_those_of_transformers(lowercase):
    transformers = pytest.importorskip("transformers")
    reference = transformers.BertTokenizer(str(TINY / "vocab.txt"), do_lower_case=lowercase)
    tokenizer = build_tokenizer(load_vocabulary(TINY / "vocab.txt"), lowercase)
    lines = [line for path in (TINY / "text").iterdir() for line in path.read_text().split("\n")]
    for text in [*TEXTS, *lines]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == reference(text, add_special_tokens=False)["input_ids"]


def test_accents_and_case_are_kept_unless_lower_case_is_asked_for():
    vocabulary = load_vocabulary(TINY / "vocab.txt")
    unknown = vocabulary.ids["[UNK]"]
    for lowercase, text, expected in (
        (True, "The \u00c1", [vocabulary.ids["the"], vocabulary.ids["a"]]),
        (False, "The \u00c1 the", [unknown, unknown, vocabulary.ids["the"]]),
    ):
        tokenizer = build_tokenizer(vocabulary, lowercase)
        assert tokenizer.encode(text, add_special_tokens=False).ids == expected
