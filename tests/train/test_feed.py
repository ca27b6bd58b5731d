"""What a step is given: rows of the global batch, weights, labels and masks, by process."""

import re

import mindspore as ms
import numpy as np
import pytest

from tests.conftest import ROOT, SHIPPED
from tests.model.networks import tiny
from tinybert.data.importing import import_records
from tinybert.data.sampler import Sampler
from tinybert.distill.prediction import label_inputs, logit_normalizers
from tinybert.errors import TrainingError
from tinybert.model.heads import task_sites
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load
from tinybert.recipe.network import HeadConfig
from tinybert.train.feed import Feed
from tinybert.train.world import World

HEAD = HeadConfig("classification", 2, "linear", 0.2)
KINDS = ("hidden", "attention", "classifier")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    plan, problems = make_plan(load(SHIPPED["tiny_finetune"]), ROOT)
    assert problems == []
    return import_records(plan.records["eval_data"].source, tmp_path_factory.mktemp("store"))


def build(store, rank=0, world=1, *, graph_masks=False, weigh=label_inputs, **dropout):
    config = tiny(max_position_embeddings=32, **dropout)
    return Feed(
        store,
        Sampler(store.rows, 16, seed=3, shuffle=True, drop_remainder=False),
        global_batch_size=16,
        sites=task_sites(config, HEAD, store.seq_length),
        kinds=KINDS,
        seed=3,
        weigh=weigh,
        world=World(rank, world),
        graph_masks=graph_masks,
    )


def test_a_short_last_batch_is_filled_with_rows_that_do_not_count(store):
    inputs = build(store)(3)  # of 59 rows
    ids, _, mask, labels, weights, *_ = inputs.arrays
    assert inputs.rows == 11
    assert ids.shape == (16, 32)
    assert np.array_equal(ids[11:], np.repeat(ids[:1], 5, axis=0))
    assert mask[11:].any()
    assert np.array_equal(weights, np.where(np.arange(16) < 11, np.float32(1 / 11), 0))
    assert labels[11:].tolist() == [0] * 5
    rows = Sampler(store.rows, 16, 3, True, False).indices(3)
    assert inputs.batch_digest == store.batch(rows).digest()


def test_a_full_batch_has_equal_weights(store):
    *_, weights, _, _, _ = build(store)(0).arrays
    assert weights.tolist() == [1 / 16] * 16


def test_the_shares_of_processes_are_the_global_batch(store):
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    whole = build(store, **dropout)(3)
    shares = [build(store, rank, 2, **dropout)(3) for rank in range(2)]
    assert {share.batch_digest for share in shares} == {whole.batch_digest}
    for index, array in enumerate(whole.arrays):
        axis = 0 if index < 5 else 1  # masks are stacked by site
        joined = np.concatenate([share.arrays[index] for share in shares], axis)
        assert np.array_equal(joined, array)


def test_each_kind_of_site_has_its_masks_or_none(store):
    *_, hidden, attention, classifier = build(store, hidden_dropout_prob=0.1)(0).arrays
    assert hidden.shape == (5, 16, 32, 16)
    assert attention is None
    assert classifier.shape == (1, 16, 16)
    assert classifier.mean() == pytest.approx(0.8, abs=0.1)


def test_ordinals_in_the_place_of_masks_are_those_of_the_processs_rows(store):
    whole = build(store, graph_masks=True)(3)
    *_, low, high = whole.arrays
    assert len(whole.arrays) == 7
    assert low.tolist() == list(range(48, 64))
    assert high.tolist() == [0] * 16
    shares = [build(store, rank, 2, graph_masks=True)(3).arrays[-2] for rank in range(2)]
    assert np.array_equal(np.concatenate(shares), low)


def test_the_graph_makes_the_masks_of_the_host_from_the_ordinals(store):
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    host, graph = build(store, **dropout), build(store, graph_masks=True, **dropout)
    assert host.masks_in_graph() is None
    found = graph.masks_in_graph()(*map(ms.Tensor, graph(2).arrays[-2:]))
    for made, wanted in zip(found, host(2).arrays[-3:], strict=True):
        assert np.array_equal(made.asnumpy(), wanted)
    assert graph.mask_digest(0) == host.mask_digest(0)


def test_a_device_that_makes_other_masks_is_refused(store, monkeypatch):
    monkeypatch.setattr("tinybert.model.graph_masks.ROUNDS", 19)
    with pytest.raises(TrainingError, match=re.escape('write `dropout_masks = "host"`')):
        build(store, graph_masks=True).masks_in_graph()


def test_masks_are_a_function_of_the_step(store):
    feed = build(store)
    assert feed.mask_digest(0) == build(store).mask_digest(0) != feed.mask_digest(1)


def test_weights_of_logits_may_be_by_token(store):
    feed = build(
        store, weigh=lambda batch, filled: (logit_normalizers(batch, filled, by_token=True),)
    )
    ids, _, mask, weights, *_ = feed(3).arrays
    assert weights.shape == ids.shape
    assert weights.sum() == pytest.approx(1.0, rel=1e-6)
    assert ((weights > 0) == ((mask == 1) & (np.arange(16) < 11)[:, None])).all()
