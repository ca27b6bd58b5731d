"""Waiting for a compiled graph: what is returned."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops

from tinybert.model import awaited, cpu_operators
from tinybert.model.awaited import AwaitedGraph


class _Products(AwaitedGraph):
    """Products, each from the one before, and a sum."""

    def compute(self, x):
        once = ops.matmul(x, x) / x.shape[0]
        for _ in range(20):
            once = ops.matmul(once, x) / x.shape[0]
        return once, x.sum()


@pytest.fixture
def matrix():
    return ms.Tensor(np.full((400, 400), 0.5, np.float32))


def test_results_come_back_without_the_signal(matrix):
    cell = _Products()
    for _ in range(3):
        product, total = cell.results(matrix)
        assert product.shape == (400, 400)
        assert total.asnumpy() == 80000


def test_results_are_computed_where_no_signal_comes(matrix, monkeypatch):
    monkeypatch.setattr(awaited, "MOST", 0)
    cell = _Products()
    product, total = cell.results(matrix)
    assert np.isfinite(product.asnumpy()).all()
    assert total.asnumpy() == 80000


def test_framework_waits_where_a_graph_has_only_its_operators(matrix):
    with cpu_operators.framework_only():
        cell = _Products()
    assert not cell.has_signal
    product, total = cell.results(matrix)
    assert product.shape == (400, 400)
    assert total.asnumpy() == 80000
