"""The parts of an encoder layer: matrix products, linear maps, layer norms, activations.

Every matrix product of a network is a `MatMul`, which alone sets the type of its inputs.
"""

import math
from collections.abc import Callable, Mapping

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from tinybert.model import cpu_operators
from tinybert.model.parameters import Array
from tinybert.model.weights import check_match

FLOATS = {"float32": ms.float32, "float16": ms.float16}


def parameter(name: str, shape: tuple[int, ...], dtype: ms.Type) -> ms.Parameter:
    """Return a parameter under exactly this name; `load_into` sets its values before use."""
    values = np.zeros(shape, ms.dtype_to_nptype(dtype))
    return ms.Parameter(ms.Tensor(values), name=name)


def load_into(cell: nn.Cell, arrays: Mapping[str, Array], *, where: str = "") -> None:
    """Set every parameter of `cell` exactly once, each from the array of its name.

    Values are converted to the parameter's type, to nearest; nothing is set unless all fit.

    Args:
        cell: Built cell; its parameters' names are unique.
        arrays: Value by full parameter name.
        where: Where the arrays come from, for the message.

    Raises:
        InputError: Names or shapes differ on either side, or a value does not fit the type;
            the message lists all of them.
    """
    parameters = {parameter.name: parameter for parameter in cell.get_parameters()}
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    types = {name: ms.dtype_to_nptype(parameter.dtype) for name, parameter in parameters.items()}
    check_match(arrays, shapes, types, where=where)
    for name, parameter in parameters.items():
        parameter.set_data(ms.Tensor(arrays[name].astype(types[name])))


class Cell(nn.Cell):  # type: ignore[misc]
    """A cell that leaves the names of its parameters as they are."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)


class MatMul(Cell):
    """Matrix product of inputs in `input_type`, result in float32.

    Args:
        input_type: Type that both operands are cast to.
        transpose: The second operand is transposed in its last two axes.
        batched: Operands have leading batch axes; otherwise both have two axes.
    """

    def __init__(self, input_type: ms.Type, *, transpose: bool, batched: bool) -> None:
        super().__init__()
        self.input_type = input_type
        operator = ops.BatchMatMul if batched else ops.MatMul
        self.multiply = operator(transpose_b=transpose)

    def construct(self, left: ms.Tensor, right: ms.Tensor) -> ms.Tensor:
        """Return (..., M, N) float32 from (..., M, K) and (..., K, N), or (..., N, K)."""
        left = ops.cast(left, self.input_type)
        right = ops.cast(right, self.input_type)
        return ops.cast(self.multiply(left, right), ms.float32)


class Linear(Cell):
    """Linear map with bias; the bias is added in float32.

    Args:
        name: Name that the parameters `weight` (out, in) and `bias` (out,) start with.
        inputs: Width of the input.
        outputs: Width of the output.
        dtype: Type of the parameters.
        compute_type: Type of the product's inputs.
    """

    def __init__(
        self, name: str, inputs: int, outputs: int, *, dtype: ms.Type, compute_type: ms.Type
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.weight = parameter(f"{name}.weight", (outputs, inputs), dtype)
        self.bias = parameter(f"{name}.bias", (outputs,), dtype)
        self.product = MatMul(compute_type, transpose=True, batched=False)
        self.add = ops.BiasAdd()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return (..., out) float32 from (..., in)."""
        flat, bias = self.terms(x)
        return self.add(flat, bias).reshape(*x.shape[:-1], self.outputs)

    def terms(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the product (N, out) of (..., in), and the bias (out,) to add, both float32."""
        flat = self.product(x.reshape(-1, x.shape[-1]), self.weight)
        return flat, ops.cast(self.bias, ms.float32)

    def joint_terms(
        self, second: "Linear", third: "Linear", x: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the terms of three maps side by side: (N, 3 * out) and (3 * out,), float32.

        One product of thrice the width takes less time than three, and so do its gradients.
        """
        weight = ops.concat((self.weight, second.weight, third.weight))
        bias = ops.concat((self.bias, second.bias, third.bias))
        return self.product(x.reshape(-1, x.shape[-1]), weight), ops.cast(bias, ms.float32)


class LayerNorm(Cell):
    """Layer norm over the last axis, in float32.

    Args:
        name: Name that the parameters `weight` and `bias` (H,) start with.
        size: H.
        eps: Added to the variance.
        dtype: Type of the parameters.
        fused: Normalize first, then scale and shift, by elementary operators: the arithmetic of
            MindSpore's form on batch norm, whose gradient is wrong on CPU. Otherwise one
            operator.
    """

    def __init__(self, name: str, size: int, *, eps: float, dtype: ms.Type, fused: bool) -> None:
        super().__init__()
        self.weight = parameter(f"{name}.weight", (size,), dtype)
        self.bias = parameter(f"{name}.bias", (size,), dtype)
        self.eps = eps
        self.fused = fused
        self.own = cpu_operators.used()
        if self.own:
            self.operator = cpu_operators.layer_norm_operator(eps)
        else:
            self.operator = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)
        self.mean = ops.ReduceMean(keep_dims=True)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return (..., H) float32 from (..., H) float32."""
        weight, bias = ops.cast(self.weight, ms.float32), ops.cast(self.bias, ms.float32)
        if not self.fused:
            normed = self.operator(x, weight, bias)
            return normed if self.own else normed[0]
        centred = x - self.mean(x, -1)
        variance = self.mean(ops.square(centred), -1)
        return centred * ops.rsqrt(variance + self.eps) * weight + bias


def activation(name: str) -> Callable[[ms.Tensor], ms.Tensor]:
    """Return an activation function of float32 tensors.

    `gelu_tanh` and `gelu` are both forms of Hendrycks and Gimpel, arXiv 1606.08415.
    """
    functions: dict[str, Callable[[ms.Tensor], ms.Tensor]]
    functions = {"gelu_tanh": gelu_tanh, "gelu": gelu, "relu": ops.relu}
    return functions[name]


def tanh(x: ms.Tensor) -> ms.Tensor:
    """Return 2 sigmoid(2x) - 1, the tanh: the framework's own is off by 1e-4 near 5 on CPU."""
    return 2.0 * ops.sigmoid(2.0 * x) - 1.0


def softmax_and_log(x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
    """Return softmax and its logarithm over the last axis, float32 of the shape of x.

    The framework's exp and softmax are off by up to 7e-6 on CPU, its expm1 by less than 1e-7.
    """
    below = x - ops.stop_gradient(ops.ReduceMax(True)(x, -1))
    powers = ops.expm1(below) + 1.0
    total = ops.ReduceSum(True)(powers, -1)
    return powers / total, below - ops.log(total)


def gelu_tanh(x: ms.Tensor) -> ms.Tensor:
    """Return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), the form of Google's BERT.

    Half of 1 + tanh(y) is sigmoid(2y).
    """
    linear = 2.0 * math.sqrt(2.0 / math.pi)
    return x * ops.sigmoid(x * (linear + 0.044715 * linear * ops.square(x)))


def gelu(x: ms.Tensor) -> ms.Tensor:
    """Return x / 2 * (1 + erf(x / sqrt(2))), the form of Hugging Face's BERT."""
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))
