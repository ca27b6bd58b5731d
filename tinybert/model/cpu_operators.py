"""Operators of a network that a CPU computes faster by our own loops than by the framework's.

Each takes the place of several operators of the framework, and so does its gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from tinybert.kernels import attention, gelu, norm
from tinybert.kernels.loops import Bools, Floats, column_sums, float32
from tinybert.model.library_functions import InPlace, library_function
from tinybert.model.tensors import Tensors

_FRAMEWORK_ONLY: ContextVar[bool] = ContextVar("framework_only", default=False)


def used() -> bool:
    """Return whether a network that is built now has these operators."""
    return ms.get_context("device_target") == "CPU" and not _FRAMEWORK_ONLY.get()


@contextmanager
def framework_only() -> Iterator[None]:
    """Build networks of the framework's operators alone, as on other devices and for exports."""
    token = _FRAMEWORK_ONLY.set(True)
    try:
        yield
    finally:
        _FRAMEWORK_ONLY.reset(token)


@cache
def layer_norm_operator(eps: float) -> ops.Custom:
    """Return the layer norm of x (..., H), given weight and bias (H,)."""
    epsilon = np.float32(eps)

    def forward(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
        norm.layer_norm(_rows(x), weight, bias, epsilon, _rows(out))

    def backward(
        x: Floats,
        weight: Floats,
        gradient: Floats,
        to_x: Floats,
        to_weight: Floats,
        to_bias: Floats,
    ) -> None:
        norm.layer_norm_gradient(
            *(_rows(x), weight, epsilon, _rows(gradient)),
            *(_rows(to_x), to_weight, to_bias),
        )

    gradients = operator(backward, lambda x, weight, gradient: (x, weight, weight))

    def bprop(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, gradient: Tensor) -> Tensors:
        results: Tensors = gradients(x, weight, gradient)
        return results

    return operator(forward, lambda x, weight, bias: x, bprop)


@cache
def bias_gelu_operator(form: gelu.Gelu) -> ops.Custom:
    """Return gelu(x + bias), x (N, H) and bias (H,)."""

    def forward(x: Floats, bias: Floats, out: Floats) -> None:
        gelu.bias_gelu(x, bias, form.phi, out)

    def backward(x: Floats, bias: Floats, gradient: Floats, to_x: Floats, to_bias: Floats) -> None:
        gelu.bias_gelu_gradient(x, bias, form.slope, gradient, to_x, to_bias)

    gradients = operator(backward, lambda x, bias, gradient: (x, bias))

    def bprop(x: Tensor, bias: Tensor, out: Tensor, gradient: Tensor) -> Tensors:
        results: Tensors = gradients(x, bias, gradient)
        return results

    return operator(forward, lambda x, bias: x, bprop)


@cache
def residual_norm_operator(eps: float, keep_scale: float) -> ops.Custom:
    """Return norm(dropout(x + bias) + residual).

    Its inputs are x (N, H), bias (H,), a keep mask (N, H) or `no_mask`, the residual (N, H), and
    the norm's weight and bias (H,).
    """
    scale, epsilon = np.float32(keep_scale), np.float32(eps)

    def forward(
        x: Floats,
        bias: Floats,
        keep: Bools,
        residual: Floats,
        weight: Floats,
        norm_bias: Floats,
        out: Floats,
    ) -> None:
        norm.residual_sum(x, bias, keep, scale, residual, out)
        norm.layer_norm(out, weight, norm_bias, epsilon, out)

    def backward(
        x: Floats,
        bias: Floats,
        keep: Bools,
        residual: Floats,
        weight: Floats,
        gradient: Floats,
        to_x: Floats,
        to_bias: Floats,
        to_residual: Floats,
        to_weight: Floats,
        to_norm_bias: Floats,
    ) -> None:
        norm.residual_sum(x, bias, keep, scale, residual, to_x)
        norm.layer_norm_gradient(
            to_x, weight, epsilon, gradient, to_residual, to_weight, to_norm_bias
        )
        norm.residual_sum_gradient(keep, scale, to_residual, to_x, to_bias)

    gradients = operator(
        backward,
        lambda x, bias, keep, residual, weight, gradient: (x, bias, residual, weight, weight),
    )

    def bprop(
        x: Tensor,
        bias: Tensor,
        keep: Tensor,
        residual: Tensor,
        weight: Tensor,
        norm_bias: Tensor,
        out: Tensor,
        gradient: Tensor,
    ) -> Tensors:
        results = gradients(x, bias, keep, residual, weight, gradient)
        return results[0], results[1], ops.zeros_like(keep), results[2], results[3], results[4]

    return operator(forward, lambda x, bias, keep, residual, weight, norm_bias: x, bprop)


@cache
def split_heads_operator(heads: int, scale: float) -> ops.Custom:
    """Return (query * scale, key, value), each (B, A, S, D), of x + bias.

    x (B, S, 3 * H) is the product of hidden states and the three weights, bias (3 * H,).
    """
    factors = float32(scale, 1.0, 1.0)

    def shape_of(x: Sequence[int], bias: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        batch, length, width = x
        return ((batch, heads, length, width // 3 // heads),) * 3

    def forward(x: Floats, bias: Floats, *outs: Floats) -> None:
        for i, (factor, out) in enumerate(zip(factors, outs, strict=True)):
            attention.split_heads(_rows(x), bias, factor, i * (bias.size // 3), out)

    def backward(
        x: Floats,
        bias: Floats,
        query: Floats,
        key: Floats,
        value: Floats,
        to_x: Floats,
        to_bias: Floats,
    ) -> None:
        for i, (factor, gradient) in enumerate(zip(factors, (query, key, value), strict=True)):
            attention.join_heads(gradient, factor, i * (bias.size // 3), _rows(to_x))
        column_sums(_rows(to_x), to_bias)

    to_inputs = operator(backward, lambda x, bias, query, key, value: (x, bias))

    def bprop(x: Tensor, bias: Tensor, out: Tensors, gradients: Tensors) -> Tensors:
        results: Tensors = to_inputs(x, bias, gradients[0], gradients[1], gradients[2])
        return results

    return operator(forward, lambda x, bias: (x, x, x), bprop, shape_of)


@cache
def attention_probs_operator(keep_scale: float) -> ops.Custom:
    """Return dropout(softmax(scores + bias)).

    Its inputs are scores (B, A, S, S), the bias (B, 1, 1 or S, S), which has no gradient, and a
    keep mask (B, A, S, S) or `no_mask`.
    """
    scale = np.float32(keep_scale)

    def forward(scores: Floats, bias: Floats, keep: Bools, out: Floats) -> None:
        attention.attention_probs(scores, bias, keep, scale, out)

    def backward(
        scores: Floats, bias: Floats, keep: Bools, gradient: Floats, to_scores: Floats
    ) -> None:
        attention.attention_probs_gradient(scores, bias, keep, scale, gradient, to_scores)

    gradients = operator(backward, lambda scores, bias, keep, gradient: scores)

    def bprop(scores: Tensor, bias: Tensor, keep: Tensor, out: Tensor, gradient: Tensor) -> Tensors:
        to_scores = gradients(scores, bias, keep, gradient)
        return to_scores, ops.zeros_like(bias), ops.zeros_like(keep)

    return operator(forward, lambda scores, bias, keep: scores, bprop)


def no_mask(dimensions: int) -> Tensor:
    """Return what takes the place of a keep mask where nothing is dropped."""
    return Tensor(np.ones((1,) * dimensions, bool))


def _rows(x: Floats) -> Floats:
    """Return (N, H) of (..., H), in the same memory."""
    return x.reshape(-1, x.shape[-1])


def operator(
    loop: InPlace,
    like: Callable[..., Any],
    bprop: Callable[..., Tensors] | None = None,
    shape_of: Callable[..., tuple[Any, ...]] | None = None,
) -> ops.Custom:
    """Return the operator of a loop over arrays.

    Args:
        loop: Writes the outputs of inputs.
        like: Returns the inputs whose types, and shapes, the outputs have.
        bprop: Returns the gradients of inputs from inputs, output and its gradient.
        shape_of: Returns the output's shape, or those of several, where no input has it.
    """
    function = library_function(loop)
    if function is None:
        returning = _returning(loop, like, shape_of)
        return ops.Custom(returning, shape_of or like, like, func_type="pyfunc", bprop=bprop)
    return ops.Custom(function, shape_of or like, like, func_type="aot", bprop=bprop)


def _returning(
    loop: InPlace, like: Callable[..., Any], shape_of: Callable[..., tuple[Any, ...]] | None
) -> Callable[..., Any]:
    """Return the function that returns what a loop writes."""

    def results(*inputs: Floats) -> Any:
        given = like(*inputs)
        templates = given if isinstance(given, tuple) else (given,)
        shapes = [array.shape for array in templates]
        if shape_of is not None:
            shapes = list(shape_of(*(array.shape for array in inputs)))
        outs = tuple(np.empty(s, a.dtype) for s, a in zip(shapes, templates, strict=True))
        loop(*inputs, *outs)
        return outs if isinstance(given, tuple) else outs[0]

    return results
