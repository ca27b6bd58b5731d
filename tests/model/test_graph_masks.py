"""The masks that the graph makes have the bits of those that the host makes."""

import mindspore as ms
import numpy as np
import pytest

from tests.test_randomness import KNOWN_ANSWERS, words
from tinybert.model.dropout import KINDS, DropoutSite
from tinybert.model.graph_masks import GraphMasks, MaskedNetwork, cipher, ordinal_words
from tinybert.model.layers import Cell
from tinybert.randomness import keep_mask, subkeys, threefry

ORDINALS = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40 + 7, 2**64 - 1], np.uint64)


@ms.jit
def encipher(counters, schedule):
    return cipher(counters, schedule)


@ms.jit
def arithmetic(x, y):
    return x + y, x * 65536, ms.ops.bitwise_xor(x, y)


def enciphered(key, counters):
    tensors = ms.mutable(tuple(ms.Tensor(word.view(np.int32)) for word in counters))
    schedule = subkeys(key).view(np.int32)[..., None]
    found = encipher(tensors, ms.Tensor(schedule))
    return np.stack([word.asnumpy() for word in found]).view(np.uint32)


class Compiled(Cell):
    """The masks as a compiled graph makes them."""

    def __init__(self, masks):
        super().__init__()
        self.masks = masks

    @ms.jit
    def construct(self, low, high):
        return self.masks(low, high)


def from_graph(seed, sites, samples):
    low, high = map(ms.Tensor, ordinal_words(samples))
    return Compiled(GraphMasks(seed, sites))(low, high)


def test_integers_wrap_as_those_of_the_host():
    random = np.random.default_rng(1)
    x, y = random.integers(-(2**31), 2**31, (2, 100_000)).astype(np.int32)
    total, product, exclusive = (t.asnumpy() for t in arithmetic(ms.Tensor(x), ms.Tensor(y)))
    assert np.array_equal(total.view(np.uint32), x.view(np.uint32) + y.view(np.uint32))
    assert np.array_equal(product.view(np.uint32), x.view(np.uint32) << np.uint32(16))
    assert np.array_equal(exclusive, x ^ y)


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_cipher_in_the_graph_gives_the_published_answers(counter, key, output):
    found = enciphered(words(key), words(counter).reshape(4, 1))
    assert found[:, 0].tolist() == words(output).tolist()


def test_cipher_in_the_graph_is_that_of_the_host():
    random = np.random.default_rng(2)
    key = random.integers(0, 2**32, 4, dtype=np.uint32)
    counters = random.integers(0, 2**32, (4, 50_000), dtype=np.uint32)
    assert np.array_equal(enciphered(key, counters), threefry(key, tuple(counters)))


def test_masks_have_the_bits_of_the_host_for_every_site_shape_rate_and_ordinal():
    sites = (
        DropoutSite("embeddings", "hidden", (5, 7), 0.1),  # 35 is no multiple of 8
        DropoutSite("encoder.layer.0.output", "hidden", (5, 7), 0.5),
        DropoutSite("encoder.layer.0.attention.self", "attention", (2, 8, 8), 1 / 65536),
        DropoutSite("classifier", "classifier", (3,), 65535 / 65536),
    )
    for seed in (0, 2**31 + 5):
        found = from_graph(seed, sites, ORDINALS)
        for kind, masks in zip(KINDS, found, strict=True):
            wanted = [
                keep_mask(seed, site.name, ORDINALS, site.shape, site.rate)
                for site in sites
                if site.kind == kind
            ]
            assert masks.dtype == ms.bool_
            assert np.array_equal(masks.asnumpy(), np.stack(wanted))


def test_a_kind_without_sites_has_no_masks():
    site = DropoutSite("a", "attention", (1, 4, 4), 0.1)
    hidden, attention = from_graph(1, (site,), ORDINALS)
    assert hidden is None
    assert attention.shape == (1, 8, 1, 4, 4)
    assert from_graph(1, (), ORDINALS) == ()


class Counting(Cell):
    """Takes a batch's rows and two masks; returns how many elements are kept, by input."""

    @ms.jit
    def construct(self, x, y, mask, row_ids, position_ids, hidden=None, attention=None):
        kept = ms.ops.cast(hidden, ms.float32).sum() * x.sum()
        return kept, y.sum() if attention is None else x.sum()


def test_a_network_is_given_masks_in_the_place_of_ordinals():
    sites = (DropoutSite("embeddings", "hidden", (4, 4), 0.25),)
    network = MaskedNetwork(Counting(), GraphMasks(3, sites))
    low, high = map(ms.Tensor, ordinal_words(ORDINALS))
    inputs = (ms.Tensor([2.0]), ms.Tensor([3.0]), None, None, None)
    kept, rest = network(*inputs, low, high)
    assert kept.asnumpy() == 2 * keep_mask(3, "embeddings", ORDINALS, (4, 4), 0.25).sum()
    assert rest.asnumpy() == 3
