"""Steps in one call of the device are the steps one by one, bit for bit."""

import mindspore as ms
import numpy as np
import pytest

from tests.train.test_step import build, state
from tinybert.train.sink import SunkSteps

STEPS = 5
OVERFLOW = 3


@pytest.fixture(scope="module")
def batches():
    random = np.random.default_rng(0)
    x = random.standard_normal((STEPS, 3)).astype(np.float32)
    y = random.standard_normal((STEPS, 2)).astype(np.float32)
    x[OVERFLOW, 0] = 1e37
    return x, y


@pytest.fixture(scope="module")
def one_by_one(batches):
    step = build()
    outputs = [
        [o.asnumpy() for o in step(*map(ms.Tensor, row))] for row in zip(*batches, strict=True)
    ]
    return [np.stack(trace) for trace in zip(*outputs, strict=True)], state(step), step


def call(sunk, batches, first, count):
    """Run some of the batches in one call; the places after them hold other numbers."""
    stacked = [np.roll(array, -first, axis=0) for array in batches]
    return [t.asnumpy() for t in sunk(ms.Tensor(count, ms.int32), *map(ms.Tensor, stacked))]


@pytest.mark.parametrize("counts", [(5,), (3, 2), (1, 1, 1, 1, 1), (4, 1)])
def test_chunks_of_any_length_give_the_traces_and_weights_of_single_steps(
    batches, one_by_one, counts
):
    step = build()
    sunk = SunkSteps(step, steps=STEPS, outputs=3)
    traces, first = [], 0
    for count in counts:
        traces.append([trace[:count] for trace in call(sunk, batches, first, count)])
        first += count
    wanted, weights, single = one_by_one
    for found, expected in zip(map(np.concatenate, zip(*traces, strict=True)), wanted, strict=True):
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
    for a, b in zip(state(step), weights, strict=True):
        assert a.tobytes() == b.tobytes()
    for name in ("global_step", "optimizer_step", "clean_steps", "loss_scale"):
        assert getattr(step, name).asnumpy() == getattr(single, name).asnumpy()
    assert step.optimizer_step.asnumpy() == STEPS - 1


def test_places_after_the_last_step_hold_nothing(batches):
    sunk = SunkSteps(build(), steps=STEPS, outputs=3)
    for trace in call(sunk, batches, 0, 2):
        assert not trace[2:].any()
