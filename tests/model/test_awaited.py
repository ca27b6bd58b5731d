"""Waiting for a compiled graph: what is returned."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops

from tinybert.model import completion, cpu_operators
from tinybert.model.completion import Completion
from tinybert.model.layers import Cell


class _Products(Cell):
    """Two products, each from the one before; the second is returned first."""

    def __init__(self) -> None:
        super().__init__()
        self.completion = Completion()

    @ms.jit
    def construct(self, x):
        once = ops.matmul(x, x) / x.shape[0]
        for _ in range(20):
            once = ops.matmul(once, x) / x.shape[0]
        return self.completion((once, x.sum()))


@pytest.fixture
def matrix():
    return ms.Tensor(np.full((400, 400), 0.5, np.float32))


def test_results_come_back_without_the_notice(matrix):
    cell = _Products()
    for _ in range(3):
        product, total = cell.completion.wait(cell(matrix))
        assert product.shape == (400, 400)
        assert total.asnumpy() == 80000


def test_results_are_computed_where_no_notice_comes(matrix, monkeypatch):
    monkeypatch.setattr(completion, "PATIENCE", 0)
    cell = _Products()
    product, total = cell.completion.wait(cell(matrix))
    assert np.isfinite(product.asnumpy()).all()
    assert total.asnumpy() == 80000


def test_framework_waits_where_a_graph_has_only_its_operators(matrix):
    with cpu_operators.framework_only():
        cell = _Products()
    product, total = cell(matrix)
    assert cell.completion.wait((product, total)) == (product, total)
