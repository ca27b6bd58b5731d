"""One BERT encoder for teacher and student (Devlin et al., arXiv 1810.04805).

Parameters have Hugging Face's names after a prefix, so that two networks fit in one graph.
Dropout masks are inputs. Layer norm, softmax, activations and residual sums are float32; the
inputs of matrix products have the configured type.
"""

import math

import mindspore as ms
from mindspore import nn, ops

from tinybert.kernels.gelu import ERF_GELU, TANH_GELU
from tinybert.model import cpu_operators
from tinybert.model.dropout import keep_scale
from tinybert.model.layers import (
    FLOATS,
    Cell,
    LayerNorm,
    Linear,
    MatMul,
    activation,
    parameter,
    tanh,
)
from tinybert.model.parameters import MAX_RELATIVE_POSITION, layer_name
from tinybert.recipe.network import NetworkConfig

GELU_FORMS = {"gelu": ERF_GELU, "gelu_tanh": TANH_GELU}
MASKED = -10000.0
"""Added to the score of a masked key."""
Vectors = tuple[ms.Tensor, ms.Tensor, ms.Tensor]
"""Queries, divided by the root of the head size, keys and values, (B, A, S, D) float32 each."""


def _linear(config: NetworkConfig, name: str, inputs: int, outputs: int) -> Linear:
    """Return a linear map in the network's types."""
    dtype, compute_type = FLOATS[config.dtype], FLOATS[config.compute_type]
    return Linear(name, inputs, outputs, dtype=dtype, compute_type=compute_type)


def _layer_norm(config: NetworkConfig, name: str) -> LayerNorm:
    """Return a layer norm as the network describes it."""
    return LayerNorm(
        name,
        config.hidden_size,
        eps=config.layer_norm_eps,
        dtype=FLOATS[config.dtype],
        fused=config.enable_fused_layernorm,
    )


class Dropout(Cell):
    """Multiply by a keep mask and the factor that keeps the expectation; without mask, nothing."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.scale = keep_scale(rate)

    def construct(self, x: ms.Tensor, keep: ms.Tensor | None) -> ms.Tensor:
        """Return x float32 with the dropped elements 0; keep is bool of the shape of x."""
        if keep is None:
            return x
        return x * (ops.cast(keep, ms.float32) * self.scale)


class Embeddings(Cell):
    """Sum of word, segment and position embeddings, normed."""

    def __init__(self, config: NetworkConfig, prefix: str) -> None:
        super().__init__()
        name, hidden, dtype = f"{prefix}embeddings", config.hidden_size, FLOATS[config.dtype]
        self.padding_idx = config.padding_idx
        self.word = parameter(f"{name}.word_embeddings.weight", (config.vocab_size, hidden), dtype)
        self.absolute = not config.use_relative_positions
        if self.absolute:
            self.position = parameter(
                f"{name}.position_embeddings.weight",
                (config.max_position_embeddings, hidden),
                dtype,
            )
        self.segment = parameter(
            f"{name}.token_type_embeddings.weight", (config.type_vocab_size, hidden), dtype
        )
        self.norm = _layer_norm(config, f"{name}.LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob)

    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        position_ids: ms.Tensor | None,
        keep: ms.Tensor | None,
    ) -> ms.Tensor:
        """Return (B, S, H) float32 from token, segment and position ids (B, S) int32.

        Without position ids, position s of a row is s.
        """
        x = ops.cast(ops.gather(self.word, input_ids, 0), ms.float32)
        if self.padding_idx is not None:
            padding = ops.cast(ops.equal(input_ids, self.padding_idx), ms.float32)
            padding = ops.expand_dims(padding, -1)  # (B, S, 1): 1 for the token, else 0
            x = x * (1.0 - padding) + ops.stop_gradient(x * padding)
        x = x + ops.cast(ops.gather(self.segment, segment_ids, 0), ms.float32)
        if self.absolute:
            if position_ids is None:
                positions = self.position[: input_ids.shape[1]]
            else:
                positions = ops.gather(self.position, position_ids, 0)
            x = x + ops.cast(positions, ms.float32)
        return self.dropout(self.norm(x), keep)


class RelativePositions(Cell):
    """Learned embeddings of the distance from query to key (Shaw et al., arXiv 1803.02155).

    One table of 33 distances, from -16 to 16 and clipped there, serves keys and values of all
    heads of a layer, as in MindSpore's.
    """

    def __init__(self, name: str, size: int, dtype: ms.Type, compute_type: ms.Type) -> None:
        super().__init__()
        rows = 2 * MAX_RELATIVE_POSITION + 1
        self.weight = parameter(f"{name}.weight", (rows, size), dtype)
        self.score = MatMul(compute_type, transpose=True, batched=True)
        self.mix = MatMul(compute_type, transpose=False, batched=True)

    def table(self, length: int) -> ms.Tensor:
        """Return (S, S, D): the embedding of key j as query i sees it."""
        place = ops.arange(length)
        distance = place.reshape(1, length) - place.reshape(length, 1)
        distance = ops.clamp(distance, -MAX_RELATIVE_POSITION, MAX_RELATIVE_POSITION)
        return ops.gather(self.weight, distance + MAX_RELATIVE_POSITION, 0)

    def scores(self, query: ms.Tensor) -> ms.Tensor:
        """Return (B, A, S, S) float32: queries (B, A, S, D) times relative keys."""
        return self._rows(self.score, query)

    def values(self, probs: ms.Tensor) -> ms.Tensor:
        """Return (B, A, S, D) float32: probabilities (B, A, S, S) times relative values."""
        return self._rows(self.mix, probs)

    def _rows(self, product: MatMul, x: ms.Tensor) -> ms.Tensor:
        """Return the product of row i of x (B, A, S, N) with row i of the table, for every i."""
        batch, heads, length, width = x.shape
        rows = ops.transpose(x, (2, 0, 1, 3)).reshape(length, batch * heads, width)
        out = product(rows, self.table(length)).reshape(length, batch, heads, -1)
        return ops.transpose(out, (1, 2, 0, 3))


class SelfAttention(Cell):
    """Multi-head attention of a sequence to itself."""

    def __init__(self, config: NetworkConfig, name: str) -> None:
        super().__init__()
        hidden, self.heads = config.hidden_size, config.num_attention_heads
        self.size = hidden // self.heads
        self.scale = 1.0 / math.sqrt(self.size)
        self.query = _linear(config, f"{name}.query", hidden, hidden)
        self.key = _linear(config, f"{name}.key", hidden, hidden)
        self.value = _linear(config, f"{name}.value", hidden, hidden)
        dtype, compute_type = FLOATS[config.dtype], FLOATS[config.compute_type]
        self.score = MatMul(compute_type, transpose=True, batched=True)
        self.mix = MatMul(compute_type, transpose=False, batched=True)
        self.softmax = ops.Softmax(-1)
        self.keep_scale = keep_scale(config.attention_probs_dropout_prob)
        self.own = cpu_operators.used()
        if self.own:
            self.own_split = cpu_operators.split_heads_operator(self.heads, self.scale)
            self.no_mask = cpu_operators.no_mask(4)
            self.own_probs = cpu_operators.attention_probs_operator(self.keep_scale)
        self.relative = config.use_relative_positions
        if self.relative:
            self.positions = RelativePositions(
                f"{name}.relative_positions", self.size, dtype, compute_type
            )

    def construct(
        self, x: ms.Tensor, bias: ms.Tensor, keep: ms.Tensor | None
    ) -> tuple[ms.Tensor, ms.Tensor, Vectors]:
        """Return the context (B, S, H), the scores (B, A, S, S), and the vectors, float32.

        Args:
            x: Hidden states (B, S, H) float32.
            bias: (B, 1, 1 or S, S) float32, added to the scores.
            keep: Keep mask of the probabilities (B, A, S, S) bool, or None.
        """
        query, key, value = self._heads(x)  # (B, A, S, D)
        scores = self.score(query, key)  # (B, A, S, S)
        if self.relative:
            scores = scores + self.positions.scores(query)
        probs = self._probs(scores, bias, keep)
        context = self.mix(probs, value)  # (B, A, S, D)
        if self.relative:
            context = context + self.positions.values(probs)
        if keep is not None and not self.own:
            context = context * self.keep_scale  # dropout's factor: scores are many more
        context = ops.transpose(context, (0, 2, 1, 3)).reshape(x.shape)
        return context, scores + bias, (query, key, value)

    def _heads(self, x: ms.Tensor) -> Vectors:
        """Return the vectors of (B, S, H)."""
        if not self.own:
            query, key, value = self.query(x) * self.scale, self.key(x), self.value(x)
            return self._split(query), self._split(key), self._split(value)
        product, bias = self.query.joint_terms(self.key, self.value, x)
        query, key, value = self.own_split(product.reshape(*x.shape[:-1], bias.shape[0]), bias)
        return query, key, value

    def _probs(self, scores: ms.Tensor, bias: ms.Tensor, keep: ms.Tensor | None) -> ms.Tensor:
        """Return softmax of scores + bias, with dropout, (B, A, S, S).

        Dropout's factor is in it on a CPU, and is left to the context elsewhere.
        """
        if self.own:
            return self.own_probs(scores, bias, self.no_mask if keep is None else keep)
        probs = self.softmax(scores + bias)
        return probs if keep is None else probs * ops.cast(keep, ms.float32)

    def _split(self, x: ms.Tensor) -> ms.Tensor:
        """Return (B, A, S, D) from (B, S, H)."""
        batch, length, _ = x.shape
        return ops.transpose(x.reshape(batch, length, self.heads, self.size), (0, 2, 1, 3))


class Layer(Cell):
    """Attention and feed-forward part, each with residual sum and layer norm."""

    def __init__(self, config: NetworkConfig, name: str) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.attention = SelfAttention(config, f"{name}.attention.self")
        self.attention_output = _linear(config, f"{name}.attention.output.dense", hidden, hidden)
        self.attention_norm = _layer_norm(config, f"{name}.attention.output.LayerNorm")
        self.intermediate = _linear(config, f"{name}.intermediate.dense", hidden, inner)
        self.activation = activation(config.hidden_act)
        self.output = _linear(config, f"{name}.output.dense", inner, hidden)
        self.output_norm = _layer_norm(config, f"{name}.output.LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.own_gelu = cpu_operators.used() and config.hidden_act in GELU_FORMS
        if self.own_gelu:
            self.bias_gelu = cpu_operators.bias_gelu_operator(GELU_FORMS[config.hidden_act])
        self.own_norm = cpu_operators.used() and not config.enable_fused_layernorm
        if self.own_norm:
            scale = keep_scale(config.hidden_dropout_prob)
            self.no_mask = cpu_operators.no_mask(2)
            self.residual_norm = cpu_operators.residual_norm_operator(config.layer_norm_eps, scale)

    def construct(
        self,
        x: ms.Tensor,
        bias: ms.Tensor,
        attention_keep: ms.Tensor | None,
        attention_output_keep: ms.Tensor | None,
        output_keep: ms.Tensor | None,
    ) -> tuple[ms.Tensor, ms.Tensor, Vectors]:
        """Return the next hidden states (B, S, H), scores (B, A, S, S) and vectors, float32."""
        context, scores, vectors = self.attention(x, bias, attention_keep)
        x = self._residual(
            self.attention_output, context, attention_output_keep, x, self.attention_norm
        )
        inner = self._inner(x)
        x = self._residual(self.output, inner, output_keep, x, self.output_norm)
        return x, scores, vectors

    def _inner(self, x: ms.Tensor) -> ms.Tensor:
        """Return the activations (B, S, I) of the feed-forward part."""
        if not self.own_gelu:
            return self.activation(self.intermediate(x))
        product, bias = self.intermediate.terms(x)
        return self.bias_gelu(product, bias).reshape(*x.shape[:-1], bias.shape[0])

    def _residual(
        self,
        linear: Linear,
        x: ms.Tensor,
        keep: ms.Tensor | None,
        residual: ms.Tensor,
        norm: LayerNorm,
    ) -> ms.Tensor:
        """Return norm(dropout(linear(x)) + residual), (B, S, H)."""
        if not self.own_norm:
            return norm(self.dropout(linear(x), keep) + residual)
        product, bias = linear.terms(x)
        weight, norm_bias = ops.cast(norm.weight, ms.float32), ops.cast(norm.bias, ms.float32)
        flat = residual.reshape(product.shape)
        mask = self.no_mask if keep is None else keep.reshape(product.shape)
        out = self.residual_norm(product, bias, mask, flat, weight, norm_bias)
        return out.reshape(residual.shape)


def attention_bias(input_mask: ms.Tensor, row_ids: ms.Tensor | None) -> ms.Tensor:
    """Return (B, 1, 1 or S, S) float32: 0 where a query sees a key, `MASKED` elsewhere."""
    batch, length = input_mask.shape
    visible = ops.cast(input_mask.reshape(batch, 1, 1, length), ms.float32)
    if row_ids is not None:
        same = ops.equal(row_ids.reshape(batch, 1, length, 1), row_ids.reshape(batch, 1, 1, length))
        visible = visible * ops.cast(same, ms.float32)
    return (1.0 - visible) * MASKED


def _sites(keep: ms.Tensor | None, count: int) -> tuple[ms.Tensor | None, ...]:
    """Return the masks of each site from those of all; slicing would be 40 times slower on CPU."""
    return (None,) * count if keep is None else ops.unstack(keep)


class BertEncoder(Cell):
    """Embeddings, layers and pooler.

    Args:
        config: The network's description.
        prefix: What its parameters' names start with, `student.` or `teacher.`.
    """

    def __init__(self, config: NetworkConfig, prefix: str) -> None:
        super().__init__()
        self.config = config
        self.prefix = prefix
        self.embeddings = Embeddings(config, prefix)
        layers = [
            Layer(config, prefix + layer_name(layer)) for layer in range(config.num_hidden_layers)
        ]
        self.layers = nn.CellList(layers, auto_prefix=False)
        hidden = config.hidden_size
        self.pooler = _linear(config, f"{prefix}pooler.dense", hidden, hidden)

    def construct(
        self,
        input_ids: ms.Tensor,
        segment_ids: ms.Tensor,
        input_mask: ms.Tensor,
        row_ids: ms.Tensor | None = None,
        position_ids: ms.Tensor | None = None,
        hidden_keep: ms.Tensor | None = None,
        attention_keep: ms.Tensor | None = None,
    ) -> tuple[tuple[ms.Tensor, ...], tuple[ms.Tensor, ...], tuple[Vectors, ...]]:
        """Return hidden states, L+1 of (B, S, H), attention scores, L of (B, A, S, S), and vectors.

        The scores are those before softmax, mask added; the vectors are L times queries, keys and
        values. All float32.

        Args:
            input_ids: Token ids (B, S) int32.
            segment_ids: Segment ids (B, S) int32.
            input_mask: (B, S) int32, 1 for a token, 0 for padding.
            row_ids: Of packed rows, which row lies where, (B, S) int32, B the number of blocks:
                attention stays within a row.
            position_ids: Of packed rows, the place of each token in its row, (B, S) int32.
            hidden_keep: Keep masks of the hidden sites (2L+1, B, S, H) bool; see `dropout_sites`.
            attention_keep: Keep masks of the attention sites (L, B, A, S, S) bool.
        """
        bias = attention_bias(input_mask, row_ids)
        depth = len(self.layers)
        hidden = _sites(hidden_keep, 2 * depth + 1)
        attention = _sites(attention_keep, depth)
        x = self.embeddings(input_ids, segment_ids, position_ids, hidden[0])
        hidden_states: tuple[ms.Tensor, ...] = (x,)
        attention_scores: tuple[ms.Tensor, ...] = ()
        attention_vectors: tuple[Vectors, ...] = ()
        for index, layer in enumerate(self.layers):
            x, scores, vectors = layer(
                x,
                bias,
                attention[index],
                hidden[2 * index + 1],
                hidden[2 * index + 2],
            )
            hidden_states += (x,)
            attention_scores += (scores,)
            attention_vectors += (vectors,)
        return hidden_states, attention_scores, attention_vectors

    def pooled(
        self, last_hidden_state: ms.Tensor, first_positions: ms.Tensor | None = None
    ) -> ms.Tensor:
        """Return tanh of a linear map of each row's first token, (B, H) float32.

        Args:
            last_hidden_state: (B, S, H) float32, or (P, S, H) of packed rows.
            first_positions: Of packed rows, (B,) int32, where each begins in the blocks end to
                end.
        """
        if first_positions is None:
            first = last_hidden_state[:, 0]
        else:
            flat = last_hidden_state.reshape(-1, last_hidden_state.shape[-1])
            first = ops.gather(flat, first_positions, 0)
        return tanh(self.pooler(first))
