import numpy as np

from tinybert.augment.largest import NONE, largest


def test_the_largest_come_first_and_of_equal_ones_the_first():
    scores = np.array([[1, 3, -2, 3, 2, 3], [-0.0, 0.0, -1, -5, 0.0, -3]], np.float32)
    assert largest(scores, 4).tolist() == [[1, 3, 5, 4], [0, 1, 4, 2]]


def test_where_there_are_fewer_there_is_none():
    scores = np.array([[1, -np.inf, 2], [-np.inf] * 3], np.float32)
    assert largest(scores, 2).tolist() == [[2, 0], [NONE, NONE]]
    assert largest(scores, 5).tolist() == [[2, 0, NONE, NONE, NONE], [NONE] * 5]


def test_it_is_a_stable_sort_of_numbers_of_all_sizes():
    generator = np.random.default_rng(3)
    scores = generator.standard_normal((50, 300)).astype(np.float32).round(1)
    scores *= np.float32(10) ** generator.integers(-30, 30, (50, 1)).astype(np.float32)
    assert (largest(scores, 20) == np.argsort(-scores, axis=1, kind="stable")[:, :20]).all()
