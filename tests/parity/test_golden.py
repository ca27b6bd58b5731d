"""Equal weights give equal numbers: against files written by transformers and PyTorch."""

import ast
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from safetensors.numpy import load_file

from tests.parity import ours
from tinybert.data.batch import Batch
from tinybert.recipe.schedule import Polynomial
from tinybert.train.optimizer import AdamWeightDecay
from tinybert.train.step import LossScaleSettings, TrainingStep

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = json.loads((GOLDEN / "settings.json").read_text())
ROWS = ("input_ids", "segment_ids", "input_mask")
NO_SCALE = LossScaleSettings(initial=1.0, factor=2.0, window=1000)


def weights() -> dict:
    return {k: v for k, v in load_file(GOLDEN / "common.safetensors").items() if k not in ROWS}


def batches() -> list[dict]:
    common = load_file(GOLDEN / "common.safetensors")
    steps = SETTINGS["schedule"]["total"]
    return [{name: common[name][step] for name in ROWS} for step in range(steps)]


def build(activation: str, padding: str):
    configs = [ours.config(SETTINGS[name], activation) for name in ("teacher", "student")]
    return ours.distiller(*configs, weights(), padding)


@pytest.fixture(scope="module", params=["gelu", "gelu_tanh"])
def activation(request):
    return request.param


@pytest.fixture(scope="module")
def golden(activation):
    return load_file(GOLDEN / f"{activation}.safetensors")


@pytest.fixture(scope="module")
def cell(activation):
    return build(activation, "include")


@pytest.fixture(scope="module")
def outputs(cell):
    batch = batches()[0]
    results = ours.compiled_outputs(cell)(*(ms.Tensor(batch[name]) for name in ROWS))
    return dict(zip(("teacher", "student"), results, strict=True))


@pytest.mark.parametrize("network", ["teacher", "student"])
def test_hidden_states_equal_the_reference(outputs, golden, network):
    hidden, _, _ = outputs[network]
    assert len(hidden) == SETTINGS[network]["num_hidden_layers"] + 1
    for index, states in enumerate(hidden):
        difference = np.abs(states.asnumpy() - golden[f"{network}.hidden.{index}"]).max()
        assert difference <= ours.GATES["hidden"], (index, difference)


def test_scores_of_unmasked_keys_equal_the_reference(outputs, golden, activation):
    unmasked = np.broadcast_to(batches()[0]["input_mask"][:, None, None, :] == 1, (4, 4, 12, 12))
    # the teacher's are in one of the two files only, for its size
    for network in ("teacher", "student") if activation == "gelu" else ("student",):
        _, scores, _ = outputs[network]
        assert len(scores) == SETTINGS[network]["num_hidden_layers"]
        for index, layer in enumerate(scores):
            reference = golden[f"{network}.scores.{index}"][unmasked]
            difference = np.abs(layer.asnumpy()[unmasked] - reference).max()
            assert difference <= ours.GATES["scores"] * np.abs(reference).max(), (network, index)


@pytest.mark.parametrize("network", ["teacher", "student"])
def test_pooled_output_equals_the_reference(outputs, golden, network):
    difference = np.abs(outputs[network][2].asnumpy() - golden[f"{network}.pooled"]).max()
    assert difference <= ours.GATES["pooled"]


def test_loss_and_gradients_equal_the_reference(cell, golden, activation):
    check_gradients(cell, "include", activation, golden)


def test_loss_and_gradients_without_padding_equal_the_reference():
    cell = build("gelu", "ignore")
    check_gradients(cell, "ignore", "gelu", load_file(GOLDEN / "gelu.safetensors"))


def check_gradients(cell, padding, activation, golden):
    batch = ours.inputs(batches()[0], padding)
    (loss, attention, hidden), gradients = ours.compiled_gradient(cell)(*batch)
    expected = SETTINGS["losses"][activation][padding]
    within = pytest.approx
    assert float(attention) == within(expected["attention"], rel=ours.GATES["loss"])
    assert float(hidden) == within(expected["hidden"], rel=ours.GATES["loss"])
    assert float(loss) == within(sum(expected.values()), rel=ours.GATES["loss"])
    names = [parameter.name for parameter in cell.trainable_params()]
    prefix = f"gradient.{padding}."
    assert {prefix + name for name in names} == {k for k in golden if k.startswith(prefix)}
    for name, gradient in zip(names, gradients, strict=True):
        difference = ours.relative(gradient.asnumpy(), golden[prefix + name])
        assert difference <= ours.GATES["gradient"], (name, difference)


class InjectedGradients(nn.Cell):
    """A network whose gradient is given: the sum of the products of weights and gradients."""

    def __init__(self, parameters, gradients):
        super().__init__(auto_prefix=False)
        self.weights = ms.ParameterTuple(parameters)
        self.gradients = [ms.Tensor(gradient) for gradient in gradients]

    def construct(self, *_):
        loss = 0.0
        for weight, gradient in zip(self.weights, self.gradients):  # noqa: B905
            loss = loss + ops.reduce_sum(weight * gradient)
        return loss, loss


def optimizer(parameters) -> AdamWeightDecay:
    settings = SETTINGS["optimizer"]
    return AdamWeightDecay(
        parameters,
        betas=tuple(settings["betas"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
        no_decay=("layernorm", "bias"),
    )


def training_step(network, update, schedule) -> TrainingStep:
    return TrainingStep(
        network,
        update,
        schedule=schedule,
        loss_scale=NO_SCALE,
        clip_norm=SETTINGS["optimizer"]["clip_norm"],
    )


def test_updates_with_equal_gradients_equal_the_reference():
    golden = load_file(GOLDEN / "gelu.safetensors")
    injected = SETTINGS["injected"]
    parameters = [
        ms.Parameter(ms.Tensor(value), name=name)
        for name, value in weights().items()
        if f"updated.{name}" in golden
    ]
    gradients = [golden[f"gradient.include.{p.name}"] * injected["factor"] for p in parameters]
    network = InjectedGradients(parameters, gradients)
    rate = injected["learning_rate"]
    constant = Polynomial(rate, rate, power=1.0, warmup_steps=0, total_steps=2)
    step = training_step(network, optimizer(parameters), constant)
    for _ in range(2):
        step.call([[Batch(np.float32(0.0), None, None)]], stop=False)
    assert len(parameters) == 39
    for parameter in parameters:
        expected = golden[f"updated.{parameter.name}"]
        before = weights()[parameter.name]
        moved = ours.relative(parameter.asnumpy() - before, expected - before)
        assert moved <= ours.GATES["gradient"], (parameter.name, moved)


def test_loss_curve_of_20_steps_equals_the_reference():
    cell = build("gelu", "include")
    numbers = SETTINGS["schedule"]
    schedule = Polynomial(
        numbers["peak"], numbers["end"], numbers["power"], numbers["warmup"], numbers["total"]
    )
    step = training_step(cell, optimizer(cell.trainable_params()), schedule)
    calls = [step.call([[ours.layer_batch(batch, "include")]], stop=False) for batch in batches()]
    losses = [outputs.losses[0] for (outputs,) in calls]
    curve = SETTINGS["losses"]["gelu"]["curve"]
    assert losses == pytest.approx(curve, rel=ours.GATES["loss"])


def test_the_reference_knows_nothing_of_this_package():
    for script in ("make_golden.py", "reference.py"):
        tree = ast.parse((Path(__file__).parent / script).read_text())
        modules = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert "tinybert" not in modules
        assert "mindspore" not in modules
