"""The losses between layers that are not in TinyBERT are those of PyTorch, and so are gradients."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from torch.nn import functional

from tests.distill.tables import relations
from tests.parity import ours, reference
from tests.parity.reference import STUDENT, TEACHER

pytestmark = pytest.mark.parity

GELU = {"hidden_act": "gelu"}
OTHER_HEADS = STUDENT | {"num_attention_heads": 2}
TABLES = {
    "embedding and cosine": (STUDENT, {"embedding": 0.5, "cosine": 2.0}),
    "probabilities": (STUDENT, {"attention_target": "probs"}),
    "minilm": (
        STUDENT,
        {"relations": relations(4, 4, attention_distribution=1.0, value_value=1.0)},
    ),
    "minilm v2": (
        OTHER_HEADS,
        {
            "attention": 0.0,
            "relations": relations(3, 8, query_query=1.0, key_key=0.5, value_value=2.0),
        },
    ),
}


def vectors(model, batch):
    """Return queries, keys and values of each layer, (B, S, H), as transformers makes them."""
    kept, hooks = [], []
    for layer in model.encoder.layer:
        for part in ("query", "key", "value"):
            module = getattr(layer.attention.self, part)
            hooks.append(module.register_forward_hook(lambda _m, _i, out: kept.append(out)))
    model(
        torch.from_numpy(batch["input_ids"].astype(np.int64)),
        attention_mask=torch.from_numpy(batch["input_mask"].astype(np.int64)),
        token_type_ids=torch.from_numpy(batch["segment_ids"].astype(np.int64)),
    )
    for hook in hooks:
        hook.remove()
    return [kept[first : first + 3] for first in range(0, len(kept), 3)]


class Losses:
    """Every part of the loss by name, over real tokens, from PyTorch's own functions."""

    def __init__(self, network, batch, table):
        self.network, self.table = network, table
        self.mask = torch.from_numpy(batch["input_mask"]).to(torch.float64)
        self.bias = (1 - self.mask[:, None, None, :]) * reference.MASKED
        with torch.no_grad():
            self.taught, self.scored, _ = reference.run(network.teacher, batch)
            self.teacher_vectors = vectors(network.teacher, batch)
        self.hidden, self.scores, _ = reference.run(network.student, batch)
        self.vectors = vectors(network.student, batch)
        self.fitted = [network.fit(state) for state in self.hidden]

    def mean(self, values):
        """Return the mean of (B, S) over tokens."""
        return (values * self.mask).sum() / self.mask.sum()

    def divergence(self, teacher, student):
        """Return KL of distributions over keys, from scores (B, heads, S, S) with the mask."""
        of_keys = functional.kl_div(
            functional.log_softmax(student, -1),
            functional.log_softmax(teacher, -1),
            reduction="none",
            log_target=True,
        )
        return self.mean(of_keys.sum(-1).mean(1))

    def relation(self, kind, layer, heads):
        def scores(values):
            rows = values.unflatten(-1, (heads, -1)).transpose(1, 2)
            return rows @ rows.transpose(-1, -2) / rows.shape[-1] ** 0.5 + self.bias

        theirs = self.teacher_vectors[layer - 1][kind]
        return self.divergence(scores(theirs), scores(self.vectors[-1][kind]))

    def layers(self):
        """Return each state of the student with the teacher's that it learns from."""
        step = self.network.step
        return [(mine, self.taught[m * step]) for m, mine in enumerate(self.fitted)]

    def part(self, name):
        relations = self.table.get("relations")
        states = self.layers()
        if name == "attention_loss":
            pairs = self.mask[:, None, :, None] * self.mask[:, None, None, :]
            total = 0.0
            for m, mine in enumerate(self.scores):
                theirs = self.scored[(m + 1) * self.network.step - 1]
                if self.table.get("attention_target") == "probs":
                    mine, theirs = mine.softmax(-1), theirs.softmax(-1)
                difference = (mine - theirs).square() * pairs
                total = total + difference.sum() / (pairs.sum() * mine.shape[1])
            return total
        if name in ("hidden_loss", "embedding_loss"):
            squares = [self.mean((mine - theirs).square().mean(-1)) for mine, theirs in states]
            if name == "embedding_loss":
                return squares[0]
            return sum(squares[1:] if "embedding" in self.table else squares)
        if name == "cosine_loss":
            cosines = [functional.cosine_similarity(*pair, dim=-1) for pair in states[1:]]
            return sum(self.mean(1 - cosine) for cosine in cosines)
        if name == "attention_distribution_loss":
            return self.divergence(self.scored[relations.teacher_layer - 1], self.scores[-1])
        kind = ("query_query_loss", "key_key_loss", "value_value_loss").index(name)
        return self.relation(kind, relations.teacher_layer, relations.relation_heads)


@pytest.mark.parametrize("name", TABLES)
def test_losses_and_gradients_are_those_of_pytorch(name):
    student, table = TABLES[name]
    generator = np.random.default_rng(len(name))
    weights = reference.random_weights(TEACHER, "teacher.", generator)
    weights |= reference.random_weights(student, "student.", generator)
    weights["fit_dense.weight"] = generator.standard_normal((32, 16)).astype(np.float32) / 4
    weights["fit_dense.bias"] = generator.standard_normal(32).astype(np.float32)
    batch = reference.random_batch(generator, 4, 12, TEACHER["vocab_size"])
    network = reference.Distillation(TEACHER | GELU, student | GELU, weights, torch.float64)
    configs = [ours.config(sizes, "gelu") for sizes in (TEACHER, student)]
    cell = ours.distiller(*configs, weights, "ignore", **table)
    losses = Losses(network, batch, table)
    parts = [losses.part(part) for part in cell.part_names]
    whole = sum(factor * part for factor, part in zip(cell.factors, parts, strict=True))
    (loss, *found), gradients = ours.compiled_gradient(cell)(*ours.inputs(batch, "ignore"))
    for mine, theirs in zip((loss, *found), (whole, *parts), strict=True):
        assert float(mine) == pytest.approx(theirs.item(), rel=ours.GATES["loss"])
    named = network.trained()
    expected = torch.autograd.grad(whole, list(named.values()))
    expected = {n: g.numpy() for n, g in zip(named, expected, strict=True)}
    largest = max(map(np.linalg.norm, expected.values()))
    for parameter, gradient in zip(cell.trainable_params(), gradients, strict=True):
        theirs = expected[parameter.name]
        norm = max(np.linalg.norm(theirs), 1e-3 * largest)  # that of a key's bias may be 0
        difference = np.linalg.norm(gradient.asnumpy() - theirs) / norm
        assert difference <= ours.GATES["gradient"], (parameter.name, difference)
