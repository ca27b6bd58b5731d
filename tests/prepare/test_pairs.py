from collections import Counter, deque
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.prepare.pairs import RECENT, SHORT, pair_rows
from tinybert.randomness import uniform

CLS, SEP = 1, 2
DOCUMENTS = st.lists(
    st.lists(st.lists(st.integers(3, 99), min_size=1, max_size=9), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def rows_of(documents, seq_length, seed=1):
    counts = Counter()
    return list(pair_rows(documents, seq_length, CLS, SEP, seed, counts)), counts


def published(documents, seq_length, seed):
    """The published procedure, sentence by sentence, with this project's draws and truncation."""
    room = seq_length - 3
    rows = []
    for number, document in enumerate(documents):
        others = documents[max(0, number - RECENT) : number] or [document]
        draws = deque(uniform(seed, f"pairs/{number}", 2 + 5 * len(document)).tolist())
        short, length = draws.popleft(), draws.popleft()
        target = range(2, room + 1)[int(length * (room - 1))] if short < SHORT else room
        chunk, i = [], 0
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or sum(map(len, chunk)) >= target:
                split, kind, other, start, side = (draws.popleft() for _ in range(5))
                ends = range(1, max(2, len(chunk)))
                a_end = ends[int(split * len(ends))]
                a, b = list(chain(*chunk[:a_end])), []
                if len(chunk) == 1 or kind < 0.5:
                    source = others[int(other * len(others))]
                    for sentence in source[int(start * len(source)) :]:
                        b = b + sentence
                        if len(b) >= target - len(a):
                            break
                    i -= len(chunk) - a_end
                else:
                    b = list(chain(*chunk[a_end:]))
                while len(a) + len(b) > room:
                    longer = a if len(a) > len(b) else b
                    del longer[0 if side < 0.5 else -1]
                rows.append(
                    ([CLS, *a, SEP, *b, SEP], [0] * (len(a) + 2) + [1] * (len(b) + 1)),
                )
                chunk = []
            i += 1
    return rows


@given(DOCUMENTS, st.integers(5, 30), st.integers(0, 5))
def test_rows_are_those_of_the_published_procedure(documents, seq_length, seed):
    rows, _ = rows_of(documents, seq_length, seed)
    expected = published([list(map(list, document)) for document in documents], seq_length, seed)
    assert [(row.input_ids, row.segment_ids) for row in rows] == expected


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 9))
def test_no_sentence_is_left_out(lengths, seed):
    document = [[3 + place] * length for place, length in enumerate(lengths)]
    follows = {3}
    rows, counts = rows_of([document], 30, seed)
    for row in rows:
        end = row.input_ids.index(SEP)
        a, b = row.input_ids[1:end], row.input_ids[end + 1 : -1]
        if counts["cut_tokens"] == 0:
            assert a[0] in follows
        follows = {a[-1] + 1} | ({b[-1] + 1} if b[0] == a[-1] + 1 else set())
    if counts["cut_tokens"] == 0:
        assert 3 + len(lengths) in follows


def test_truncated_tokens_are_counted():
    rows, counts = rows_of([[[5] * 9], [[6] * 9]], 11)
    assert [len(row.input_ids) for row in rows] == [11, 11]
    assert counts == {"random_pairs": 2, "truncated_rows": 2, "cut_tokens": 20}


def test_about_half_of_the_pairs_are_random():
    documents = [[[number, number] for _ in range(40)] for number in range(3, 403)]
    rows, counts = rows_of(documents, 83)
    assert 0.4 < counts["random_pairs"] / len(rows) < 0.75


@pytest.mark.parametrize("other", [2, 3])
def test_another_seed_makes_other_rows(other):
    documents = [[[number, place + 200] for place in range(8)] for number in range(3, 23)]
    assert rows_of(documents, 16, 1)[0] == rows_of(documents, 16, 1)[0]
    assert rows_of(documents, 16, 1)[0] != rows_of(documents, 16, other)[0]
