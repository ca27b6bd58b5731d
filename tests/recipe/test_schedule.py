from dataclasses import replace

import numpy as np
import pytest

from tinybert.recipe.schedule import Polynomial, warmup_steps


def test_rate_at_first_peak_middle_and_last_step():
    rate = Polynomial(4e-5, 1e-5, 1.0, warmup_steps=10, total_steps=100)
    assert rate(0) == 0.0
    assert rate(5) == pytest.approx(2e-5, rel=1e-12)
    assert rate(10) == pytest.approx(3e-5 * 0.9 + 1e-5, rel=1e-12)
    assert rate(50) == pytest.approx(3e-5 * 0.5 + 1e-5, rel=1e-12)
    assert rate(99) == pytest.approx(3e-5 * 0.01 + 1e-5, rel=1e-12)
    assert rate(100) == rate(1000) == 1e-5


def test_a_decay_from_the_end_of_the_warmup_begins_at_the_peak():
    """By hand: rates of the update 0 to 6, and after the last."""
    line = Polynomial(4e-5, 0.0, 1.0, warmup_steps=2, total_steps=6)
    peak = replace(line, decay_start=2)
    fourths = np.array([0, 0.5, 4 / 4, 3 / 4, 2 / 4, 1 / 4, 0, 0]) * 4e-5
    sixths = np.array([0, 0.5, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0]) * 4e-5
    assert [peak(step) for step in range(8)] == pytest.approx(fourths, rel=1e-12)
    assert [line(step) for step in range(8)] == pytest.approx(sixths, rel=1e-12)


def test_a_decay_from_the_end_of_the_warmup_bends_and_ends_like_the_other():
    rate = Polynomial(3.0, 1.0, 2.0, warmup_steps=10, total_steps=30, decay_start=10)
    assert [rate(s) for s in (10, 15, 20, 25, 30)] == [3.0, 2.125, 1.5, 1.125, 1.0]


def test_a_warmup_of_all_steps_has_no_decay():
    rate = Polynomial(1.0, 0.25, 1.0, warmup_steps=4, total_steps=4, decay_start=4)
    assert [rate(s) for s in range(6)] == [0.0, 0.25, 0.5, 0.75, 0.25, 0.25]


def test_power_bends_the_decay():
    rate = Polynomial(1.0, 0.0, 2.0, warmup_steps=0, total_steps=4)
    assert [rate(s) for s in range(5)] == [1.0, 0.5625, 0.25, 0.0625, 0.0]


def test_table_holds_every_update():
    rate = Polynomial(5e-5, 1e-14, 1.0, warmup_steps=2, total_steps=7)
    table = rate.table()
    assert table.dtype == np.float32
    assert table.tolist() == [float(np.float32(rate(s))) for s in range(7)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"steps": 7}, 7),
        ({"ratio": 0.1}, 10),
        ({"ratio": 0.0}, 0),
        ({"epoch_ratio": 0.1}, 3),
    ],
)
def test_warmup_in_the_unit_of_the_recipe(given, expected):
    keys = {"steps": None, "ratio": None, "epoch_ratio": None, **given}
    assert warmup_steps(total_steps=100, steps_per_epoch=33, **keys) == expected


@pytest.mark.parametrize("hundredths", [7, 10, 29, 57, 58])
def test_a_ratio_is_a_share_of_the_number_as_written(hundredths):
    for steps in range(1, 400):
        warmup = warmup_steps(
            total_steps=steps,
            steps_per_epoch=1,
            steps=None,
            ratio=float(f"0.{hundredths:02d}"),
            epoch_ratio=None,
        )
        assert warmup == steps * hundredths // 100
