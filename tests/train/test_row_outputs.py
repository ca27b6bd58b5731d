"""Every row has its own output, in the rows' order, however rows are computed together."""

import numpy as np
import pytest

from tinybert.data.batch import Batch
from tinybert.errors import InputError
from tinybert.train import row_outputs

ROWS, WIDTH = 300, 24


class Store:
    """Rows in memory; a row's tokens tell which row it is, and their places in it."""

    rows, seq_length = ROWS, WIDTH
    lengths = np.random.default_rng(4).integers(1, WIDTH + 1, ROWS)

    def batch_lengths(self, rows, size):
        return np.pad(self.lengths[rows], (0, size - len(rows)))

    def batch(self, rows):
        position = np.arange(WIDTH, dtype=np.int32)
        mask = (position < self.lengths[rows, None]).astype(np.int32)
        ids = (rows[:, None] * WIDTH + position).astype(np.int32) * mask
        return Batch(ids, 0 * ids, mask, label_ids=rows.astype(np.int32))


def computed(monkeypatch, block_length, group_rows=1024, group_bytes=1 << 27):
    """Return the outputs of all rows, each row's ids and places, and the shapes of all batches."""
    monkeypatch.setattr(row_outputs, "POSITIONS", 256)
    monkeypatch.setattr(row_outputs, "GROUP_ROWS", group_rows)
    monkeypatch.setattr(row_outputs, "GROUP_BYTES", group_bytes)
    shapes = []

    def outputs_of(batch, layout):
        shapes.append([None if a is None else a.shape for a in batch])
        for block, here in layout.places():
            places = None if batch.position_ids is None else batch.position_ids[block, here]
            yield batch.input_ids[block, here].copy(), places

    store = Store()
    found = row_outputs.row_outputs(store, block_length, 100 * store.lengths, outputs_of)
    return list(found), shapes


@pytest.mark.parametrize("block_length", [None, WIDTH, 64, 512])
@pytest.mark.parametrize("bounds", [{}, {"group_rows": 64}, {"group_bytes": 20_000}])
def test_every_row_has_its_own_output(monkeypatch, block_length, bounds):
    outputs, shapes = computed(monkeypatch, block_length, **bounds)
    assert len(outputs) == ROWS
    for row, (ids, places) in enumerate(outputs):
        position = np.arange(Store.lengths[row])
        np.testing.assert_array_equal(ids, row * WIDTH + position)
        if block_length is not None:
            np.testing.assert_array_equal(places, position)
    assert all(each == shapes[0] for each in shapes), "one graph serves for all"


def test_rows_are_packed_over_many_batches(monkeypatch):
    _, shapes = computed(monkeypatch, 64)
    positions = sum(np.prod(ids) for ids, *_ in shapes)
    assert Store.lengths.sum() / positions > 0.9


def test_a_row_that_is_longer_than_a_block_is_refused(monkeypatch):
    with pytest.raises(InputError, match="a row of 24 tokens is longer than `block_length` 16"):
        computed(monkeypatch, 16)
