"""Adam with decoupled weight decay; without bias correction it is that of BERT's training."""

import math
from collections.abc import Sequence

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Parameter, Tensor, ops

from tinybert.model.layers import Cell


class AdamWeightDecay(Cell):
    """Update parameters in place.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w - lr (m / (sqrt(v) + eps) + decay w).
    With bias correction the update t = 1, 2, ... has m / (1 - b1^t) and v / (1 - b2^t) in the place
    of m and v. Moments are float32 whatever the type of the parameter (Kingma and Ba, 2015;
    decoupled decay: Loshchilov and Hutter, 2019).

    Args:
        parameters: What is trained, in network order.
        betas: Decay rates of the first and the second moment.
        eps: Added to the root of the second moment.
        weight_decay: Decay of the parameters that decay.
        no_decay: A parameter whose lower-case name contains one of these does not decay.
        corrected_updates: The most updates that are made, with bias correction; None: without.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        no_decay: Sequence[str],
        corrected_updates: int | None = None,
    ) -> None:
        super().__init__()
        self.parameters = ms.ParameterTuple(parameters)
        self.first_moment = ms.ParameterTuple(_zeros("adam_m", p) for p in parameters)
        self.second_moment = ms.ParameterTuple(_zeros("adam_v", p) for p in parameters)
        self.betas = betas
        self.eps = eps
        self.decay = tuple(
            0.0 if any(part in p.name.lower() for part in no_decay) else weight_decay
            for p in parameters
        )
        self.corrections: Tensor | None = None
        if corrected_updates is not None:
            self.corrections = Tensor(_corrections(betas, corrected_updates))
        self.update = ops.AdamWeightDecay()
        # The operator takes 1 - beta from a float32 beta: at 0.999 its second moment is 1.3e-5 too
        # small, so its root is by this factor, which rate, eps and decay make up for.
        self.root = math.sqrt((1.0 - float(np.float32(betas[1]))) / (1.0 - betas[1]))

    def construct(
        self, gradients: tuple[Tensor, ...], learning_rate: Tensor, optimizer_step: Tensor
    ) -> None:
        """Apply one update.

        Args:
            gradients: One float32 tensor a parameter, clipped.
            learning_rate: float32 scalar.
            optimizer_step: Updates before this one, int32 scalar.
        """
        b1, b2 = self.betas
        rate, eps, ratio = learning_rate, self.eps, 1.0
        if self.corrections is not None:
            # the change by corrected moments is ratio m / (sqrt(v) + root eps) + decay w
            correction = self.corrections[optimizer_step]
            ratio, root = correction[0], correction[1]
            rate, eps = learning_rate * ratio, self.eps * root
        operator_rate, operator_eps = rate * self.root, eps * self.root
        for i in range(len(self.parameters)):
            parameter, m, v = self.parameters[i], self.first_moment[i], self.second_moment[i]
            decay = self.decay[i] / ratio
            if parameter.dtype == ms.float32:
                operator_decay = decay / self.root
                self.update(
                    parameter,
                    m,
                    v,
                    operator_rate,
                    b1,
                    b2,
                    operator_eps,
                    operator_decay,
                    gradients[i],
                )
            else:
                weight = ops.cast(parameter, ms.float32)
                new_m = b1 * m + (1.0 - b1) * gradients[i]
                new_v = b2 * v + (1.0 - b2) * ops.square(gradients[i])
                change = new_m / (ops.sqrt(new_v) + eps) + decay * weight
                ops.assign(m, new_m)
                ops.assign(v, new_v)
                ops.assign(parameter, ops.cast(weight - rate * change, parameter.dtype))


def _corrections(betas: tuple[float, float], updates: int) -> npt.NDArray[np.float32]:
    """Return sqrt(1 - b2^t) / (1 - b1^t) and sqrt(1 - b2^t), t = 1, 2, ...: (updates, 2)."""
    first, second = (  # NumPy's powers depend on the processor
        np.array([1.0 - math.pow(beta, t) for t in range(1, updates + 1)]) for beta in betas
    )
    root = np.sqrt(second)
    corrections: npt.NDArray[np.float32] = np.stack([root / first, root], 1).astype(np.float32)
    return corrections


def _zeros(kind: str, parameter: Parameter) -> Parameter:
    """Return a float32 moment of the parameter's shape, named `kind.name`."""
    value = Tensor(np.zeros(parameter.shape, np.float32))
    return Parameter(value, name=f"{kind}.{parameter.name}", requires_grad=False)
