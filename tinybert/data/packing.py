"""Packing: the rows of a batch laid end to end in blocks, so that padding is not computed.

A row lies whole in one block. Rows go into blocks by first-fit decreasing, ties by their place in
the batch. The graph is compiled for a few numbers of blocks; a batch is filled up with empty
blocks to the next of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch, FloatArray
from tinybert.data.sampler import shard
from tinybert.errors import InputError

T = TypeVar("T", bound=np.generic)
Lengths = npt.NDArray[np.int64]
COMPILATION = 20_000
"""Positions that are computed in the time of compiling once more: 160 blocks of 128 positions in
20 s, for 6 layers of 384 on two cores."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of B rows, T in all, lie in P blocks of S positions."""

    blocks: int
    """P."""
    block_length: int
    """S."""
    lengths: Lengths
    """(B,) tokens of each row; a row without tokens lies nowhere."""
    firsts: Lengths
    """(B,) position of each row's first token in the blocks end to end; 0 without tokens."""

    def pack(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return values (B, N, ...) of the rows' tokens in blocks (P, S, ...), 0 elsewhere."""
        shape = (self.blocks * self.block_length, *values.shape[2:])
        packed = np.zeros(shape, values.dtype)
        for row, (first, length) in enumerate(zip(self.firsts, self.lengths, strict=True)):
            packed[first : first + length] = values[row, :length]
        return packed.reshape(self.blocks, self.block_length, *values.shape[2:])

    def unpack(self, values: npt.NDArray[T], seq_length: int) -> npt.NDArray[T]:
        """Return values (P, S, ...) by row (B, seq_length, ...), 0 after a row's last token."""
        flat = values.reshape(-1, *values.shape[2:])
        rows = np.zeros((len(self.lengths), seq_length, *values.shape[2:]), values.dtype)
        for row, (first, length) in enumerate(zip(self.firsts, self.lengths, strict=True)):
            rows[row, :length] = flat[first : first + length]
        return rows


@dataclass(frozen=True)
class Packing:
    """The static shapes of the packed batches of a training or an evaluation."""

    block_length: int
    """Positions of a block."""
    block_counts: tuple[int, ...]
    """Numbers of blocks that the graph is compiled for, ascending."""
    fill: float
    """Share of the positions, over all batches, that hold a token."""
    processes: int
    """Processes that share a batch; all have as many blocks as the one that needs most."""

    def layout(self, lengths: Lengths, rank: int) -> Layout:
        """Return where the rows of one process lie.

        Args:
            lengths: (G,) tokens of each row of the global batch, 0 for a filler.
            rank: The process.
        """
        needed = _blocks_needed(lengths, self.block_length, self.processes)
        count = next(count for count in self.block_counts if count >= needed)
        lengths = shard(lengths, rank, self.processes)
        firsts = np.zeros(len(lengths), np.int64)
        for row, block, start in _first_fit(lengths, self.block_length):
            firsts[row] = block * self.block_length + start
        return Layout(count, self.block_length, lengths, firsts)


def choose_packing(
    batches: Iterable[Lengths],
    block_length: int,
    *,
    processes: int = 1,
    most_counts: int | None = None,
) -> Packing:
    """Choose the numbers of blocks that batches are filled up to.

    They cost the least: empty blocks that are computed, and a compilation for each number.

    Args:
        batches: (G,) tokens of each row of every global batch, 0 for a filler.
        block_length: Positions of a block.
        processes: Processes that share a batch.
        most_counts: Most numbers of blocks to choose; None: as many as are worth it.

    Raises:
        InputError: A row is longer than a block.
    """
    needed: Counter[int] = Counter()
    tokens = 0
    for lengths in batches:
        longest = int(lengths.max())
        if longest > block_length:
            raise InputError(
                f"a row of {longest} tokens is longer than `block_length` {block_length}",
                cure=f"write block_length = {longest} or more in [data]",
            )
        needed[_blocks_needed(lengths, block_length, processes)] += 1
        tokens += int(lengths.sum())
    counts = _cheapest_counts(needed, COMPILATION / block_length, most_counts)
    blocks = sum(
        times * next(count for count in counts if count >= size) for size, times in needed.items()
    )
    fill = tokens / (blocks * block_length * processes)
    return Packing(block_length, counts, fill, processes)


def pack_batch(batch: Batch, layout: Layout) -> Batch:
    """Return a process's share of a batch, without masks, in blocks.

    What there is of a row, such as the label of a classification, stays (B,); what there is of
    a token becomes (P, S). The normalizers of the differences between layers, which are the same
    for all rows with tokens, become those of blocks.
    """
    rows, width = batch.input_ids.shape
    row_ids = np.repeat(np.arange(1, rows + 1, dtype=np.int32)[:, None], width, axis=1)
    places = np.repeat(np.arange(width, dtype=np.int32)[None], rows, axis=0)

    def packed(values: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
        return values if values is None or values.ndim == 1 else layout.pack(values)

    def by_block(normalizers: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
        return None if normalizers is None else np.full(layout.blocks, normalizers.max())

    logits, states = batch.teacher_logits, batch.teacher_hidden_states
    scores = batch.teacher_attention_scores
    without = batch._replace(
        teacher_logits=None, teacher_hidden_states=None, teacher_attention_scores=None
    )
    return Batch._make(map(packed, without))._replace(
        teacher_logits=logits if logits is None or logits.ndim == 2 else layout.pack(logits),
        teacher_hidden_states=None if states is None else _pack_states(states, layout),
        teacher_attention_scores=None if scores is None else _pack_scores(scores, layout),
        row_ids=layout.pack(row_ids),
        position_ids=layout.pack(places),
        first_positions=layout.firsts.astype(np.int32),
        attention_normalizers=by_block(batch.attention_normalizers),
        hidden_normalizers=by_block(batch.hidden_normalizers),
    )


def _pack_states(states: FloatArray, layout: Layout) -> FloatArray:
    """Return hidden states (B, layers, S, H) of rows in blocks (P, layers, S, H)."""
    return np.moveaxis(layout.pack(np.moveaxis(states, 2, 1)), 1, 2)


def _pack_scores(scores: FloatArray, layout: Layout) -> FloatArray:
    """Return scores (B, layers, A, S, S) of rows in blocks; those between two rows are 0."""
    _, layers, heads, _, _ = scores.shape
    size = layout.block_length
    packed = np.zeros((layout.blocks, layers, heads, size, size), scores.dtype)
    for row, (first, length) in enumerate(zip(layout.firsts, layout.lengths, strict=True)):
        block, start = divmod(int(first), size)
        here = slice(start, start + int(length))
        packed[block, :, :, here, here] = scores[row, :, :, :length, :length]
    return packed


def _first_fit(lengths: Lengths, block_length: int) -> Iterator[tuple[int, int, int]]:
    """Yield (row, block, start) of every row with tokens, by first-fit decreasing."""
    used: list[int] = []  # positions of each block that hold a token
    plain = lengths.tolist()
    for row in sorted(range(len(plain)), key=lambda row: -plain[row]):
        length = plain[row]
        if length == 0:
            return
        fitting = (block for block, taken in enumerate(used) if taken + length <= block_length)
        block = next(fitting, len(used))
        if block == len(used):
            used.append(0)
        yield row, block, used[block]
        used[block] += length


def _blocks_needed(lengths: Lengths, block_length: int, processes: int) -> int:
    """Return the blocks of the process that needs most, at least 1, for a global batch (G,)."""
    shares = (shard(lengths, rank, processes) for rank in range(processes))
    return 1 + max(
        (block for share in shares for _, block, _ in _first_fit(share, block_length)), default=0
    )


def _cheapest_counts(
    needed: Counter[int], compilation: float, most_counts: int | None
) -> tuple[int, ...]:
    """Return the numbers of blocks, ascending, that cost the least over all batches.

    Args:
        needed: How many batches need how many blocks.
        compilation: Blocks that are computed in the time of one compilation.
        most_counts: Most numbers to choose.
    """
    sizes = sorted(needed)
    batches = list(accumulate((needed[size] for size in sizes), initial=0))
    # cheapest[i]: the least cost of the batches of the first i sizes, and the counts chosen
    cheapest: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())]]
    for end in range(1, len(sizes) + 1):
        choices: dict[int, tuple[float, tuple[int, ...]]] = {}
        for begin in range(end):
            cost = sizes[end - 1] * (batches[end] - batches[begin]) + compilation
            for before, counts in cheapest[begin]:
                total, chosen = before + cost, (*counts, sizes[end - 1])
                if len(chosen) not in choices or total < choices[len(chosen)][0]:
                    choices[len(chosen)] = (total, chosen)
        cheapest.append(list(choices.values()))
    allowed = [c for c in cheapest[-1] if most_counts is None or len(c[1]) <= most_counts]
    return min(allowed)[1]
