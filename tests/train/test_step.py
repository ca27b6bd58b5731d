import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from tinybert.data.batch import Batch
from tinybert.recipe.schedule import Polynomial
from tinybert.train.micro_batches import MicroBatchStep
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScaleSettings, TrainingStep
from tinybert.train.world import ALONE

BETAS, EPS, DECAY, CLIP = (0.9, 0.999), 1e-6, 0.01, 1.0
RATES = Polynomial(0.1, 0.0, 1.0, warmup_steps=2, total_steps=20)


class Linear(nn.Cell):
    """loss = x . weight + y . bias, so that x and y are the gradients."""

    def __init__(self, dtype):
        super().__init__(auto_prefix=False)
        self.weight = Parameter(Tensor([0.5, -1.0, 2.0], dtype), name="weight")
        self.bias = Parameter(Tensor([0.25, 4.0], dtype), name="layernorm.bias")

    def construct(self, x, y, *rest):
        first, second = (x * self.weight).sum(), (y * self.bias).sum()
        return first + second, first, second


def build(
    initial=1024.0,
    window=3,
    dtype=ms.float32,
    corrected_updates=None,
    clip_by="norm",
    network=None,
):
    network = network or Linear(dtype)
    optimizer = AdamWeightDecay(
        network.trainable_params(),
        betas=BETAS,
        eps=EPS,
        weight_decay=DECAY,
        no_decay=("layernorm", "bias"),
        corrected_updates=corrected_updates,
    )
    return TrainingStep(
        network,
        optimizer,
        part_names=("first", "second"),
        schedule=RATES,
        loss_scale=LossScaleSettings(initial, 2.0, window),
        clip_norm=CLIP,
        clip_by=clip_by,
    )


@pytest.fixture(params=["graph", "host"], autouse=True)
def form(request, monkeypatch):
    """The update in the graph of the whole step, or on the host."""
    steps = {}

    def call(step, batches, stop):
        if id(step) not in steps:
            steps[id(step)] = MicroBatchStep(step, micro_batches=None, world=ALONE)
        return steps[id(step)].call(batches, stop)

    if request.param == "host":
        monkeypatch.setattr(TrainingStep, "call", call)


def batch(x, y):
    """Return the two inputs of the network above in the place of its first two."""
    return Batch(np.array(x, np.float32), np.array(y, np.float32), None)


def run(step, x, y):
    (outputs,) = step.call([[batch(x, y)]], stop=False)
    return outputs


def state(step):
    optimizer = step.optimizer
    moments = [*optimizer.first_moment, *optimizer.second_moment]
    return [p.asnumpy().copy() for p in (*optimizer.parameters, *moments)]


def reference(gradients, steps, bias_correction=False, clip_by="norm"):
    """The same arithmetic in float64: clip, Adam, decay; rounded to no type in between."""
    together = np.sqrt(sum(np.square(g).sum() for g in gradients))
    weights = [np.array([0.5, -1.0, 2.0]), np.array([0.25, 4.0])]
    moments = [(np.zeros(3), np.zeros(3)), (np.zeros(2), np.zeros(2))]
    for number in range(steps):
        for i, decay in ((0, DECAY), (1, 0.0)):
            g = np.array(gradients[i], dtype=np.float64)
            g = g * min(1.0, CLIP / (together if clip_by == "global_norm" else np.linalg.norm(g)))
            m = BETAS[0] * moments[i][0] + (1 - BETAS[0]) * g
            v = BETAS[1] * moments[i][1] + (1 - BETAS[1]) * g**2
            moments[i] = (m, v)
            if bias_correction:
                m, v = m / (1 - BETAS[0] ** (number + 1)), v / (1 - BETAS[1] ** (number + 1))
            change = m / (np.sqrt(v) + EPS) + decay * weights[i]
            weights[i] = weights[i] - RATES(number) * change
    return weights


@pytest.mark.parametrize(("dtype", "tolerance"), [(ms.float32, 2e-6), (ms.float16, 4e-3)])
def test_updates_are_those_of_the_formula(dtype, tolerance):
    step = build(dtype=dtype)
    x, y = [3.0, 0.0, 4.0], [0.1, -0.2]  # the first is clipped, the second is not
    for _ in range(5):
        result = run(step, x, y)
    assert result.gradient_norm == pytest.approx(np.sqrt(25 + 0.05), rel=1e-3)
    assert result.learning_rate == pytest.approx(RATES(4), rel=1e-6)
    wanted = reference((x, y), 5)
    for found, expected in zip(step.optimizer.parameters, wanted, strict=True):
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(ms.float32, 2e-6), (ms.float16, 4e-3)])
def test_bias_corrected_updates_are_those_of_the_formula(dtype, tolerance):
    step = build(dtype=dtype, corrected_updates=20)
    x, y = [3.0, 0.0, 4.0], [0.1, -0.2]
    for _ in range(12):
        run(step, x, y)
    wanted, others = reference((x, y), 12, bias_correction=True), reference((x, y), 12)
    for found, expected, other in zip(step.optimizer.parameters, wanted, others, strict=True):
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=tolerance)
        assert np.abs(expected - other).max() > 0.5  # the first updates are about 3 times as large


def test_an_overflow_is_no_update_that_bias_correction_counts():
    step, other = build(corrected_updates=20), build(corrected_updates=20)
    clean, bad = ([3.0, 0.0, 4.0], [0.1, -0.2]), ([np.inf, 0.0, 0.0], [0.0, 0.0])
    for given in (clean, bad, bad, clean, clean):
        run(step, *given)
    for given in (clean, clean, clean):
        run(other, *given)
    for one, same in zip(state(step), state(other), strict=True):
        assert one.tobytes() == same.tobytes()


def test_clipping_by_the_global_norm_has_one_factor():
    step = build(clip_by="global_norm")
    x, y = [3.0, 0.0, 4.0], [0.1, -0.2]  # alone, only the first would be clipped
    result = run(step, x, y)
    together = np.sqrt(25 + 0.05)
    assert result.gradient_norm == pytest.approx(together, rel=1e-6)
    first, second = (moment.asnumpy() for moment in step.optimizer.first_moment)
    np.testing.assert_allclose(first, 0.1 * np.array(x) / together, rtol=1e-6)
    np.testing.assert_allclose(second, 0.1 * np.array(y) / together, rtol=1e-6)
    for _ in range(4):
        run(step, x, y)
    wanted, others = reference((x, y), 5, clip_by="global_norm"), reference((x, y), 5)
    for found, expected in zip(step.optimizer.parameters, wanted, strict=True):
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=2e-6)
    assert np.abs(wanted[1] - others[1]).max() > 1e-3


def test_a_global_norm_below_the_bound_changes_no_gradient():
    step = build(clip_by="global_norm")
    run(step, [0.6, 0.0, 0.0], [0.0, 0.6])  # together 0.85
    first, second = (moment.asnumpy() for moment in step.optimizer.first_moment)
    np.testing.assert_allclose(first, [0.06, 0.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(second, [0.0, 0.06], rtol=1e-6)


def test_outputs_and_counters_are_those_before_the_update():
    step = build()
    first, second = run(step, [1.0, 1.0, 1.0], [1.0, 0.0]), run(step, [1.0, 1.0, 1.0], [1.0, 0.0])
    assert first.losses == (1.75, 1.5, 0.25)
    assert (first.optimizer_step, second.optimizer_step) == (0, 1)
    assert (first.learning_rate, second.learning_rate) == (0.0, pytest.approx(0.05))
    assert second.losses[0] == 1.75  # the first step trains with rate 0
    assert step.global_step.asnumpy() == step.optimizer_step.asnumpy() == 2


def test_powers_of_two_as_loss_scale_change_no_bit():
    low, high = build(initial=1.0), build(initial=65536.0)
    for step in (low, high):
        for _ in range(4):
            run(step, [0.3, -0.7, 0.11], [5.0, 0.013])
    for a, b in zip(state(low), state(high), strict=True):
        assert a.tobytes() == b.tobytes()


def test_overflow_updates_nothing_and_halves_the_scale():
    step = build(initial=1024.0)
    run(step, [1.0, 2.0, 3.0], [1.0, 1.0])
    before = state(step)
    result = run(step, [1e37, 0.0, 0.0], [0.0, 0.0])  # times 1,024 it is no float32
    assert not result.finite
    assert np.isfinite(result.losses[0])
    assert result.loss_scale == 1024.0
    for a, b in zip(before, state(step), strict=True):
        assert a.tobytes() == b.tobytes()
    assert step.loss_scale.asnumpy() == 512.0
    assert (step.global_step.asnumpy(), step.optimizer_step.asnumpy()) == (2, 1)
    assert step.clean_steps.asnumpy() == 0


def test_scale_grows_after_a_window_of_clean_steps_and_never_falls_below_one():
    step = build(initial=2.0, window=3)
    scales = [run(step, [1.0, 0.0, 0.0], [0.0, 0.0]).loss_scale for _ in range(7)]
    assert scales == [2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 8.0]
    for _ in range(5):
        run(step, [np.inf, 0.0, 0.0], [0.0, 0.0])
    assert step.loss_scale.asnumpy() == 1.0


def test_an_overflow_begins_a_new_window():
    step = build(initial=2.0, window=3)
    clean, bad = ([1.0, 0.0, 0.0], [0.0, 0.0]), ([np.inf, 0.0, 0.0], [0.0, 0.0])
    scales = [run(step, *given).loss_scale for given in (clean, clean, bad, clean, clean, clean)]
    assert scales == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert step.loss_scale.asnumpy() == 2.0


def test_a_tensor_without_gradient_stays_but_for_its_decay():
    step = build()
    for _ in range(3):
        run(step, [0.0, 0.0, 0.0], [1.0, 1.0])
    weight = step.optimizer.parameters[0].asnumpy()
    kept = (1 - RATES(1) * DECAY) * (1 - RATES(2) * DECAY)
    np.testing.assert_allclose(weight, np.array([0.5, -1.0, 2.0]) * kept, rtol=1e-6)
