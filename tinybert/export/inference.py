"""A network as it is exported: token ids in; hidden states, logits or tags out."""

from dataclasses import replace

import mindspore as ms
import numpy as np

from tinybert.export.network import TrainedNetwork
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import Cell
from tinybert.model.loading import load_into
from tinybert.model.parameters import encoder_shapes


class Pooling(Cell):
    """An encoder with both of its outputs.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: BertEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def construct(
        self, input_ids: ms.Tensor, segment_ids: ms.Tensor, input_mask: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the last hidden states (B, S, H) and the pooled output (B, H), float32."""
        hidden_states, _ = self.encoder(input_ids, segment_ids, input_mask)
        last = hidden_states[-1]
        return last, self.encoder.pooled(last)


def inference_cell(network: TrainedNetwork) -> Pooling | TaskNetwork:
    """Return the network, built and loaded, that computes what `output_names` names."""
    arrays = network.without_pretraining()
    if not network.has_pooler:  # a network of tags has no use for it
        shapes = encoder_shapes(network.config)
        arrays |= {n: np.zeros(s, np.float32) for n, s in shapes.items() if n not in arrays}
    # without dropout, so whatever rates a description has
    config = replace(network.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    encoder = BertEncoder(config, "")
    if network.head is None:
        cell: Pooling | TaskNetwork = Pooling(encoder)
    else:
        cell = TaskNetwork(encoder, replace(network.head, classifier_dropout_prob=0.0))
    load_into(cell, arrays)
    cell.set_train(False)
    return cell
