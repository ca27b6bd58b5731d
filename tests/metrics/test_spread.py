import math

import pytest

from tinybert.metrics.spread import Spread


def test_the_interval_is_that_of_students_t():
    spread = Spread.of([0.8, 0.9, 0.85])
    assert spread.mean == pytest.approx(0.85)
    assert spread.deviation == pytest.approx(0.05)
    # t of 2 degrees of freedom at 0.975 is 4.302653 (tables of Student's t)
    half = 4.302653 * 0.05 / 3**0.5
    assert spread.interval == pytest.approx((0.85 - half, 0.85 + half), abs=1e-6)
    assert str(spread) == "0.85 ± 0.05 (3 seeds), 95 % interval of the mean 0.7258 to 0.9742"


def test_a_single_run_has_no_spread():
    assert Spread.of([0.5]) == Spread(1, 0.5, None, None)
    assert str(Spread.of([0.5])) == "0.5 (1 seed)"


@pytest.mark.parametrize(
    ("values", "mean", "text"),
    [
        ([0.5, math.nan, 0.7], math.nan, "nan (3 seeds)"),
        ([1.0, math.inf], math.inf, "inf (2 seeds)"),
        ([-math.inf, math.inf], math.nan, "nan (2 seeds)"),
    ],
)
def test_values_that_are_not_finite_have_no_deviation(values, mean, text):
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(mean, nan_ok=True)
    assert (spread.count, spread.deviation, spread.interval) == (len(values), None, None)
    assert str(spread) == text
