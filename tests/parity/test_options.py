"""Options of a training that make it PyTorch's and transformers' where these are installed."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers

from tinybert.recipe.schedule import Polynomial

pytestmark = pytest.mark.parity

PEAK, WARMUP, TOTAL = 3e-4, 7, 50


def their_rates(schedule) -> list[float]:
    """Return the learning rate of each update of an optimizer with a schedule of transformers."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=PEAK)
    scheduler = schedule(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_a_decay_from_the_end_of_the_warmup_is_the_linear_schedule():
    theirs = their_rates(
        lambda optimizer: transformers.get_linear_schedule_with_warmup(optimizer, WARMUP, TOTAL)
    )
    ours = Polynomial(PEAK, 0.0, 1.0, WARMUP, TOTAL, decay_start=WARMUP)
    assert [ours(step) for step in range(TOTAL)] == pytest.approx(theirs, rel=1e-12, abs=1e-18)
    from_start = Polynomial(PEAK, 0.0, 1.0, WARMUP, TOTAL)
    assert from_start(WARMUP) == pytest.approx(theirs[WARMUP] * (TOTAL - WARMUP) / TOTAL)


@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_a_decay_from_the_end_of_the_warmup_is_the_polynomial_schedule(power):
    end = PEAK / 10
    theirs = their_rates(
        lambda optimizer: transformers.get_polynomial_decay_schedule_with_warmup(
            optimizer, WARMUP, TOTAL, lr_end=end, power=power
        )
    )
    ours = Polynomial(PEAK, end, power, WARMUP, TOTAL, decay_start=WARMUP)
    assert [ours(step) for step in range(TOTAL)] == pytest.approx(theirs, rel=1e-12)
    assert np.argmax(theirs) == WARMUP
