"""Packing: the rows of a batch laid end to end in blocks, so that padding is not computed.

A row lies whole in one block. Rows go into blocks by first-fit decreasing, ties by their place in
the batch. The graph is compiled for a few numbers of blocks; a batch is filled up with empty
blocks to the next of them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
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
TOKEN_DIMENSIONS = {
    **dict.fromkeys(("input_ids", "segment_ids", "input_mask"), 2),
    **dict.fromkeys(("label_ids", "label_normalizers", "logit_normalizers"), 2),
    "teacher_logits": 3,
}
"""Dimensions that a field of a batch has where it is about tokens, (B, S, ...), not about rows."""


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
    parts: int
    """Equal parts of a batch; all have as many blocks as the one that needs most."""

    def layouts(self, lengths: Lengths) -> list[Layout]:
        """Return where the rows of each part of a batch lie.

        Args:
            lengths: (G,) tokens of each row of the global batch, 0 for a filler.
        """
        parts, firsts, needed = _fit(lengths, self.block_length, self.parts)
        count = _filled_up(needed, self.block_counts)
        return [
            Layout(count, self.block_length, part, first)
            for part, first in zip(parts, firsts, strict=True)
        ]


def choose_packing(
    batches: Iterable[Lengths],
    block_length: int,
    *,
    parts: int = 1,
    most_counts: int | None = None,
) -> Packing:
    """Choose the numbers of blocks that batches are filled up to.

    They cost the least: empty blocks that are computed, and a compilation for each number.

    Args:
        batches: (G,) tokens of each row of every global batch, 0 for a filler.
        block_length: Positions of a block.
        parts: Equal parts of a batch, each of which is packed on its own.
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
        needed[_fit(lengths, block_length, parts)[2]] += 1
        tokens += int(lengths.sum())
    counts = _cheapest_counts(needed, COMPILATION / block_length, most_counts)
    blocks = sum(times * _filled_up(size, counts) for size, times in needed.items())
    fill = tokens / (blocks * block_length * parts)
    return Packing(block_length, counts, fill, parts)


def pack_batch(batch: Batch, layout: Layout) -> Batch:
    """Return a part of a batch, without masks, in blocks.

    What there is of a row, such as the label of a classification, stays (B,); what there is of
    a token becomes (P, S). The normalizers of the differences between layers, which are the same
    for all rows with tokens, become those of blocks.
    """
    rows, width = batch.input_ids.shape
    row_ids = np.repeat(np.arange(1, rows + 1, dtype=np.int32)[:, None], width, axis=1)
    places = np.repeat(np.arange(width, dtype=np.int32)[None], rows, axis=0)
    labels_of_rows = batch.label_normalizers is not None and batch.label_normalizers.ndim == 1
    by_token = {
        name: layout.pack(values)
        for name, dimensions in TOKEN_DIMENSIONS.items()
        if (values := getattr(batch, name)) is not None
        and values.ndim == dimensions
        and not (name == "label_ids" and labels_of_rows)
    }

    def by_block(normalizers: FloatArray | None) -> FloatArray | None:
        return None if normalizers is None else np.full(layout.blocks, normalizers.max())

    states, scores = batch.teacher_hidden_states, batch.teacher_attention_scores
    return batch._replace(
        **by_token,
        row_ids=layout.pack(row_ids),
        position_ids=layout.pack(places),
        first_positions=layout.firsts.astype(np.int32),
        attention_normalizers=by_block(batch.attention_normalizers),
        hidden_normalizers=by_block(batch.hidden_normalizers),
        teacher_hidden_states=None if states is None else _pack_states(states, layout),
        teacher_attention_scores=None if scores is None else _pack_scores(scores, layout),
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


def _fit(
    lengths: Lengths, block_length: int, parts: int
) -> tuple[list[Lengths], list[Lengths], int]:
    """Return each part of a global batch (G,), in tokens and in first positions.

    Last comes the number of blocks of the part that needs most, at least 1.
    """
    some = [shard(lengths, part, parts) for part in range(parts)]
    fits = [_first_fit(part, block_length) for part in some]
    return some, [firsts for firsts, _ in fits], max(1, *(blocks for _, blocks in fits))


def _first_fit(lengths: Lengths, block_length: int) -> tuple[Lengths, int]:
    """Return the first position of every row, and the number of blocks: first-fit decreasing."""
    firsts = np.zeros(len(lengths), np.int64)
    used: list[int] = []  # positions of each block that hold a token
    plain = lengths.tolist()
    for row in sorted(range(len(plain)), key=lambda row: -plain[row]):
        length = plain[row]
        if length == 0:
            break
        fitting = (block for block, taken in enumerate(used) if taken + length <= block_length)
        block = next(fitting, len(used))
        if block == len(used):
            used.append(0)
        firsts[row] = block * block_length + used[block]
        used[block] += length
    return firsts, len(used)


def _filled_up(blocks: int, counts: tuple[int, ...]) -> int:
    """Return the least of ascending numbers of blocks that is enough."""
    return counts[bisect_left(counts, blocks)]


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
