import numpy as np
import pytest

from tinybert.augment.neighbours import Neighbours
from tinybert.augment.word_vectors import read_word_vectors
from tinybert.errors import InputError

DAMAGED = "help: the file is damaged: get it again"


def read(tmp_path, text):
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return read_word_vectors(path)


def test_a_line_is_a_word_which_may_have_spaces_and_numbers(tmp_path):
    found = read(tmp_path, "the 1 -2.5e-1\n. . . 0 1 \n\u00a0 3 4\n5 6 7\n")
    assert found.words == ["the", ". . .", "\u00a0", "5"]
    assert found.vectors.tolist() == [[1, -0.25], [0, 1], [3, 4], [6, 7]]
    assert found.vectors.dtype == np.float32


def width_problem(numbers):
    message = f"the line has {numbers} numbers after the word; the first line has 2"
    return message, "F:2", "the file is damaged: get it again"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a 1 2\nb 1\n", width_problem(1)),
        ("a 1 2\nb 1 2 3\n", width_problem(3)),
        ("a 1 2\nb 1 x\n", width_problem(1)),
        ("a 1 2\n\n", width_problem(0)),
        ("a 1 2\nb 1 nan\n", ("a number is not finite in float32", "F:2", "remove the line")),
        ("a 1 2\nb 1 1e39\n", ("a number is not finite in float32", "F:2", "remove the line")),
        ("a 1 2\n 1 2\n", ("the line has no word", "F:2", "remove it")),
        (
            "a 1 2\nb 1 2\na 1 3\n",
            ("`a` is there twice, first in line 1", "F:3", "remove one of the lines"),
        ),
        (
            "400000 300\na 1 2\n",
            (
                "the file begins with the two counts of word2vec's text format",
                "F:1",
                "remove the first line",
            ),
        ),
        (
            "a\n",
            (
                "the line is not a word and its numbers",
                "F:1",
                "name a file in GloVe's text format: a word and its numbers a line",
            ),
        ),
        ("", ("the file has no word vectors", "F", "")),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, problem):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    error = caught.value
    place = error.where.replace(str(tmp_path / "vectors.txt"), "F")
    assert (error.message, place, error.cure) == problem


def test_neighbours_are_those_of_the_largest_cosine():
    vectors = np.random.default_rng(4).standard_normal((70, 101)).astype(np.float32)
    vectors[8] = 0
    among = [place for place in range(70) if place % 3]
    unit = vectors[among].astype(np.float64)
    with np.errstate(invalid="ignore"):
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = Neighbours(vectors, among, 9).nearest([1, 5, 1])
    for place, neighbours in zip([1, 5, 1], found, strict=True):
        cosines = unit @ unit[among.index(place)]
        cosines[[among.index(place), among.index(8)]] = -2
        assert neighbours.tolist() == [among[i] for i in np.argsort(-cosines)[:9]]


def test_equally_near_ones_keep_their_order_and_zeros_and_others_have_none():
    vectors = np.array([[1, 0], [2, 0], [0, 3], [0, 0], [4, 0], [1, 0]], np.float32)
    found = Neighbours(vectors, [0, 1, 2, 3, 4], 5).nearest([1, 3, 5])
    assert found.tolist() == [[0, 4, 2, -1, -1], [-1] * 5, [-1] * 5]
