"""Answers as classes: the tokens of a row, of which one begins the answer, and one ends it."""

import mindspore as ms
from mindspore import ops

from tinybert.model.layers import Cell

NO_TOKEN = -1e9
"""The logit of a position that is not the row's: its probability is 0."""


class SpanRows(Cell):
    """Logits of answers as classes: each row of logits chooses one token of its row.

    Padding is no class, whether rows are packed or not, so that a row's losses do not depend on how
    far it is padded. In transformers and BERT's run_squad.py the padding of a batch is: there a
    loss equals this one where no row is padded.
    """

    def construct(
        self,
        logits: ms.Tensor,
        input_mask: ms.Tensor,
        row_ids: ms.Tensor | None,
        first_positions: ms.Tensor | None,
    ) -> ms.Tensor:
        """Return logits (2 B, S), start and end of each row, `NO_TOKEN` where none of it is.

        Args:
            logits: Start and end logits (B, S, 2), or (P, S, 2) of packed rows.
            input_mask: As of `Batch`, like the next two.
            row_ids: None where rows are not packed.
            first_positions: None where rows are not packed.
        """
        if row_ids is None:
            own = input_mask
        else:
            blocks = first_positions // row_ids.shape[1]
            ids = ops.gather(row_ids.reshape(-1), first_positions, 0)
            logits = ops.gather(logits, blocks, 0)
            ours = ops.equal(ops.gather(row_ids, blocks, 0), ops.expand_dims(ids, -1))
            own = ops.gather(input_mask, blocks, 0) * ops.cast(ours, ms.int32)
        kept = ops.expand_dims(ops.cast(own, ms.float32), -1)
        both = logits * kept + (1.0 - kept) * NO_TOKEN
        return ops.transpose(both, (0, 2, 1)).reshape(-1, logits.shape[1])


class SpanLabels(Cell):
    """The labels and the normalizers of `SpanRows`."""

    def construct(
        self,
        label_ids: ms.Tensor,
        normalizers: ms.Tensor,
        row_ids: ms.Tensor | None,
        first_positions: ms.Tensor | None,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Return labels (2 B,) and normalizers (2 B,) of labels (B, 2) and normalizers (B,).

        Each of start and end has half the weight of its row, as in transformers.
        """
        labels = label_ids
        if row_ids is not None:
            labels = labels + ops.expand_dims(first_positions % row_ids.shape[1], -1)
        halves = ops.expand_dims(normalizers, -1) * 0.5
        return labels.reshape(-1), ops.concat((halves, halves), -1).reshape(-1)
