import mindspore as ms
import numpy as np
import pytest

from tests.model.numpy_bert import ACTIVATIONS
from tinybert.model.layers import LayerNorm, MatMul, activation


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
def test_fused_layer_norm_is_the_frameworks_operator(fused):
    norm = LayerNorm("norm", 4, eps=1e-12, dtype=ms.float32, fused=fused)
    norm.weight.set_data(ms.Tensor(np.ones(4, np.float32)))
    calls = []
    operator = norm.operator
    norm.operator = lambda *inputs: calls.append(inputs) or operator(*inputs)
    x = ms.Tensor(np.array([[1.0, 2.0, 3.0, 6.0]], np.float32))
    expected = np.array([[-2.0, -1.0, 0.0, 3.0]]) / np.sqrt(3.5)
    assert np.abs(norm.construct(x).asnumpy() - expected).max() < 1e-6
    assert len(calls) == (1 if fused else 0)
