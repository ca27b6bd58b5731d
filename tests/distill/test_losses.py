import mindspore as ms
import numpy as np
import pytest

from tinybert.distill.losses import WeightedSumOfSquares, zero_masked_scores
from tinybert.distill.normalizers import layer_normalizers


def test_normalizers_with_padding_are_one_over_all_positions_and_pairs():
    attention, hidden = layer_normalizers(np.array([3, 7]), np.array([True, True]), 8, "include")
    assert attention.tolist() == [np.float32(1 / 128)] * 2
    assert hidden.tolist() == [np.float32(1 / 16)] * 2


def test_normalizers_without_padding_are_one_over_all_tokens_and_their_pairs():
    attention, hidden = layer_normalizers(np.array([3, 7]), np.array([True, True]), 8, "ignore")
    assert attention.tolist() == [np.float32(1 / 58)] * 2
    assert hidden.tolist() == [np.float32(1 / 10)] * 2


@pytest.mark.parametrize("padding", ["include", "ignore"])
def test_a_row_that_fills_up_the_batch_weighs_nothing(padding):
    filled = np.array([True, False, True])
    attention, hidden = layer_normalizers(np.array([3, 8, 7]), filled, 8, padding)
    alone = layer_normalizers(np.array([3, 7]), np.array([True, True]), 8, padding)
    assert attention[[0, 2]].tolist() == alone[0].tolist()
    assert hidden[[0, 2]].tolist() == alone[1].tolist()
    assert (attention[1], hidden[1]) == (0, 0)


def test_a_batch_without_rows_weighs_nothing():
    attention, hidden = layer_normalizers(np.array([0, 0]), np.array([False, False]), 8, "ignore")
    assert attention.tolist() == hidden.tolist() == [0, 0]


def test_scores_of_minus_100_and_less_count_as_0():
    scores = ms.Tensor([-1e4, -100.0, np.nextafter(np.float32(-100), np.float32(0)), 0.0, 7.0])
    expected = [0.0, 0.0, np.nextafter(np.float32(-100), np.float32(0)), 0.0, 7.0]
    assert zero_masked_scores(scores).asnumpy().tolist() == expected


@pytest.mark.parametrize("device", ["CPU", "Ascend"])
def test_weighted_squares_are_exact_to_float32_over_a_million_elements(device):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((4, 3, 300, 300)).astype(np.float32)
    weights = np.array([0.5, 2.0, 0.0, 1.0], np.float32)
    total = float(WeightedSumOfSquares(device)(ms.Tensor(x), ms.Tensor(weights)))
    exact = ((x.astype(np.float64) ** 2).sum((1, 2, 3)) * weights).sum()
    assert total == pytest.approx(exact, rel=1e-6)
