"""Rows lie whole and apart in blocks, and come back as they were."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.data import packing
from tinybert.data.batch import Batch
from tinybert.data.packing import Packing, choose_packing, pack_batch
from tinybert.errors import InputError

rows = st.lists(st.integers(0, 12), min_size=1, max_size=20).map(np.array)


def blocks_of(layout):
    """Return the rows, from 0, of each block, and where in it they begin."""
    found = [[] for _ in range(layout.blocks)]
    for row, (first, length) in enumerate(zip(layout.firsts, layout.lengths, strict=True)):
        if length:
            block, start = divmod(first, layout.block_length)
            found[block].append((row, start))
    return found


def test_rows_go_into_the_first_block_that_holds_them_the_longest_first():
    layout = Packing(10, (4,), 1.0, 1).layouts(np.array([3, 7, 0, 3, 6, 4]))[0]
    # 7 | 6 | 4 beside 6 | 3 (row 0) beside 7 | 3 (row 3) in a block of its own
    assert blocks_of(layout) == [[(0, 7), (1, 0)], [(4, 0), (5, 6)], [(3, 0)], []]


@given(lengths=rows, parts=st.integers(1, 4), extra=st.integers(0, 5))
def test_every_row_lies_whole_in_one_block_and_no_two_overlap(lengths, parts, extra):
    chosen = choose_packing([lengths], 12 + extra, parts=parts)
    layouts = chosen.layouts(lengths)
    assert len(layouts) == parts
    for layout in layouts:
        assert layout.blocks == chosen.block_counts[0]
        taken = np.zeros(layout.blocks * layout.block_length, int)
        for first, length in zip(layout.firsts, layout.lengths, strict=True):
            assert length == 0 or first % layout.block_length + length <= layout.block_length
            taken[first : first + length] += 1
        assert taken.max() <= 1


@given(lengths=rows)
def test_what_is_packed_comes_back(lengths):
    layout = choose_packing([lengths], 12).layouts(lengths)[0]
    values = np.random.default_rng(0).integers(1, 99, (len(lengths), 12, 2))
    kept = values * (np.arange(12) < lengths[:, None])[..., None]
    packed = layout.pack(values)
    assert packed.shape == (layout.blocks, 12, 2)
    assert packed.sum() == kept.sum()
    assert np.array_equal(layout.unpack(packed, 12), kept)


def test_a_packed_batch_says_which_row_and_place_lies_where():
    batch = Batch(
        np.array([[5, 6, 7, 0], [8, 9, 0, 0], [5, 6, 7, 0]], np.int32),
        np.array([[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.int32),
        np.array([[1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0]], np.int32),
        label_ids=np.array([2, 3, 0], np.int32),
        hidden_normalizers=np.array([0.25, 0.25, 0], np.float32),
    )
    layout = Packing(6, (2,), 1.0, 1).layouts(np.array([3, 2, 0]))[0]
    packed = pack_batch(batch, layout)
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 9, 0], [0] * 6]
    assert packed.segment_ids.tolist() == [[0, 0, 1, 0, 1, 0], [0] * 6]
    assert packed.input_mask.tolist() == [[1, 0, 1, 1, 1, 0], [0] * 6]
    assert packed.row_ids.tolist() == [[1, 1, 1, 2, 2, 0], [0] * 6]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 1, 0], [0] * 6]
    assert packed.first_positions.tolist() == [0, 3, 0]
    assert packed.label_ids.tolist() == [2, 3, 0]
    assert packed.hidden_normalizers.tolist() == [0.25, 0.25]
    assert {field.dtype for field in packed[:6]} == {np.dtype(np.int32)}


@given(needed=st.lists(st.integers(1, 9), min_size=1, max_size=30), most=st.integers(1, 4))
def test_no_other_numbers_of_blocks_cost_less(needed, most):
    batches = [np.full(count, 7) for count in needed]  # a row of 7 tokens fills a block of 8
    length, sizes = 8, sorted(set(needed))

    def cost(counts):
        computed = sum(min(c for c in counts if c >= size) for size in needed)
        return computed * length + packing.COMPILATION * len(counts)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packing, "COMPILATION", 40)
        chosen = choose_packing(batches, length, most_counts=most)
        others = [
            (*few, sizes[-1]) for count in range(most) for few in combinations(sizes[:-1], count)
        ]
        assert cost(chosen.block_counts) == min(map(cost, others))
    computed = sum(min(c for c in chosen.block_counts if c >= size) for size in needed)
    assert chosen.fill == pytest.approx(7 * sum(needed) / (length * computed))


def test_a_compilation_is_not_worth_a_few_empty_blocks():
    batches = [np.full(size, 128) for size in [3] * 50 + [4]]
    assert choose_packing(batches, 128).block_counts == (4,)
    assert choose_packing(batches * 4, 128).block_counts == (3, 4)
    assert choose_packing(batches * 4, 128, most_counts=1).block_counts == (4,)


def test_a_row_longer_than_a_block_is_refused():
    with pytest.raises(InputError) as error:
        choose_packing([np.array([5, 9])], 8)
    assert str(error.value) == (
        "a row of 9 tokens is longer than `block_length` 8\n"
        "help: write block_length = 9 or more in [data]"
    )
