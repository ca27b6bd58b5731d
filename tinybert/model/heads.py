"""What follows an encoder: its pooled output alone, the head of a task, or that of masked words."""

import mindspore as ms
from mindspore import ops

from tinybert.model.bert import BertEncoder, Dropout
from tinybert.model.dropout import DropoutSite, dropout_sites
from tinybert.model.layers import FLOATS, Cell, LayerNorm, Linear, activation
from tinybert.model.names import CLASSIFIER, MASKED_LM, head_name
from tinybert.randomness import drop_threshold
from tinybert.recipe.network import HeadConfig, NetworkConfig


def task_sites(config: NetworkConfig, head: HeadConfig, seq_length: int) -> tuple[DropoutSite, ...]:
    """Return the dropout sites of encoder and head; the head's is a kind of its own."""
    sites = dropout_sites(config, seq_length)
    rate = head.classifier_dropout_prob
    if not drop_threshold(rate):
        return sites
    width = (config.hidden_size,)
    shape = (seq_length, *width) if head.kind.logits_by_token else width
    return (*sites, DropoutSite(CLASSIFIER, "classifier", shape, rate))


class Pooling(Cell):
    """An encoder with both of its outputs."""

    def __init__(self, encoder: BertEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def construct(
        self, input_ids: ms.Tensor, segment_ids: ms.Tensor, input_mask: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the last hidden states (B, S, H) and the pooled output (B, H), float32."""
        hidden_states, _, _ = self.encoder(input_ids, segment_ids, input_mask)
        last = hidden_states[-1]
        return last, self.encoder.pooled(last)


class TaskNetwork(Cell):
    """Encoder, dropout, ReLU if the head has one, and a linear map.

    A network with logits of tokens has no use for the pooler, which is then not trained.
    """

    def __init__(self, encoder: BertEncoder, head: HeadConfig) -> None:
        super().__init__()
        config = encoder.config
        self.prefix = encoder.prefix
        self.encoder = encoder
        self.by_token = head.kind.logits_by_token
        self.relu = head.head == "relu_linear"
        self.dropout = Dropout(head.classifier_dropout_prob)
        self.classifier = Linear(
            f"{encoder.prefix}{head_name(head.task_type)}",
            config.hidden_size,
            head.num_labels,
            dtype=FLOATS[config.dtype],
            compute_type=FLOATS[config.compute_type],
        )

    def set_trained(self, trained: bool) -> None:
        """Let a training update all parameters but those without use, or none."""
        for parameter in self.get_parameters():
            parameter.requires_grad = trained
        if self.by_token:
            for parameter in self.encoder.pooler.get_parameters():
                parameter.requires_grad = False

    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        input_mask: ms.Tensor,
        row_ids: ms.Tensor | None = None,
        position_ids: ms.Tensor | None = None,
        first_positions: ms.Tensor | None = None,
        hidden_keep: ms.Tensor | None = None,
        attention_keep: ms.Tensor | None = None,
        classifier_keep: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """Return logits float32: (B, C); of tokens (B, S, C), or (P, S, C) of packed rows.

        Args:
            input_ids: Token ids (B, S) int32.
            segment_ids: Segment ids (B, S) int32.
            input_mask: (B, S) int32, 1 for a token, 0 for padding.
            row_ids: Of packed rows, (P, S) int32; see `Batch`, as for the next two.
            position_ids: Of packed rows, (P, S) int32.
            first_positions: Of packed rows, (B,) int32.
            hidden_keep: Keep masks of the hidden sites (2L+1, B, S, H) bool; see `task_sites`.
            attention_keep: Keep masks of the attention sites (L, B, A, S, S) bool.
            classifier_keep: Keep masks of the head's site (1, B, H) or (1, B, S, H) bool.
        """
        hidden_states, _, _ = self.encoder(
            input_ids, segment_ids, input_mask, row_ids, position_ids, hidden_keep, attention_keep
        )
        x = hidden_states[-1]
        if not self.by_token:
            x = self.encoder.pooled(x, first_positions)
        x = self.dropout(x, None if classifier_keep is None else classifier_keep[0])
        if self.relu:
            x = ops.relu(x)
        return self.classifier(x)


class MaskedTokenNetwork(Cell):
    """Encoder and the head of masked language modelling (Devlin et al., section 3.1).

    The head is a linear map, the network's activation, a layer norm, and a map to tokens whose
    weight is their word embeddings. It is computed at the positions of masked tokens alone.

    Args:
        encoder: The encoder.
        tokens: Number of tokens that are predicted (T), all of the vocabulary or some.
    """

    def __init__(self, encoder: BertEncoder, tokens: int) -> None:
        super().__init__()
        config, prefix = encoder.config, f"{encoder.prefix}{MASKED_LM}"
        self.encoder = encoder
        hidden, dtype = config.hidden_size, FLOATS[config.dtype]
        types = {"dtype": dtype, "compute_type": FLOATS[config.compute_type]}
        self.transform = Linear(f"{prefix}.transform.dense", hidden, hidden, **types)
        self.activation = activation(config.hidden_act)
        self.norm = LayerNorm(
            f"{prefix}.transform.LayerNorm",
            hidden,
            eps=config.layer_norm_eps,
            dtype=dtype,
            fused=config.enable_fused_layernorm,
        )
        self.decoder = Linear(f"{prefix}.decoder", hidden, tokens, **types)

    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        input_mask: ms.Tensor,
        positions: ms.Tensor,
    ) -> ms.Tensor:
        """Return logits (N, T) float32.

        Args:
            input_ids: Token ids (B, S) int32.
            segment_ids: Segment ids (B, S) int32.
            input_mask: (B, S) int32, 1 for a token, 0 for padding.
            positions: (N,) int32, places of masked tokens in the rows end to end.
        """
        hidden_states, _, _ = self.encoder(input_ids, segment_ids, input_mask)
        last = hidden_states[-1]
        x = ops.gather(last.reshape(-1, last.shape[-1]), positions, 0)  # (N, H)
        return self.decoder(self.norm(self.activation(self.transform(x))))
