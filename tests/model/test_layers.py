import mindspore as ms
import numpy as np
import pytest

from tests.model.networks import tiny
from tests.model.numpy_bert import ACTIVATIONS
from tinybert.errors import InputError
from tinybert.model.bert import BertEncoder
from tinybert.model.layers import LayerNorm, MatMul, activation, load_into
from tinybert.model.parameters import encoder_shapes, seeded


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "relu"])
def test_activations_are_exact_to_float32(name):
    x = np.linspace(-12, 12, 100_001).astype(np.float32)
    difference = activation(name)(ms.Tensor(x)).asnumpy() - ACTIVATIONS[name](x.astype(np.float64))
    assert np.abs(difference).max() < 1e-6


@pytest.mark.parametrize(
    ("input_type", "expected"), [(ms.float32, 1 + 2.0**-12), (ms.float16, 1.0)]
)
@pytest.mark.parametrize("batched", [False, True])
def test_a_product_rounds_both_inputs_to_its_type_and_returns_float32(
    input_type, expected, batched
):
    product = MatMul(input_type, transpose=True, batched=batched)
    shape = (1, 1, 1) if batched else (1, 1)
    fine = ms.Tensor(np.full(shape, 1 + 2.0**-12, np.float32))
    one = ms.Tensor(np.ones(shape, np.float32))
    for left, right in ((fine, one), (one, fine)):
        result = product(left, right)
        assert result.dtype == ms.float32
        assert result.asnumpy().item() == expected


@pytest.mark.parametrize("fused", [False, True])
def test_layer_norm_that_is_not_fused_is_the_frameworks_operator(fused):
    norm = LayerNorm("norm", 4, eps=1e-12, dtype=ms.float32, fused=fused)
    norm.weight.set_data(ms.Tensor(np.ones(4, np.float32)))
    calls = []
    operator = norm.operator
    norm.operator = lambda *inputs: calls.append(inputs) or operator(*inputs)
    x = ms.Tensor(np.array([[1.0, 2.0, 3.0, 6.0]], np.float32))
    expected = np.array([[-2.0, -1.0, 0.0, 3.0]]) / np.sqrt(3.5)
    assert np.abs(norm.construct(x).asnumpy() - expected).max() < 1e-6
    assert len(calls) == (0 if fused else 1)


def values(**changes) -> dict:
    return seeded(encoder_shapes(tiny(**changes)), seed=1, std=0.02, prefix="student.")


def prefixed(arrays: dict) -> dict:
    return {f"student.{name}": array for name, array in arrays.items()}


@pytest.mark.parametrize("relative", [False, True])
def test_an_encoder_has_exactly_the_documented_parameters(relative):
    config = tiny(use_relative_positions=relative)
    names = [(p.name, p.shape) for p in BertEncoder(config, "student.").get_parameters()]
    assert names == list(prefixed(encoder_shapes(config)).items())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_parameter_takes_its_value_in_its_type(dtype):
    encoder = BertEncoder(tiny(dtype=dtype), "student.")
    load_into(encoder, prefixed(values()))
    for parameter in encoder.get_parameters():
        expected = values()[parameter.name.removeprefix("student.")].astype(dtype)
        assert parameter.asnumpy().dtype == expected.dtype
        assert parameter.asnumpy().tobytes() == expected.tobytes()


def test_nothing_is_set_unless_everything_fits():
    encoder = BertEncoder(tiny(), "student.")
    arrays = prefixed(values())
    del arrays["student.pooler.dense.bias"]
    arrays["student.pooler.dense.weight"] = np.ones((16, 15), np.float32)
    arrays["teacher.pooler.dense.bias"] = np.ones(16, np.float32)
    with pytest.raises(InputError) as caught:
        load_into(encoder, arrays, where="a.safetensors")
    assert str(caught.value) == (
        "the weights do not fit the network:\n"
        "  shape: student.pooler.dense.weight is (16, 15), not (16, 16)\n"
        "  missing: student.pooler.dense.bias (16,)\n"
        "  unknown: teacher.pooler.dense.bias (16,)\n"
        "  --> a.safetensors\n"
        "help: make the sizes in the recipe those of the checkpoint, or name another one"
    )
    assert not any(parameter.asnumpy().any() for parameter in encoder.get_parameters())


def test_two_networks_have_no_name_in_common():
    teacher, student = (BertEncoder(tiny(), prefix) for prefix in ("teacher.", "student."))
    both = ms.nn.CellList([teacher, student], auto_prefix=False)
    names = [parameter.name for parameter in both.get_parameters()]
    assert len(names) == len(set(names)) == 2 * len(encoder_shapes(tiny()))
