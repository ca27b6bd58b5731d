"""The pins that a wrong version would break without a word."""

from importlib.metadata import version

import mindspore as ms
import numpy as np


def test_numpy_is_the_one_that_mindspore_was_compiled_against():
    assert int(version("numpy").split(".")[0]) == 1
    # With NumPy 2 this very line fails: the framework's modules are built for NumPy 1.
    assert (ms.Tensor(np.arange(3)) + 1).asnumpy().tolist() == [1, 2, 3]
