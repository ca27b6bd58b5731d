import hashlib

import numpy as np
import pytest

from tinybert import randomness


def words(text):
    return np.array([int(word, 16) for word in text.split()], np.uint32)


KNOWN_ANSWERS = [
    ("0 0 0 0", "0 0 0 0", "9c6ca96a e17eae66 fc10ecd4 5256a7d8"),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff ffffffff ffffffff",
        "2a881696 57012287 f6c7446e a16a6732",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0 082efa98 ec4e6c89",
        "59cd1dbb b8879579 86b5d00c ac8b6d84",
    ),
]
"""The published known answers of Threefry-4x32-20: counter, key, output."""


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_cipher_gives_the_published_answers(counter, key, output):
    counters = tuple(words(counter).reshape(4, 1))
    assert randomness.threefry(words(key), counters)[:, 0].tolist() == words(output).tolist()


def test_cipher_of_many_counters_is_the_cipher_of_each():
    count = np.arange(70_000, dtype=np.uint32)  # several chunks
    zero = np.zeros_like(count)
    key = randomness.key(5, "test")
    together = randomness.threefry(key, (count, zero, zero, zero))
    for i in (0, 16_383, 16_384, 69_999):
        one = tuple(word[i : i + 1] for word in (count, zero, zero, zero))
        assert randomness.threefry(key, one)[:, 0].tolist() == together[:, i].tolist()


def test_mask_of_a_sample_depends_on_its_ordinal_alone():
    samples = np.arange(40, 48, dtype=np.uint64)
    whole = randomness.keep_mask(3, "site", samples, (5, 7), 0.1)
    assert whole.shape == (8, 5, 7)
    part = randomness.keep_mask(3, "site", samples[[6, 2]], (5, 7), 0.1)
    assert np.array_equal(part, whole[[6, 2]])


def test_masks_differ_between_seeds_sites_and_samples():
    first = np.array([0, 2**33], np.uint64)
    mask = randomness.keep_mask(3, "site", first, (64, 64), 0.5)
    others = [
        randomness.keep_mask(4, "site", first, (64, 64), 0.5)[0],
        randomness.keep_mask(3, "other", first, (64, 64), 0.5)[0],
        randomness.keep_mask(3, "site", first + np.uint64(1), (64, 64), 0.5)[0],
        mask[1],
    ]
    for other in others:
        assert 0.4 < (other == mask[0]).mean() < 0.6


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_mask_drops_at_its_rate(rate):
    kept = randomness.keep_mask(1, "site", np.arange(16, dtype=np.uint64), (128, 128), rate)
    deviation = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs((1 - kept.mean()) - randomness.drop_threshold(rate) / 65536) <= 5 * deviation


def test_order_of_an_epoch_holds_every_row_once():
    order = randomness.permutation(1, 0, 1000)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != list(range(1000))
    assert order.tolist() != randomness.permutation(1, 1, 1000).tolist()
    assert order.tolist() != randomness.permutation(2, 0, 1000).tolist()
    assert order.tolist() == randomness.permutation(1, 0, 1000).tolist()


def test_weights_are_a_normal_cut_at_two_deviations():
    values = randomness.truncated_normal(1, "w", (400, 500), 0.02)
    assert values.dtype == np.float32
    assert values.shape == (400, 500)
    assert np.abs(values).max() <= np.float32(0.04)
    assert values.mean() == pytest.approx(0, abs=2e-4)
    assert values.std() == pytest.approx(0.02 * 0.87962566, rel=5e-3)  # of the cut normal
    assert not np.array_equal(values, randomness.truncated_normal(1, "v", (400, 500), 0.02))


def test_every_purpose_keeps_its_bits_for_good():
    # A change here makes every committed reference and every resumable run worthless.
    mask = randomness.keep_mask(1, "site", np.arange(3, dtype=np.uint64), (11, 13), 0.1)
    order = randomness.permutation(1, 2, 1000).astype("<i8")
    uniform = randomness.uniform(1, "weights/w", 1000).astype("<f8")
    digests = [hashlib.sha256(part.tobytes()).hexdigest()[:16] for part in (mask, order, uniform)]
    assert digests == ["0f8ef195637e801f", "e73955660c2363bb", "62a88075d8c87b03"]
