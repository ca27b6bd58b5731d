"""Steps in one call of the device are the steps one by one, bit for bit."""

import mindspore as ms
import numpy as np
import pytest

from tests.train.test_step import build, state
from tinybert.errors import TrainingError
from tinybert.train.feed import StepInputs
from tinybert.train.loop import train
from tinybert.train.multi_step import MultiStep, call_inputs, step_ranges

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
    sunk = MultiStep(step, steps=STEPS, outputs=3)
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
    sunk = MultiStep(build(), steps=STEPS, outputs=3)
    for trace in call(sunk, batches, 0, 2):
        assert not trace[2:].any()


def feed(batches, step):
    """The inputs of a step: a batch, and no masks."""
    x, y = (array[step % STEPS] for array in batches)
    return StepInputs((x, y, None), step, f"digest {step}")


def test_calls_end_at_multiples_of_their_length_and_with_the_training():
    assert list(step_ranges(0, 11, 4)) == [range(0, 4), range(4, 8), range(8, 11)]
    assert list(step_ranges(6, 11, 4)) == [range(6, 8), range(8, 11)]  # a resume
    assert list(step_ranges(8, 8, 4)) == []
    assert list(step_ranges(0, 3, 5)) == [range(0, 3)]
    assert list(step_ranges(1, 3, 1)) == [range(1, 2), range(2, 3)]


def test_inputs_of_a_call_are_stacked_and_filled_up(batches):
    given = call_inputs(lambda step: feed(batches, step), 4, range(1, 3))
    x, y, masks = given.arrays
    assert np.array_equal(x, batches[0][[1, 2, 2, 2]])
    assert np.array_equal(y, batches[1][[1, 2, 2, 2]])
    assert masks is None
    assert [step.batch_digest for step in given.steps] == ["digest 1", "digest 2"]


def test_inputs_of_a_single_step_are_as_they_are(batches):
    given = call_inputs(lambda step: feed(batches, step), None, range(3, 4))
    assert given.arrays[0].shape == (3,)
    (step,) = given.steps
    assert step.rows == 3


class Loop:
    """A training in calls of some length; keeps what it was told after every step."""

    def __init__(self, batches, steps, *, stop_at=None, first_step=0, told=None):
        self.results, self.at = [] if told is None else told, []
        self.step = build()
        self.step.global_step.set_data(ms.Tensor(first_step, ms.int32))
        self.stop_at = stop_at
        called = self.step if steps is None else MultiStep(self.step, steps=steps, outputs=3)
        train(
            called,
            lambda step: StepInputs(feed(batches, step).arrays[:2], step, f"digest {step}"),
            part_names=("first", "second"),
            first_step=first_step,
            total_steps=STEPS,
            after_step=self.after_step,
            stop_requested=lambda: self.stop_at is not None and len(self.results) > self.stop_at,
        )

    def after_step(self, result):
        self.results.append(result)
        self.at.append(int(self.step.global_step.asnumpy()))

    def trace(self):
        return [(r.global_step, r.loss, r.parts, r.overflow, r.batch_digest) for r in self.results]


@pytest.mark.parametrize(
    ("steps", "ends"), [(2, [2, 2, 4, 4, 5]), (5, [5] * 5), (1, [1, 2, 3, 4, 5])]
)
def test_the_loop_tells_the_trace_of_every_step_whatever_the_length_of_a_call(batches, steps, ends):
    single, sunk = Loop(batches, None), Loop(batches, steps)
    assert sunk.trace() == single.trace()
    assert single.at == [1, 2, 3, 4, 5]
    assert sunk.at == ends  # the weights are those after the call
    assert [r.ends_call for r in sunk.results] == [
        r.global_step + 1 == a for r, a in zip(sunk.results, ends, strict=True)
    ]
    for a, b in zip(state(sunk.step), state(single.step), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_resume_takes_up_the_calls_where_they_would_have_ended(batches):
    assert Loop(batches, 2, first_step=1).at == [2, 4, 4, 5]


def test_a_stop_during_a_call_comes_after_it(batches):
    stopped = Loop(batches, 3, stop_at=0)
    assert len(stopped.results) == 3
    assert [result.stops for result in stopped.results] == [False, False, True]


def test_a_loss_that_is_not_finite_ends_the_training_at_its_step(batches):
    x, y = batches[0].copy(), batches[1]
    x[1, 0] = np.nan
    told = []
    with pytest.raises(TrainingError, match="step 1: the loss is nan"):
        Loop((x, y), 4, told=told)
    assert [result.global_step for result in told] == [0, 1]
