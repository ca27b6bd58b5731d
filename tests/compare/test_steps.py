import pytest

from tinybert.compare.steps import relative_difference


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(1.0, 1.0, 0.0), (1.0, 2.0, 0.5), (-1.0, 1.0, 2.0), (0.0, 1e-300, 1.0)],
)
def test_relative_difference(a: float, b: float, expected: float) -> None:
    assert relative_difference(a, b) == relative_difference(b, a) == expected


def test_relative_difference_without_numbers() -> None:
    nan, inf = float("nan"), float("inf")
    assert relative_difference(nan, nan) == relative_difference(inf, inf) == 0.0
    assert relative_difference(nan, 1.0) == relative_difference(inf, 1.0) == inf
