"""What a step is given: rows of the global batch, weights, labels and masks, by process."""

import re
from functools import partial

import mindspore as ms
import numpy as np
import pytest

from tests.conftest import ROOT, SHIPPED
from tests.model.networks import tiny
from tinybert.data.importing import import_records
from tinybert.data.packing import choose_packing
from tinybert.data.sampler import Sampler
from tinybert.distill.normalizers import label_inputs, logit_inputs
from tinybert.errors import TrainingError
from tinybert.model.heads import task_sites
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load
from tinybert.recipe.network import HeadConfig
from tinybert.train.feed import Feed
from tinybert.train.masks import DropoutMasks
from tinybert.train.world import World

HEAD = HeadConfig("classification", 2, "linear", 0.2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    plan, problems = make_plan(load(SHIPPED["tiny_finetune"]), ROOT)
    assert problems == []
    return import_records(plan.records["eval_data"].source, tmp_path_factory.mktemp("store"))


def build(
    store,
    rank=0,
    world=1,
    *,
    masks_in_graph=False,
    packing=None,
    loss_inputs=label_inputs,
    teacher_outputs=None,
    micro_batches=None,
    **dropout,
):
    config = tiny(max_position_embeddings=32, **dropout)
    return Feed(
        store,
        Sampler(store.rows, 16, seed=3, shuffle=True, drop_remainder=False),
        DropoutMasks(3, task_sites(config, HEAD, store.seq_length), in_graph=masks_in_graph),
        loss_inputs=loss_inputs,
        world=World(rank, world),
        micro_batches=micro_batches,
        packing=packing,
        teacher_outputs=teacher_outputs,
    )


def test_a_short_last_batch_is_filled_with_rows_that_do_not_count(store):
    inputs = build(store)(3)  # of 59 rows
    batch = inputs.parts[0]
    assert inputs.rows == 11
    assert batch.input_ids.shape == (16, 32)
    assert np.array_equal(batch.input_ids[11:], np.repeat(batch.input_ids[:1], 5, axis=0))
    assert batch.input_mask[11:].any()
    shares = np.where(np.arange(16) < 11, np.float32(1 / 11), 0)
    assert np.array_equal(batch.label_normalizers, shares)
    assert batch.label_ids[11:].tolist() == [0] * 5
    rows = Sampler(store.rows, 16, 3, True, False).indices(3)
    assert inputs.batch_digest == store.batch(rows).digest()


def test_a_full_batch_has_equal_normalizers(store):
    assert build(store)(0).parts[0].label_normalizers.tolist() == [1 / 16] * 16


def test_the_shares_of_processes_are_the_global_batch(store):
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    whole = build(store, **dropout)(3)
    shares = [build(store, rank, 2, **dropout)(3) for rank in range(2)]
    assert {share.batch_digest for share in shares} == {whole.batch_digest}
    for name, array in whole.parts[0]._asdict().items():
        parts = [getattr(share.parts[0], name) for share in shares]
        if array is None:
            assert parts == [None, None]
        else:
            axis = 1 if name.endswith("_keep") else 0  # masks are stacked by site
            assert np.array_equal(np.concatenate(parts, axis), array)


def test_packed_shares_of_processes_have_one_shape_and_every_row(store):
    padded = build(store)(3)
    indices = Sampler(store.rows, 16, seed=3, shuffle=True, drop_remainder=False).indices(3)
    lengths = [store.batch_lengths(indices, 16)]
    packing = choose_packing(lengths, 40, parts=2)
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    shares = [build(store, rank, 2, packing=packing, **dropout)(3) for rank in range(2)]
    assert {share.batch_digest for share in shares} == {padded.batch_digest}
    (blocks,) = packing.block_counts
    for rank, share in enumerate(shares):
        batch = share.parts[0]
        assert batch.input_ids.shape == (blocks, 40)
        assert batch.hidden_keep.shape == (5, blocks, 40, 16)
        assert batch.attention_keep.shape == (2, blocks, 4, 40, 40)
        for row in range(8):
            first, length = batch.first_positions[row], lengths[0][8 * rank + row]
            tokens = batch.input_ids.reshape(-1)[first : first + length]
            assert np.array_equal(tokens, padded.parts[0].input_ids[8 * rank + row, :length])
        own = padded.parts[0].label_normalizers[8 * rank : 8 * rank + 8]
        assert np.array_equal(batch.label_normalizers, own)


def test_each_kind_of_site_has_its_masks_or_none(store):
    batch = build(store, hidden_dropout_prob=0.1)(0).parts[0]
    assert batch.hidden_keep.shape == (5, 16, 32, 16)
    assert batch.attention_keep is None
    assert batch.classifier_keep.shape == (1, 16, 16)
    assert batch.classifier_keep.mean() == pytest.approx(0.8, abs=0.1)


def test_ordinals_in_the_place_of_masks_are_those_of_the_processs_rows(store):
    whole = build(store, masks_in_graph=True)(3).parts[0]
    assert whole.hidden_keep is whole.attention_keep is whole.classifier_keep is None
    assert whole.low_ordinals.tolist() == list(range(48, 64))
    assert whole.high_ordinals.tolist() == [0] * 16
    shares = [build(store, rank, 2, masks_in_graph=True)(3).parts[0] for rank in range(2)]
    joined = np.concatenate([share.low_ordinals for share in shares])
    assert np.array_equal(joined, whole.low_ordinals)


def test_the_graph_makes_the_masks_of_the_host_from_the_ordinals(store):
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    host, graph = build(store, **dropout), build(store, masks_in_graph=True, **dropout)
    assert host.masks.graph_masks() is None
    ordinals, masks = graph(2).parts[0], host(2).parts[0]
    made = graph.masks.graph_masks()(
        ms.Tensor(ordinals.low_ordinals), ms.Tensor(ordinals.high_ordinals)
    )
    wanted = masks.hidden_keep, masks.attention_keep, masks.classifier_keep
    for mask, expected in zip(made, wanted, strict=True):
        assert np.array_equal(mask.asnumpy(), expected)
    assert graph.mask_digest(0) == host.mask_digest(0)


def test_a_device_that_makes_other_masks_is_refused(store, monkeypatch):
    monkeypatch.setattr("tinybert.model.graph_masks.ROUNDS", 19)
    with pytest.raises(TrainingError, match=re.escape('write `dropout_masks = "host"`')):
        build(store, masks_in_graph=True).masks.graph_masks()


def test_masks_are_a_function_of_the_step(store):
    feed = build(store)
    assert feed.mask_digest(0) == build(store).mask_digest(0) != feed.mask_digest(1)


def test_normalizers_of_logits_may_be_by_token(store):
    batch = build(store, loss_inputs=partial(logit_inputs, by_token=True))(3).parts[0]
    normalizers = batch.logit_normalizers
    assert normalizers.shape == batch.input_ids.shape
    assert normalizers.sum() == pytest.approx(1.0, rel=1e-6)
    counted = (batch.input_mask == 1) & (np.arange(16) < 11)[:, None]
    assert ((normalizers > 0) == counted).all()


class Logits:
    """A teacher's logits that say which row, and which token, they are of."""

    def __init__(self, store, by_token):
        self.lengths = store.lengths
        self.by_token = by_token

    def add_to(self, batch, indices):
        logits = self.batch(indices, batch.input_ids.shape[1])
        return batch._replace(teacher_logits=logits)

    def batch(self, indices, seq_length):
        rows = np.stack([indices, -indices], -1).astype(np.float32)
        if not self.by_token:
            return rows
        kept = np.arange(seq_length) < self.lengths[indices, None]
        tokens = rows[:, None] + np.arange(seq_length)[:, None] / 64
        return np.where(kept[..., None], tokens, 0).astype(np.float32)


@pytest.mark.parametrize("by_token", [False, True])
def test_logits_of_the_teacher_are_those_of_the_processs_rows_packed_or_not(store, by_token):
    options = {
        "loss_inputs": partial(logit_inputs, by_token=by_token),
        "teacher_outputs": Logits(store, by_token),
    }
    indices = Sampler(store.rows, 16, seed=3, shuffle=True, drop_remainder=False).indices(3)
    filled = np.pad(indices, (0, 5), constant_values=indices[0])
    expected = options["teacher_outputs"].batch(filled, 32)
    packing = choose_packing([store.batch_lengths(indices, 16)], 40, parts=2)
    plain = build(store, **options)(3)
    assert plain.batch_digest == build(store)(3).batch_digest
    assert np.array_equal(plain.parts[0].teacher_logits, expected)
    for rank in range(2):
        own = slice(8 * rank, 8 * rank + 8)
        share = build(store, rank, 2, **options)(3).parts[0]
        assert np.array_equal(share.teacher_logits, expected[own])
        packed = build(store, rank, 2, packing=packing, **options)(3).parts[0]
        if not by_token:
            assert np.array_equal(packed.teacher_logits, expected[own])
            continue
        assert packed.teacher_logits.shape == (*packed.input_ids.shape, 2)
        flat = packed.teacher_logits.reshape(-1, 2)
        for row, (first, length) in enumerate(
            zip(packed.first_positions, store.batch_lengths(indices, 16)[own], strict=True)
        ):
            assert np.array_equal(flat[first : first + length], expected[own][row, :length])


@pytest.mark.parametrize("packed", [False, True])
def test_micro_batches_do_not_depend_on_the_number_of_processes(store, packed):
    indices = Sampler(store.rows, 16, seed=3, shuffle=True, drop_remainder=False).indices(3)
    packing = None
    if packed:
        packing = choose_packing([store.batch_lengths(indices, 16)], 40, parts=8)
    options = {
        "packing": packing,
        "micro_batches": 8,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    }
    alone = build(store, **options)(3).parts
    assert len(alone) == 8
    assert len({part.input_ids.shape for part in alone}) == 1
    for processes in (2, 4, 8):
        shares = [build(store, rank, processes, **options)(3).parts for rank in range(processes)]
        assert {len(share) for share in shares} == {8 // processes}
        parts = [part for share in shares for part in share]
        for part, same in zip(parts, alone, strict=True):
            for field, expected in zip(part, same, strict=True):
                assert np.array_equal(field, expected)
    if not packed:
        whole = build(store, **{**options, "micro_batches": None})(3).parts[0]
        ids = np.concatenate([part.input_ids for part in alone])
        assert np.array_equal(ids, whole.input_ids)
        masks = np.concatenate([part.hidden_keep for part in alone], 1)
        assert np.array_equal(masks, whole.hidden_keep)
