"""Options of a training that make it PyTorch's and transformers' where these are installed."""

from dataclasses import replace

import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers

from tests.parity import ours, reference
from tests.parity.reference import COMMON, STUDENT, TEACHER
from tinybert.data.batch import Batch
from tinybert.recipe.schedule import Polynomial
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScaleSettings, TrainingStep

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
    rate = Polynomial(PEAK, 0.0, 1.0, WARMUP, TOTAL, decay_start=WARMUP)
    assert [rate(step) for step in range(TOTAL)] == pytest.approx(theirs, rel=1e-12, abs=1e-18)
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
    rate = Polynomial(PEAK, end, power, WARMUP, TOTAL, decay_start=WARMUP)
    assert [rate(step) for step in range(TOTAL)] == pytest.approx(theirs, rel=1e-12)
    assert np.argmax(theirs) == WARMUP


NAMES = ("layernorm.weight", "layernorm.bias", "dense.weight")
SHAPES = ((6,), (6,), (4, 6))
BETAS, EPS, DECAY, CLIP, RATE = (0.9, 0.999), 1e-6, 0.01, 1.0, 1e-2


def random_arrays(generator: np.random.Generator) -> list[np.ndarray]:
    return [generator.standard_normal(shape).astype(np.float32) for shape in SHAPES]


def our_updates(first: list, gradients: list, **options) -> list[np.ndarray]:
    """Return the weights after an update with each of some lists of gradients."""
    parameters = [
        Parameter(Tensor(value), name=name) for value, name in zip(first, NAMES, strict=True)
    ]
    step = TrainingStep(
        Weighted(parameters),
        AdamWeightDecay(
            parameters,
            betas=BETAS,
            eps=EPS,
            weight_decay=DECAY,
            no_decay=("layernorm",),
            corrected_updates=len(gradients) if options.pop("bias_correction", False) else None,
        ),
        schedule=Polynomial(RATE, RATE, 1.0, 0, len(gradients)),
        loss_scale=LossScaleSettings(1.0, 2.0, 1000),
        clip_norm=CLIP,
        **options,
    )
    for some in gradients:
        step.call([[Batch(*some)]], stop=False)
    return [parameter.asnumpy() for parameter in parameters]


class Weighted(nn.Cell):
    """A network whose inputs are the gradients of its parameters."""

    def __init__(self, parameters):
        super().__init__(auto_prefix=False)
        self.weights = ParameterTuple(parameters)

    def construct(self, *gradients):
        loss = 0.0
        for weight, gradient in zip(self.weights, gradients):  # noqa: B905
            loss = loss + ops.reduce_sum(weight * gradient)
        return loss, loss


def their_updates(first: list, gradients: list, *, together: bool) -> list[np.ndarray]:
    """Return the weights after the same updates of PyTorch's AdamW, whose moments are corrected."""
    weights = [torch.nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in first]
    groups = [
        {"params": weights[:2], "weight_decay": 0.0},
        {"params": weights[2:], "weight_decay": DECAY},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPS)
    for some in gradients:
        for weight, gradient in zip(weights, some, strict=True):
            weight.grad = torch.tensor(gradient, dtype=torch.float64)
        if together:
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
        else:
            for weight in weights:
                torch.nn.utils.clip_grad_norm_(weight, CLIP)
        optimizer.step()
    return [weight.detach().numpy() for weight in weights]


@pytest.mark.parametrize("size", [10.0, 0.01], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("clip_by", ["norm", "global_norm"])
def test_bias_corrected_updates_are_those_of_pytorch(clip_by, size):
    """Its `clip_grad_norm_` adds 1e-6 to the norm: 1e-6 relative, where a norm is above 1."""
    generator = np.random.default_rng(5)
    first = random_arrays(generator)
    gradients = [[size * g for g in random_arrays(generator)] for _ in range(25)]
    found = our_updates(first, gradients, bias_correction=True, clip_by=clip_by)
    theirs = their_updates(first, gradients, together=clip_by == "global_norm")
    uncorrected = our_updates(first, gradients, clip_by=clip_by)
    for start, one, other, plain in zip(first, found, theirs, uncorrected, strict=True):
        moved = ours.relative(one - start, other - start)
        assert moved <= ours.GATES["gradient"]
        assert ours.relative(plain - start, other - start) > 0.1


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_gradients_with_padding_idx_are_those_of_transformers(padding_idx):
    generator = np.random.default_rng(9)
    weights = reference.random_weights(TEACHER, "teacher.", generator)
    weights |= reference.random_weights(STUDENT, "student.", generator)
    weights["fit_dense.weight"] = generator.standard_normal((32, 16)).astype(np.float32) / 4
    weights["fit_dense.bias"] = generator.standard_normal(32).astype(np.float32)
    batch = reference.random_batch(generator, 4, 12, COMMON["vocab_size"])
    gelu = {"hidden_act": "gelu"}
    theirs = reference.Distillation(TEACHER | gelu, STUDENT | gelu, weights, torch.float64)
    theirs.student.embeddings.word_embeddings.padding_idx = padding_idx
    named = theirs.trained()
    expected = dict(
        zip(named, torch.autograd.grad(sum(theirs.loss(batch)), list(named.values())), strict=True)
    )
    student = replace(ours.config(STUDENT, "gelu"), padding_idx=padding_idx)
    cell = ours.distiller(ours.config(TEACHER, "gelu"), student, weights, "include")
    _, gradients = ours.compiled_gradient(cell)(*ours.inputs(batch, "include"))
    for parameter, gradient in zip(cell.trainable_params(), gradients, strict=True):
        other = expected[parameter.name].numpy()
        difference = ours.relative(gradient.asnumpy(), other)
        assert difference <= ours.GATES["gradient"], (parameter.name, difference)
        if parameter.name.endswith("word_embeddings.weight"):
            assert gradient.asnumpy()[0].any() == other[0].any() == (padding_idx is None)
