"""Text in, label out: what a trained network predicts for texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tinybert.data.batch import Batch
from tinybert.data.packing import Layout, choose_packing, pack_batch
from tinybert.errors import InputError
from tinybert.export.network import inference_cell
from tinybert.export.predictions import Logits, ReadAs, Text
from tinybert.export.reading import TextPrediction, TextReader
from tinybert.export.source import Source
from tinybert.prepare.encode import EncodedRow

if TYPE_CHECKING:
    from tinybert.train.evaluation import Prediction

GROUP = 1024
"""Texts that are packed together."""
BLOCK_LENGTH = 128
"""Least positions of a block; longer texts need the next power of two."""
CALL_BLOCKS = 8
"""Most blocks of a call of the network."""


def predict_texts(
    source: Source, texts: Iterable[Text], read_as: ReadAs
) -> Iterator[TextPrediction]:
    """Yield what the network predicts for each text.

    `read_as` must state what the source does not know of how texts are read.

    Raises:
        InputError: A text has no tokens, the vocabulary or a tokenizer file is damaged, or the
            network's outputs are not finite.
        UsageError: The network has no head, or it is not known how to read texts for it.
    """
    reader = TextReader.of(source, read_as)
    logits_of = network_logits(source)
    left = iter(texts)
    while group := list(islice(left, GROUP)):
        readings = reader.read(group)
        logits = logits_of(readings.rows)
        require_finite(logits, [group[at].where for at in readings.texts], source)
        yield from readings.predictions(logits)


def network_logits(source: Source) -> Callable[[Sequence[EncodedRow]], list[Logits]]:
    """Return what computes the logits of rows: (C,) each, or (tokens, C)."""
    from tinybert.train.evaluation import Prediction  # with the framework
    from tinybert.train.world import ALONE

    return partial(_packed_logits, Prediction(inference_cell(source.network), ALONE))


def require_finite(logits: Sequence[Logits], places: Sequence[str], source: Source) -> None:
    """Raise an InputError unless all logits, each of the text at a place, are finite."""
    for values, where in zip(logits, places, strict=True):
        if not np.isfinite(values).all():
            message = f"the network's outputs for {where} are not finite"
            raise InputError(message, where=str(source.file))


def _packed_logits(network: "Prediction", rows: Sequence[EncodedRow]) -> list[Logits]:
    """Return the logits of each row, (C,), or (tokens, C) for tags.

    The rows are packed, and the network is called for a few blocks at a time, so that it is
    compiled once for each length of a block, whatever the texts are. For few texts compiling would
    take longer than to compute operator by operator.
    """
    lengths = np.array([len(row.input_ids) for row in rows])
    block_length = max(BLOCK_LENGTH, 1 << (int(lengths.max()) - 1).bit_length())
    whole = choose_packing([lengths], block_length).layouts(lengths)[0]
    blocks = min(whole.blocks, CALL_BLOCKS)
    positions = blocks * block_length
    logits_of = network.logits if whole.blocks > blocks else network.uncompiled_logits
    logits_of_rows: list[Logits] = [np.empty(0)] * len(rows)
    for start in range(0, whole.blocks * block_length, positions):
        members = np.flatnonzero((whole.firsts >= start) & (whole.firsts < start + positions))
        missing = (0, positions // 2 - len(members))  # a row has two tokens at least
        layout = Layout(
            blocks,
            block_length,
            np.pad(lengths[members], missing),
            np.pad(whole.firsts[members] - start, missing),
        )
        batch = pack_batch(_batch([rows[member] for member in members], positions // 2), layout)
        logits = logits_of(batch).astype(np.float64)
        if logits.ndim == 3:
            logits = layout.unpack(logits, int(lengths.max()))
        for member, values in zip(members, logits, strict=False):
            logits_of_rows[member] = values[: lengths[member]] if values.ndim == 2 else values
    return logits_of_rows


def _batch(rows: Sequence[EncodedRow], size: int) -> Batch:
    """Return rows as a batch, filled up with empty rows to a size."""
    shape = size, max(len(row.input_ids) for row in rows)
    input_ids, segment_ids, input_mask = (np.zeros(shape, np.int32) for _ in range(3))
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[index, :length] = row.input_ids
        segment_ids[index, :length] = row.segment_ids
        input_mask[index, :length] = 1
    return Batch(input_ids, segment_ids, input_mask)
