"""Which words are replaced, by which candidates, and what becomes of a row."""

import json
from collections import Counter

import numpy as np
import pytest

from tinybert.augment.largest import NONE
from tinybert.augment.rows import RowAugmenter, draw_candidates
from tinybert.prepare.encode import Example

AVAILABLE = np.array([15, 3, 0, 1])


def test_a_draw_depends_on_seed_row_sample_and_word_alone():
    drawn = draw_candidates(7, 5, 20, AVAILABLE, 0.4)
    assert drawn.shape == (20, 4)
    assert (draw_candidates(7, 5, 9, AVAILABLE[:2], 0.4) == drawn[:9, :2]).all()
    for other in ((8, 5), (7, 6), (7, 5 + 2**32)):
        assert (draw_candidates(*other, 20, AVAILABLE, 0.4) != drawn).any()
    assert len({tuple(row) for row in drawn}) > 10


def test_words_are_replaced_as_often_as_the_threshold_says_and_by_all_candidates_alike():
    drawn = np.concatenate([draw_candidates(1, row, 50, AVAILABLE, 0.4) for row in range(400)])
    replaced = (drawn != NONE).mean(axis=0)
    assert np.abs(replaced[[0, 1, 3]] - 0.4).max() < 0.015
    assert replaced[2] == 0  # without candidates
    for word, count in enumerate(AVAILABLE):
        shares = np.bincount(drawn[drawn[:, word] != NONE, word], minlength=count) / 8000
        assert len(shares) == count
        assert count == 0 or np.abs(shares - 1 / count).max() < 0.03


def test_a_threshold_of_one_replaces_every_word_that_has_candidates():
    assert ((draw_candidates(1, 2, 300, AVAILABLE, 1.0) != NONE) == (AVAILABLE > 0)).all()


@pytest.fixture
def expand(reader, tmp_path):
    """Expand rows whose words have the same candidates; returns them, the table, and counts."""

    def make(rows, candidates, *, samples=4, threshold=1.0, roles=("text",), labels=("no", "yes")):
        words, counts = reader(), Counter()

        def of(text):
            (read,) = words.read([text])
            some = [candidates.get(word.text, ()) for word in read.words]
            width = max(1, *map(len, candidates.values()))
            return np.array(
                [[*each, *[NONE] * (width - len(each))] for each in some], np.int32
            ).reshape(len(some), width)

        augmenter = RowAugmenter(
            *(words, of, words.tokens.__getitem__, tmp_path / "table"),
            roles=roles,
            labels=labels,
            counts=counts,
            seed=1,
            samples=samples,
            threshold=threshold,
        )
        made = list(augmenter.expand(rows))
        lines = (tmp_path / "table").read_text(encoding="utf-8").splitlines()
        return made, [json.loads(line) for line in lines], counts

    return make


def ids(words, *names):
    return [words.index(name) for name in names]


def test_rows_are_followed_by_their_samples_without_duplicates(expand, reader):
    candidates = {"movie": ids(reader().tokens, "film"), "good": ids(reader().tokens, "bad")}
    rows = [Example("f:1", ["The movie, good"], 1), Example("f:2", ["it was"], 0)]
    made, table, counts = expand(rows, candidates)
    assert made == [
        rows[0],
        Example("f:1, sample 1", ["The film, bad"], 1),
        rows[1],
    ]
    assert table == [
        {"row": 0, "sample": 0, "text": "The movie, good", "label": "yes"},
        {"row": 0, "sample": 1, "text": "The film, bad", "label": "yes"},
        {"row": 1, "sample": 0, "text": "it was", "label": "no"},
    ]
    assert counts == {
        "original_rows": 2,
        "augmented_rows": 1,
        "duplicate_rows": 7,
        "words": 5,
        "words_without_candidates": 3,
    }


def test_both_texts_of_a_pair_are_augmented_with_draws_of_their_own(expand, reader):
    candidates = {"movie": ids(reader().tokens, "film", "bad", "good", "great")}
    rows = [Example("f:1", ["movie", "movie"], 2.5)]
    made, table, _ = expand(rows, candidates, samples=40, roles=("text", "text_pair"), labels=None)
    pairs = {tuple(example.texts) for example in made[1:]}
    assert len(pairs) == len(made) - 1 > 10
    assert {first for first, _ in pairs} == {second for _, second in pairs}
    assert any(first != second for first, second in pairs)
    assert table[0] == {
        "row": 0, "sample": 0, "text": "movie", "text_pair": "movie", "label": 2.5,
    }  # fmt: skip


def test_a_row_keeps_all_its_labels_or_has_none(expand):
    rows = [Example("f:1", ["it was"], frozenset({1, 0})), Example("f:2", ["it"], frozenset())]
    _, table, _ = expand(rows, {"it": ()})
    assert [line["label"] for line in table] == [["no", "yes"], []]
    _, table, _ = expand([Example("f:1", ["it was"], None)], {"it": ()}, labels=None)
    assert table == [{"row": 0, "sample": 0, "text": "it was"}]


def test_other_rows_change_no_row(expand, reader):
    candidates = {"movie": ids(reader().tokens, "film", "bad", "good", "great")}
    rows = [Example(f"f:{n}", [text], 0) for n, text in enumerate(["a movie", "movie movie", ","])]
    made, _, _ = expand(rows, candidates, threshold=0.5)
    alone, _, _ = expand(rows[:1], candidates, threshold=0.5)
    assert made[: len(alone)] == alone
