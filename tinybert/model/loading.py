"""Put values into the parameters of a built cell."""

from collections.abc import Mapping

import mindspore as ms
from mindspore import nn

from tinybert.model.parameters import Array
from tinybert.model.weights import check_match


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
