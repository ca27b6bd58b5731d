import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.data.sampler import Sampler, shard
from tinybert.errors import InputError


@given(
    rows=st.integers(1, 60),
    batch=st.integers(1, 20),
    seed=st.integers(0, 2**53 - 1),
    shuffle=st.booleans(),
)
def test_an_epoch_without_drop_remainder_has_every_row_once(rows, batch, seed, shuffle):
    sampler = Sampler(rows, batch, seed, shuffle, drop_remainder=False)
    for epoch in range(2):
        first = epoch * sampler.batches_per_epoch
        steps = [sampler.indices(first + step) for step in range(sampler.batches_per_epoch)]
        assert sorted(np.concatenate(steps)) == list(range(rows))
        assert all(len(step) == batch for step in steps[:-1])


@given(rows=st.integers(1, 60), batch=st.integers(1, 20))
def test_drop_remainder_leaves_out_the_rest_and_nothing_else(rows, batch):
    if rows < batch:
        return
    sampler = Sampler(rows, batch, 1, True, drop_remainder=True)
    whole = Sampler(rows, batch, 1, True, drop_remainder=False)
    assert sampler.batches_per_epoch == rows // batch
    for step in range(sampler.batches_per_epoch):
        assert len(sampler.indices(step)) == batch
        assert np.array_equal(sampler.indices(step), whole.indices(step))


def test_a_step_has_the_same_rows_whatever_was_asked_before():
    straight = Sampler(1000, 7, 3, True, drop_remainder=True)
    steps = [straight.indices(step).copy() for step in range(600)]
    resumed = Sampler(1000, 7, 3, True, drop_remainder=True)
    for step in (599, 0, 300, 142, 141, 599):
        assert np.array_equal(resumed.indices(step), steps[step])


def test_shuffling_changes_the_order_every_epoch_and_with_the_seed():
    sampler = Sampler(100, 100, 1, True, drop_remainder=True)
    other = Sampler(100, 100, 2, True, drop_remainder=True)
    assert not np.array_equal(sampler.indices(0), sampler.indices(1))
    assert not np.array_equal(sampler.indices(0), other.indices(0))


def test_without_shuffling_the_order_is_that_of_the_store():
    sampler = Sampler(5, 2, 1, False, drop_remainder=False)
    assert [list(sampler.indices(step)) for step in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


@given(size=st.integers(0, 64), world=st.integers(1, 16))
def test_shards_are_the_batch_in_its_order(size, world):
    batch = np.arange(size, dtype=np.int64)
    shards = [shard(batch, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate(shards), batch)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_an_epoch_without_a_batch_is_an_error():
    with pytest.raises(InputError) as error:
        Sampler(7, 8, 1, True, drop_remainder=True)
    assert str(error.value) == (
        "an epoch has no batch: 7 rows, global batch size 8, drop_remainder true\n"
        "help: lower the batch size, or give more rows"
    )
