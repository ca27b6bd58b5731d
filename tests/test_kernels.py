"""The loops against the same formulas in float64, and against themselves on another processor."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import ndtr, softmax

from tinybert.kernels import adam, attention, gelu, norm

F32 = np.float32
EPS = F32(1e-12)
NOTHING = np.ones((1, 1), bool)


@pytest.fixture
def normal():
    generator = np.random.default_rng(5)

    def draw(*shape, scale=1.0):
        return generator.standard_normal(shape, dtype=F32) * F32(scale)

    return draw


def floats(stride):
    """Yield float32 of all exponents from 2^-24 to 8, every `stride`-th, of both signs."""
    first, last = np.array([2.0**-24, 8.0], F32).view(np.int32)
    for start in range(first, last, 1 << 24):
        bits = np.arange(start, min(last, start + (1 << 24)), stride, dtype=np.int32)
        yield bits.view(F32)
        yield -bits.view(F32)


def exact_forms(x):
    """Return by form what the factor of x and the derivative are in float64."""
    normal = ndtr(x)
    slope = normal + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    tanh = (1 + np.tanh(inner)) / 2
    inner_slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    tanh_slope = tanh + x * inner_slope * 2 * tanh * (1 - tanh)
    return {gelu.ERF_GELU: (normal, slope), gelu.TANH_GELU: (tanh, tanh_slope)}


def largest_errors(stride):
    """Return the largest errors of GELU, relative to x, and of its derivative."""
    of_gelu = of_slope = 0.0
    for x in floats(stride):
        x, out, zeros = x[None], np.empty_like(x[None]), np.zeros_like(x)
        for form, (phi, slope) in exact_forms(x.astype(np.float64)).items():
            gelu.bias_gelu(x, zeros, form.phi, out)
            of_gelu = max(of_gelu, np.abs(out / x.astype(np.float64) - phi).max())
            gelu.bias_gelu_gradient(x, zeros, form.slope, np.ones_like(x), out, zeros.copy())
            of_slope = max(of_slope, np.abs(out - slope).max())
    return of_gelu, of_slope


def test_gelu_and_its_derivative_are_within_what_they_say():
    of_gelu, of_slope = largest_errors(stride=4999)
    assert (of_gelu < 3e-7, of_slope < 4e-7) == (True, True)


@pytest.mark.slow
def test_gelu_and_its_derivative_are_within_what_they_say_for_every_number():
    of_gelu, of_slope = largest_errors(stride=1)
    assert (of_gelu < 3e-7, of_slope < 4e-7) == (True, True)


@pytest.mark.parametrize("form", [gelu.ERF_GELU, gelu.TANH_GELU])
def test_gelu_beyond_its_range(form):
    x = np.array([[0.0, 5.6, 9.0, 1e30, np.inf, -5.6, -9.0, -1e30, np.nan]], F32)
    out = np.empty_like(x)
    gelu.bias_gelu(x, np.zeros(9, F32), form.phi, out)
    np.testing.assert_allclose(out[0, :5], x[0, :5], rtol=3e-7)
    np.testing.assert_array_equal(out[0, 5:8], 0.0)
    assert np.isnan(out[0, 8])
    gelu.bias_gelu_gradient(x, np.zeros(9, F32), form.slope, np.ones_like(x), out, np.empty(9, F32))
    np.testing.assert_allclose(out[0, [0, 2, 3, 4, 6, 7]], [0.5, 1, 1, 1, 0, 0], atol=3e-7)


def test_gelu_adds_the_bias_whose_gradient_is_a_sum_of_rows(normal):
    x, bias, gradient = normal(37, 70), normal(70), normal(37, 70)
    plain, out, to_x, to_bias = np.empty_like(x), np.empty_like(x), np.empty_like(x), bias.copy()
    gelu.bias_gelu(x, bias, gelu.ERF_GELU.phi, out)
    gelu.bias_gelu(x + bias, np.zeros_like(bias), gelu.ERF_GELU.phi, plain)
    np.testing.assert_array_equal(out, plain)
    gelu.bias_gelu_gradient(x, bias, gelu.ERF_GELU.slope, gradient, to_x, to_bias)
    np.testing.assert_allclose(to_bias, to_x.sum(0, dtype=np.float64), rtol=1e-5, atol=1e-5)


def exact_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS) * weight + bias


@pytest.mark.parametrize("width", [8, 64, 312, 384])
def test_layer_norm_and_its_gradients(normal, width):
    x, weight, bias, gradient = (
        normal(41, width) + 3,
        normal(width),
        normal(width),
        normal(41, width),
    )
    out, to_x, to_weight, to_bias = (np.empty_like(a) for a in (x, x, weight, bias))
    norm.layer_norm(x, weight, bias, EPS, out)
    wide = [a.astype(np.float64) for a in (x, weight, bias)]
    np.testing.assert_allclose(out, exact_norm(*wide), atol=5e-6)
    norm.layer_norm_gradient(x, weight, EPS, gradient, to_x, to_weight, to_bias)
    for found, place in ((to_x, 0), (to_weight, 1), (to_bias, 2)):
        direction = normal(*found.shape).astype(np.float64)
        moved = [
            [a + s * 1e-5 * direction * (i == place) for i, a in enumerate(wide)] for s in (1, -1)
        ]
        change = (gradient * (exact_norm(*moved[0]) - exact_norm(*moved[1]))).sum() / 2e-5
        assert (found * direction).sum() == pytest.approx(change, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("drops", [False, True])
def test_residual_sum_and_its_gradients(normal, drops):
    x, bias, residual, gradient = normal(33, 70), normal(70), normal(33, 70), normal(33, 70)
    keep = normal(33, 70) > 0 if drops else NOTHING
    factor = keep * F32(2) if drops else F32(1)
    out, to_x, to_bias = np.empty_like(x), np.empty_like(x), np.empty_like(bias)
    norm.residual_sum(x, bias, keep, F32(2), residual, out)
    np.testing.assert_array_equal(out, (x + bias) * factor + residual)
    norm.residual_sum_gradient(keep, F32(2), gradient, to_x, to_bias)
    np.testing.assert_array_equal(to_x, gradient * factor)
    np.testing.assert_allclose(to_bias, to_x.sum(0, dtype=np.float64), rtol=1e-5, atol=1e-5)


def test_heads_are_split_and_joined(normal):
    x, bias, gradient = normal(10, 36), normal(36), normal(2, 3, 5, 4)
    out, to_x = np.empty((2, 3, 5, 4), F32), np.zeros_like(x)
    attention.split_heads(x, bias, F32(0.5), 12, out)
    wanted = ((x + bias)[:, 12:24] * F32(0.5)).reshape(2, 5, 3, 4).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(out, wanted)
    attention.join_heads(gradient, F32(0.5), 12, to_x)
    joined = (gradient * F32(0.5)).transpose(0, 2, 1, 3).reshape(10, 12)
    np.testing.assert_array_equal(to_x[:, 12:24], joined)
    assert not to_x[:, :12].any() and not to_x[:, 24:].any()


ROW_OF_POSITION = np.repeat([1, 2, 3, 0], [5, 34, 1, 30])
"""Three rows in a block of 70 positions, and 30 of padding, which no query sees."""
HIDDEN_KEYS = {
    "of all queries": np.random.default_rng(5).random((2, 1, 1, 70)) > 0.8,
    "of each query": np.random.default_rng(6).random((2, 1, 70, 70)) > 0.8,
    "of packed rows": np.broadcast_to(
        (ROW_OF_POSITION[:, None] != ROW_OF_POSITION) | (ROW_OF_POSITION == 0), (2, 1, 70, 70)
    ),
}


@pytest.mark.parametrize("hidden", HIDDEN_KEYS.values(), ids=HIDDEN_KEYS)
@pytest.mark.parametrize("drops", [False, True])
def test_attention_probs_and_their_gradient(normal, drops, hidden):
    scores, gradient = normal(2, 3, 70, 70, scale=4), normal(2, 3, 70, 70)
    bias = np.where(hidden, F32(-10000), F32(0))
    keep = normal(2, 3, 70, 70) > 0 if drops else np.ones((1, 1, 1, 1), bool)
    factor = keep * 2.0 if drops else 1.0
    out, to_scores = np.empty_like(scores), np.empty_like(scores)
    attention.attention_probs(scores, bias, keep, F32(2), out)
    probs = softmax((scores + bias).astype(np.float64), -1)
    np.testing.assert_allclose(out, probs * factor, atol=1e-6)
    sees_some = ~hidden.all(axis=-1, keepdims=True)
    assert (out[np.broadcast_to(hidden & sees_some, out.shape)] == 0).all()
    attention.attention_probs_gradient(scores, bias, keep, F32(2), gradient, to_scores)
    kept = gradient * factor
    wanted = probs * (kept - (kept * probs).sum(-1, keepdims=True))
    np.testing.assert_allclose(to_scores, wanted, atol=2e-6)


def test_attention_of_a_query_that_sees_nothing_is_even(normal):
    scores, out = np.zeros((1, 1, 4, 4), F32), np.empty((1, 1, 4, 4), F32)
    bias = np.full((1, 1, 1, 4), -10000, F32)
    attention.attention_probs(scores, bias, np.ones((1, 1, 1, 1), bool), F32(1), out)
    np.testing.assert_array_equal(out, 0.25)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_stays_none(bad):
    x = np.zeros((2, 70), F32)
    x[1, 69] = bad
    assert not np.isfinite(adam.sum_of_squares(x.reshape(-1)))
    out = np.empty((1, 1, 2, 70), F32)
    bias, keep = np.zeros((1, 1, 1, 70), F32), np.ones((1, 1, 1, 1), bool)
    norm.layer_norm(x, np.ones(70, F32), np.zeros(70, F32), EPS, out[0, 0])
    assert np.isfinite(out[0, 0]).all(-1).tolist() == [True, False]
    if bad > -np.inf:  # that is a key that no query sees
        scores = np.zeros((1, 1, 70, 70), F32)
        scores[0, 0, 1, 69] = bad
        probs = np.empty_like(scores)
        attention.attention_probs(scores, bias, keep, F32(1), probs)
        assert not np.isfinite(probs[0, 0, 1]).all()


def test_sum_of_squares(normal):
    x = normal(100_001, scale=1e-3)
    assert adam.sum_of_squares(x) == pytest.approx((x.astype(np.float64) ** 2).sum(), rel=1e-6)
    assert adam.sum_of_squares(np.full(5, 1e30, F32)) == np.inf


def test_adam_is_the_formula(normal):
    weight, first, gradient = normal(1000), normal(1000), normal(1000)
    second = normal(1000) ** 2
    w, m, v, g = (a.astype(np.float64) for a in (weight, first, second, gradient))
    betas = np.array([0.9, 0.1, 0.999, 0.001], F32)
    numbers = tuple(map(F32, (1e-2, 1e-6, 0.01)))
    adam.adam(weight, first, second, gradient, F32(0.5), betas, *numbers)
    m = 0.9 * m + 0.1 * 0.5 * g
    v = 0.999 * v + 0.001 * (0.5 * g) ** 2
    w = w - 1e-2 * (m / (np.sqrt(v) + 1e-6) + 0.01 * w)
    for found, wanted in ((first, m), (second, v), (weight, w)):
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-7)


EVERY_LOOP = """
import hashlib
import numpy as np
from tinybert import randomness
from tinybert.kernels import adam, attention, gelu, loops, norm
from tinybert.kernels import threads
threads.LEAST = 0
threads.THREADS.use(COUNT)
F = np.float32
r = np.random.default_rng(3)
def draw(*shape): return r.integers(-2000, 2000, shape).astype(F) / F(512)
x, bias, weight, gradient = draw(112, 312), draw(312), draw(312), draw(112, 312)
scores, keep = draw(2, 12, 48, 48), draw(2, 12, 48, 48) > 0
outs = [np.empty_like(a) for a in (x, x, bias, x, x, weight, bias, x, x, bias)]
form = gelu.ERF_GELU
gelu.bias_gelu(x, bias, form.phi, outs[0])
gelu.bias_gelu_gradient(x, bias, form.slope, gradient, outs[1], outs[2])
norm.layer_norm(x, weight, bias, F(1e-12), outs[3])
norm.layer_norm_gradient(x, weight, F(1e-12), gradient, outs[4], outs[5], outs[6])
norm.residual_sum(x, bias, x > 0, F(1.1), gradient, outs[7])
norm.residual_sum_gradient(x > 0, F(1.1), gradient, outs[8], outs[9])
heads = np.empty((2, 12, 56, 26), F)
attention.split_heads(x, bias, F(0.2), 0, heads)
joined = np.empty_like(x)
attention.join_heads(heads, F(0.2), 0, joined)
probs, to_scores = np.empty_like(scores), np.empty_like(scores)
hides = np.where(draw(2, 1, 48, 48) > 2, F(-10000), F(0))
attention.attention_probs(scores, hides, keep, F(1.1), probs)
attention.attention_probs_gradient(scores, hides, keep, F(1.1), probs[::-1].copy(), to_scores)
flat, first, second = x.reshape(-1), draw(112 * 312), draw(112 * 312) ** 2
square = np.array([adam.sum_of_squares(flat)])
betas = np.array([0.9, 0.1, 0.999, 0.001], F)
adam.adam(flat, first, second, gradient.reshape(-1), F(0.3), betas, F(0.01), F(1e-6), F(0.01))
sums = np.empty_like(bias)
loops.column_sums(x, sums)
masks = randomness.keep_mask(7, "x", np.arange(9, dtype=np.uint64), (5, 33), 0.1)
every = (*outs, heads, joined, probs, to_scores, square, flat, first, second, sums, masks)
print(*(hashlib.sha256(a.tobytes()).hexdigest()[:16] for a in every))
"""


def digests_of_every_loop(threads=1, **variables):
    """Return the digests of what all loops give, in a process with more variables."""
    done = subprocess.run(
        [sys.executable, "-c", EVERY_LOOP.replace("COUNT", str(threads))],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bits_do_not_depend_on_the_number_of_threads():
    assert digests_of_every_loop(1) == digests_of_every_loop(2) == digests_of_every_loop(3)


@pytest.mark.slow
def test_bits_do_not_depend_on_the_processor(tmp_path):
    """Machine code for other processors than this one: without AVX, with AVX2, and this one's."""
    processors = (
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
        {},
    )
    cache = str(tmp_path)
    found = [digests_of_every_loop(NUMBA_CACHE_DIR=cache, **each) for each in processors]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("largest", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_seen_wherever_it_is(largest):
    for place in (0, 1, 63, 64, 69):
        scores = np.zeros((1, 1, 1, 70), F32)
        scores[..., place] = largest
        probs = np.empty_like(scores)
        bias, keep = np.zeros((1, 1, 1, 70), F32), np.ones((1, 1, 1, 1), bool)
        attention.attention_probs(scores, bias, keep, F32(1), probs)
        assert np.isnan(probs[..., place])
