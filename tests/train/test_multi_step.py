"""Steps in one call of the device are the steps one by one, bit for bit."""

import mindspore as ms
import numpy as np
import pytest

from tests.train.test_step import batch, build, state
from tinybert.data.batch import Batch
from tinybert.errors import TrainingError
from tinybert.train.feed import StepInputs
from tinybert.train.loop import step_ranges, train
from tinybert.train.step import MultiStep

STEPS = 5
OVERFLOW = 3


@pytest.fixture(scope="module")
def batches():
    random = np.random.default_rng(0)
    x = random.standard_normal((STEPS, 3)).astype(np.float32)
    y = random.standard_normal((STEPS, 2)).astype(np.float32)
    x[OVERFLOW, 0] = 1e37
    return [(batch(*row),) for row in zip(x, y, strict=True)]


@pytest.fixture(scope="module")
def one_by_one(batches):
    step = build()
    return [step.call([each], stop=False)[0] for each in batches], state(step), step


@pytest.mark.parametrize("counts", [(5,), (3, 2), (1, 1, 1, 1, 1), (4, 1)])
def test_chunks_of_any_length_give_the_traces_and_weights_of_single_steps(
    batches, one_by_one, counts
):
    step = build()
    several = MultiStep(step, steps=STEPS)
    outputs = []
    for count in counts:
        outputs += several.call(batches[len(outputs) : len(outputs) + count], stop=False)
    expected, weights, single = one_by_one
    assert outputs == expected
    assert [type(value) for value in outputs[0]] == [type(value) for value in expected[0]]
    for a, b in zip(state(step), weights, strict=True):
        assert a.tobytes() == b.tobytes()
    for name in ("global_step", "optimizer_step", "clean_steps", "loss_scale"):
        assert getattr(step, name).asnumpy() == getattr(single, name).asnumpy()
    assert step.optimizer_step.asnumpy() == STEPS - 1


def test_places_after_the_last_step_hold_nothing(batches):
    several = MultiStep(build(), steps=STEPS)
    stops = ms.Tensor([0.0] * STEPS, ms.float32)
    stacked = Batch.stack([one for (one,) in batches])
    for trace in several(ms.Tensor(2, ms.int32), *stacked.tensors(), stops):
        assert not trace.asnumpy()[2:].any()


def test_every_step_of_a_call_knows_whether_a_process_was_asked_to_stop(batches):
    for stop in (True, False):
        outputs = MultiStep(build(), steps=2).call(batches[:2], stop)
        outputs += build().call(batches[:1], stop)
        assert [each.stop for each in outputs] == [float(stop)] * 3


def feed(batches, step):
    """The inputs of a step."""
    return StepInputs(batches[step], step, f"digest {step}")


def test_calls_end_at_multiples_of_their_length_and_with_the_training():
    assert list(step_ranges(0, 11, 4)) == [range(0, 4), range(4, 8), range(8, 11)]
    assert list(step_ranges(6, 11, 4)) == [range(6, 8), range(8, 11)]  # a resume
    assert list(step_ranges(8, 8, 4)) == []
    assert list(step_ranges(0, 3, 5)) == [range(0, 3)]
    assert list(step_ranges(1, 3, 1)) == [range(1, 2), range(2, 3)]


class Loop:
    """A training in calls of some length; keeps the result of every step."""

    def __init__(self, batches, steps, *, stop_at=None, first_step=0, results=None):
        self.results, self.at = [] if results is None else results, []
        self.step = build()
        self.step.global_step.set_data(ms.Tensor(first_step, ms.int32))
        self.stop_at = stop_at
        train(
            self.step if steps is None else MultiStep(self.step, steps=steps),
            lambda step: feed(batches, step),
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
    single, several = Loop(batches, None), Loop(batches, steps)
    assert several.trace() == single.trace()
    assert single.at == [1, 2, 3, 4, 5]
    assert several.at == ends  # the weights are those after the call
    assert [r.ends_call for r in several.results] == [
        r.global_step + 1 == a for r, a in zip(several.results, ends, strict=True)
    ]
    for a, b in zip(state(several.step), state(single.step), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_resume_takes_up_the_calls_where_they_would_have_ended(batches):
    assert Loop(batches, 2, first_step=1).at == [2, 4, 4, 5]


def test_a_stop_during_a_call_comes_after_it(batches):
    stopped = Loop(batches, 3, stop_at=0)
    assert len(stopped.results) == 3
    assert [result.stops for result in stopped.results] == [False, False, True]


def test_a_loss_that_is_not_finite_ends_the_training_at_its_step(batches):
    results = []
    with pytest.raises(TrainingError, match="step 2: the loss is nan"):
        Loop([batches[0], (batch([np.nan, 0, 0], [0, 0]),), *batches[2:]], 4, results=results)
    assert [result.global_step for result in results] == [0, 1]
