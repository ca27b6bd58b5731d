"""The arithmetic of a general distillation in PyTorch and transformers, and nothing of ours.

Written from the papers and facts, not from the package under test: attention scores are
recomputed from the query and key projections, the losses are the published means, and the
optimizer is spelt out.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from transformers import BertConfig, BertModel

MASKED = -10000.0
NO_DECAY = ("layernorm", "bias")
COMMON = {
    "vocab_size": 97,
    "num_attention_heads": 4,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
TEACHER = COMMON | {"hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48}
STUDENT = COMMON | {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 40}


def random_weights(sizes: dict, prefix: str, generator: np.random.Generator) -> dict:
    """Return float32 weights by prefixed name, large enough that every part matters."""
    weights = {}
    for name, value in BertModel(BertConfig(**sizes)).named_parameters():
        noise = generator.standard_normal(tuple(value.shape)) * 2 / math.sqrt(sizes["hidden_size"])
        weights[prefix + name] = (noise + ("LayerNorm.weight" in name)).astype(np.float32)
    return weights


def random_batch(
    generator: np.random.Generator, rows: int, length: int, vocab: int
) -> dict[str, np.ndarray]:
    """Return a batch whose rows have two segments and, but for the first, padding."""
    input_mask = np.ones((rows, length), np.int32)
    segment_ids = np.zeros((rows, length), np.int32)
    for row in range(rows):
        tokens = length if row == 0 else int(generator.integers(length // 2, length))
        input_mask[row, tokens:] = 0
        segment_ids[row, tokens // 2 : tokens] = 1
    input_ids = generator.integers(1, vocab, (rows, length)).astype(np.int32) * input_mask
    return {"input_ids": input_ids, "segment_ids": segment_ids, "input_mask": input_mask}


def bert(sizes: dict, weights: dict, prefix: str, dtype: torch.dtype) -> BertModel:
    """Return transformers' BertModel with the weights of one network, without dropout."""
    config = BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config._attn_implementation = "eager"
    model = BertModel(config)
    values = {k.removeprefix(prefix): torch.from_numpy(v.copy()) for k, v in weights.items()}
    result = model.load_state_dict(values, strict=False)
    assert not result.unexpected_keys
    assert all("position_ids" in name for name in result.missing_keys)
    model.embeddings.word_embeddings.padding_idx = None  # the padding row learns like the others
    return model.to(dtype).eval()


def run(model: BertModel, batch: dict) -> tuple[list, list, torch.Tensor]:
    """Return hidden states, attention scores before softmax (mask added) and pooled output."""
    ids, segments, mask = (
        torch.from_numpy(batch[k].astype(np.int64))
        for k in ("input_ids", "segment_ids", "input_mask")
    )
    kept: dict[tuple[int, str], torch.Tensor] = {}
    hooks = []
    for index, layer in enumerate(model.encoder.layer):
        for part in ("query", "key"):
            module = getattr(layer.attention.self, part)
            hooks.append(
                module.register_forward_hook(
                    lambda _m, _i, out, place=(index, part): kept.__setitem__(place, out)
                )
            )
    out = model(ids, attention_mask=mask, token_type_ids=segments, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    heads = model.config.num_attention_heads
    bias = (1 - mask[:, None, None, :]).to(out.pooler_output.dtype) * MASKED
    scores = []
    for index in range(model.config.num_hidden_layers):
        query, key = (
            kept[index, part].unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key")
        )
        scores.append(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias)
    return list(out.hidden_states), scores, out.pooler_output


class Distillation:
    """Teacher, student and one shared projection, with the published losses."""

    def __init__(
        self, teacher_sizes: dict, student_sizes: dict, weights: dict, dtype: torch.dtype
    ) -> None:
        def of(prefix: str) -> dict:
            return {k: v for k, v in weights.items() if k.startswith(prefix)}

        self.teacher = bert(teacher_sizes, of("teacher."), "teacher.", dtype)
        self.student = bert(student_sizes, of("student."), "student.", dtype)
        self.fit = torch.nn.Linear(student_sizes["hidden_size"], teacher_sizes["hidden_size"])
        fit = {
            k.removeprefix("fit_dense."): torch.from_numpy(v) for k, v in of("fit_dense").items()
        }
        self.fit.load_state_dict(fit)
        self.fit.to(dtype)
        self.step = teacher_sizes["num_hidden_layers"] // student_sizes["num_hidden_layers"]

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Return what is trained, by full name: all but the pooler of the student."""
        named = {f"student.{k}": v for k, v in self.student.named_parameters() if "pooler" not in k}
        return named | {f"fit_dense.{k}": v for k, v in self.fit.named_parameters()}

    def loss(self, batch: dict, padding: str = "include") -> tuple[torch.Tensor, torch.Tensor]:
        """Return attention loss and hidden loss."""
        with torch.no_grad():
            taught, scored, _ = run(self.teacher, batch)
        hidden, scores, _ = run(self.student, batch)
        mask = torch.from_numpy(batch["input_mask"]).to(taught[0].dtype)
        if padding == "include":
            mask = torch.ones_like(mask)
        pairs = mask[:, None, :, None] * mask[:, None, None, :]

        def mean_square(difference: torch.Tensor, scope: torch.Tensor) -> torch.Tensor:
            scope = scope.expand_as(difference)
            return (difference.square() * scope).sum() / scope.sum()

        def visible(x: torch.Tensor) -> torch.Tensor:
            return torch.where(x <= -100.0, torch.zeros_like(x), x)

        attention = sum(
            mean_square(visible(mine) - visible(scored[(m + 1) * self.step - 1]), pairs)
            for m, mine in enumerate(scores)
        )
        fitted = sum(
            mean_square(self.fit(mine) - taught[m * self.step], mask[:, :, None])
            for m, mine in enumerate(hidden)
        )
        return attention, fitted


def clip_and_update(
    named: dict[str, torch.Tensor],
    gradients: dict[str, torch.Tensor],
    state: dict[str, tuple[torch.Tensor, torch.Tensor]],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    clip_norm: float,
) -> None:
    """Clip each tensor's norm, then Adam with decoupled decay, without bias correction."""
    b1, b2 = betas
    with torch.no_grad():
        for name, value in named.items():
            gradient = gradients[name]
            gradient = gradient * min(1.0, clip_norm / max(float(gradient.norm()), 1e-30))
            m, v = state.get(name, (torch.zeros_like(value), torch.zeros_like(value)))
            m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient.square()
            state[name] = (m, v)
            decay = 0.0 if any(part in name.lower() for part in NO_DECAY) else weight_decay
            value -= learning_rate * (m / (v.sqrt() + eps) + decay * value)


def learning_rates(peak: float, end: float, power: float, warmup: int, total: int) -> list[float]:
    """Return the rate of every step: linear warmup from 0, then a polynomial of step / total."""
    return [
        peak * s / warmup if s < warmup else (peak - end) * (1 - s / total) ** power + end
        for s in range(total)
    ]


def train(
    network: Distillation, batches: Iterable[dict], rates: list[float], settings: dict
) -> list[float]:
    """Return the loss of every step, before its update."""
    state: dict = {}
    losses = []
    named = network.trained()
    for batch, rate in zip(batches, rates, strict=True):
        attention, hidden = network.loss(batch)
        loss = attention + hidden
        gradients = torch.autograd.grad(loss, list(named.values()))
        losses.append(loss.item())
        paired = dict(zip(named, gradients, strict=True))
        clip_and_update(named, paired, state, learning_rate=rate, **settings)
    return losses
