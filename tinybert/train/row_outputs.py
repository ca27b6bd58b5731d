"""Outputs of a network for all rows of a store, without dropout."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from tinybert.data.batch import Batch
from tinybert.data.packing import Layout, Lengths, pack_batch, pack_rows
from tinybert.data.sampler import IndexArray
from tinybert.data.store import TokenStore
from tinybert.prefetch import prefetch

Output = TypeVar("Output")

POSITIONS = 1024
"""Positions that are computed at once, of packed rows; whole blocks, and at least one."""
UNPACKED_ROWS = 32
"""Rows that are computed at once where they are not packed."""
GROUP_ROWS, GROUP_BYTES = 1024, 1 << 27
"""Most rows that are packed together, and about how many bytes their outputs have, which are kept
until the last of them is computed."""
CALLS = (POSITIONS, UNPACKED_ROWS, GROUP_ROWS, GROUP_BYTES)
"""What decides which rows are computed at once, and so how their outputs are rounded."""


def row_outputs(
    store: TokenStore,
    block_length: int | None,
    bytes_of_rows: Lengths,
    outputs_of: Callable[[Batch, Layout], Iterable[Output]],
) -> Iterator[Output]:
    """Yield the output of each row, in their order.

    Args:
        store: The rows.
        block_length: Positions of the blocks that rows are packed in; None: they are not packed.
        bytes_of_rows: (rows,) sizes of the outputs.
        outputs_of: Returns the outputs of a batch's rows, in their order, in memory of their own;
            those of rows without tokens at its end are ignored.

    Raises:
        InputError: A row is longer than a block.
    """
    for group in _groups(store, bytes_of_rows):
        outputs: dict[int, Output] = {}
        for members, layout, batch in prefetch(_calls(store, group, block_length), 0):
            outputs.update(zip(members.tolist(), outputs_of(batch, layout), strict=False))
        yield from (outputs[place] for place in range(len(group)))


def _groups(store: TokenStore, bytes_of_rows: Lengths) -> Iterator[IndexArray]:
    """Yield some rows at a time, so many that a call is full, or their outputs are large."""
    sizes, tokens = (np.cumsum([0, *each]) for each in (bytes_of_rows, store.lengths))
    first = 0
    while first < store.rows:
        large = int(np.searchsorted(sizes, sizes[first] + GROUP_BYTES, "right")) - 1
        full = int(np.searchsorted(tokens, tokens[first] + POSITIONS, "right")) - 1
        end = min(max(large, full, first + 1), first + GROUP_ROWS, store.rows)
        yield np.arange(first, end)
        first = end


def _calls(
    store: TokenStore, group: IndexArray, block_length: int | None
) -> Iterator[tuple[IndexArray, Layout, Batch]]:
    """Yield places of rows in a group, where their tokens lie, and the batch without labels."""
    if block_length is None:
        size, width = UNPACKED_ROWS, store.seq_length
        for start in range(0, len(group), size):
            rows = group[start : start + size]
            lengths = store.batch_lengths(rows, size)
            layout = Layout(size, width, lengths, np.arange(size) * width)
            yield np.arange(start, start + len(rows)), layout, _batch(store, rows, size)
        return
    blocks = max(1, POSITIONS // block_length)
    for members, layout in pack_rows(store.lengths[group], block_length).cut(blocks, GROUP_ROWS):
        yield members, layout, pack_batch(_batch(store, group[members], GROUP_ROWS), layout)


def _batch(store: TokenStore, rows: IndexArray, size: int) -> Batch:
    """Return rows without labels, filled up with copies of the first."""
    filled = np.pad(rows, (0, size - len(rows)), constant_values=rows[0])
    return store.batch(filled)._replace(label_ids=None)
