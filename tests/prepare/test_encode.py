from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.prepare.conftest import CLS, DOT, SEP, UNK, A, B, S, T
from tinybert.data.labels import IGNORED as X
from tinybert.data.sidecar import TokenizerOptions
from tinybert.errors import InputError
from tinybert.prepare.encode import EncodedRow, Encoder, Example, truncate
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary


@pytest.fixture
def encoder(vocab):
    vocabulary = load_vocabulary(vocab)
    tokenizer = build_tokenizer(vocabulary, TokenizerOptions(True, True))
    return Encoder(tokenizer, vocabulary, 8, Counter(), allow_empty=False)


def truncate_one_by_one(first, second, room):
    """BERT's own procedure."""
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return [first, second]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 40))
def test_pairs_are_truncated_as_one_token_at_a_time_would(first, second, room):
    assert truncate([first, second], room) == truncate_one_by_one(first, second, room)


def test_rows_are_as_encoded_by_hand(encoder):
    examples = [
        Example("f:1", ["A b."], 1),
        Example("f:2", ["as", "b x"], 0),
        Example("f:3", ["a a a a a", "b b"], 2.5),
    ]
    assert list(encoder.rows(examples)) == [
        EncodedRow([CLS, A, B, DOT, SEP], [0] * 5, 1),
        EncodedRow([CLS, A, S, SEP, B, UNK, SEP], [0, 0, 0, 0, 1, 1, 1], 0),
        EncodedRow([CLS, A, A, A, SEP, B, B, SEP], [0, 0, 0, 0, 0, 1, 1, 1], 2.5, cut_tokens=2),
    ]
    assert encoder.counts == {
        "tokens": 20,
        "unknown": 1,
        "truncated_rows": 1,
        "cut_tokens": 2,
        "longest_row": 10,
    }


def test_a_word_keeps_its_label_on_its_first_piece(encoder):
    words = ["ast", "b.", "\u200b", "[SEP]", "c"]
    row = next(encoder.rows([Example("f:1", [words], [1, 2, 3, 4, 5])]))
    assert row.input_ids == [CLS, A, S, T, B, DOT, UNK, SEP]  # of [, SEP, ] one piece is left
    assert row.label == [X, 1, X, X, 2, X, 4, X]


@pytest.mark.parametrize("texts", [[""], [" \u200b"], ["a", ""], [["\u200b"]], [[]]])
def test_a_text_without_tokens_is_an_error(encoder, texts):
    with pytest.raises(InputError) as error:
        list(encoder.rows([Example("f:7", texts, [0] if isinstance(texts[0], list) else 0)]))
    assert str(error.value) == "a text is empty, or has no tokens\n  --> f:7"
