"""What networks take and give."""

from mindspore import Tensor

Tensors = tuple[Tensor, ...]
