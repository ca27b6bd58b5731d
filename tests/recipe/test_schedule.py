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


@pytest.mark.parametrize("steps", range(1, 400))
def test_a_ratio_is_a_share_of_the_number_as_written(steps):
    for hundredths in (7, 10, 29, 57, 58):
        ratio = float(f"0.{hundredths:02d}")
        found = warmup_steps(
            total_steps=steps, steps_per_epoch=1, steps=None, ratio=ratio, epoch_ratio=None
        )
        assert found == steps * hundredths // 100
