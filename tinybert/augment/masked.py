"""What a network with the head of masked language modelling predicts for masked words.

A matrix product adds in an order that depends on the shape of the matrices, also in portable
arithmetic, and in some shapes on the place of a row: with a head over 8 or 32 rows the logits of
some places differed by rounding. So a batch has about as many positions whatever the length of its
rows, and the head is computed at 96 of them, of which some only fill up: there a row had the same
bits in any place and company.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

import mindspore as ms
import numpy as np

from tinybert.augment.largest import NONE, largest
from tinybert.augment.masked_rows import MaskedRow
from tinybert.data.batch import FloatArray
from tinybert.data.rows import Int32Array
from tinybert.errors import InputError
from tinybert.export.source import Source
from tinybert.model.awaited import AwaitedGraph
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import MaskedTokenNetwork
from tinybert.model.layers import load_into
from tinybert.model.names import MASKED_LM, WORD_EMBEDDINGS
from tinybert.model.parameters import encoder_shapes
from tinybert.model.tensors import Tensors

CALL_POSITIONS = 1536
"""Positions of a batch, if a row is not longer: a multiple of all lengths up to 512."""
HEAD_ROWS = 96
"""Positions that the head is computed at, whatever the number of rows."""


class _Compiled(AwaitedGraph):
    """A network that predicts masked tokens, compiled."""

    def __init__(self, network: MaskedTokenNetwork) -> None:
        super().__init__()
        self.network = network

    def compute(self, *inputs: ms.Tensor | None) -> Tensors:
        """Return the logits (B, T) float32 of the network's inputs."""
        return (self.network(*inputs),)


def masked_token_network(source: Source, token_ids: Sequence[int]) -> MaskedTokenNetwork:
    """Return the network of a checkpoint, loaded, that predicts these tokens at a masked one."""
    arrays, config = source.network.arrays, source.network.config
    shapes = encoder_shapes(config)  # the head does not read the pooler, which a file may lack
    used = {name: arrays.get(name, np.zeros(shape)) for name, shape in shapes.items()}
    used |= {n: a for n, a in arrays.items() if n.startswith(f"{MASKED_LM}.transform.")}
    used[f"{MASKED_LM}.decoder.weight"] = arrays[WORD_EMBEDDINGS][list(token_ids)]
    used[f"{MASKED_LM}.decoder.bias"] = arrays[f"{MASKED_LM}.bias"][list(token_ids)]
    config = replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    network = MaskedTokenNetwork(BertEncoder(config, ""), len(token_ids))
    load_into(network, used)
    network.set_train(False)
    return network


def batch_shape(tokens: int, most_tokens: int) -> tuple[int, int]:
    """Return the rows and the length of the batch that a row of so many tokens is computed in.

    A network that reads `most_tokens` has no longer ones.
    """
    length = min(most_tokens, next(length for length in _lengths() if length >= tokens))
    return max(1, min(HEAD_ROWS, CALL_POSITIONS // length)), length


def _lengths() -> Iterator[int]:
    """Yield 16, 24, 32, 48, 64 and so on, the lengths of batches."""
    for doublings in count():
        yield 16 << doublings
        yield 24 << doublings


class MaskedWords:
    """Predicts masked tokens.

    Args:
        source: A network with the head of masked language modelling.
        token_ids: The tokens that may be predicted (T), ascending.
    """

    def __init__(self, source: Source, token_ids: Sequence[int]) -> None:
        self._network = _Compiled(masked_token_network(source, token_ids))
        self._most_tokens = source.network.config.max_position_embeddings
        self._where = str(source.file)
        self._token_ids = np.array(token_ids, np.int32)

    def predict(
        self, rows: Sequence[MaskedRow], most: int, advance: Callable[[int], object]
    ) -> Int32Array:
        """Return the most probable tokens of each row (N, M) int32, most probable first.

        Of equally probable ones the first comes first.

        Args:
            rows: The rows (N).
            most: Most tokens for each (M); `NONE` is at the end where fewer may be predicted.
            advance: Called with the number of rows that are done.

        Raises:
            InputError: The network's outputs are not finite.
        """
        predicted = np.empty((len(rows), most), np.int32)
        by_shape: dict[tuple[int, int], list[int]] = {}
        for place, row in enumerate(rows):
            shape = batch_shape(len(row.input_ids), self._most_tokens)
            by_shape.setdefault(shape, []).append(place)
        for (size, length), all_places in by_shape.items():
            for start in range(0, len(all_places), size):
                places = all_places[start : start + size]
                logits = self.logits([rows[place] for place in places], size, length)
                if not np.isfinite(logits).all():
                    raise InputError("the network's outputs are not finite", where=self._where)
                best = largest(logits, most)
                predicted[places] = np.where(best == NONE, NONE, self._token_ids[best])
                advance(len(places))
        return predicted

    def logits(self, rows: Sequence[MaskedRow], size: int, length: int) -> FloatArray:
        """Return the logits (N, T) of at most `size` rows, which are padded to `length`."""
        input_ids, segment_ids, input_mask = np.zeros((3, size, length), np.int32)
        input_mask[:, 0] = 1  # of rows that only fill up, which else would see nothing
        positions = np.zeros(HEAD_ROWS, np.int32)
        for index, row in enumerate(rows):
            tokens = len(row.input_ids)
            input_ids[index, :tokens] = row.input_ids
            segment_ids[index, :tokens] = row.segment_ids
            input_mask[index, :tokens] = 1
            positions[index] = index * length + row.position
        inputs = map(ms.Tensor, (input_ids, segment_ids, input_mask, positions))
        (logits,) = self._network.results(*inputs)
        return np.asarray(logits.asnumpy()[: len(rows)])
