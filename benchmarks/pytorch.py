"""PyTorch's side of a comparison: transformers' models, trained on the rows that ours trains on."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    BertConfig,
    BertForSequenceClassification,
)
from transformers.masking_utils import eager_mask

from benchmarks.trainings import DROPOUT, THREADS, Training
from tinybert.data.batch import Batch
from tinybert.recipe.network import ROLES

Form = Literal["padded to the records' length", "padded to the longest row", "sorted by length"]
PADDED: Form = "padded to the records' length"
LONGEST: Form = "padded to the longest row"
SORTED: Form = "sorted by length"
SORTED_BATCHES = 50
"""Batches whose rows are sorted by length together, as in transformers' `group_by_length`."""
Weights = Mapping[str, np.ndarray]

torch.set_num_threads(THREADS)


def classifier(
    config: BertConfig, weights: Weights, prefix: str, dropout: float
) -> BertForSequenceClassification:
    """Return a model with the weights of one of our networks, named with a prefix."""
    for key in DROPOUT:
        setattr(config, key, dropout)
    model = BertForSequenceClassification(config)
    names = {name: prefix + name.removeprefix("bert.") for name in model.state_dict()}
    model.load_state_dict({name: torch.from_numpy(weights[at]) for name, at in names.items()})
    return model.train()


class Batches:
    """The rows of our training, padded in one of the usual forms."""

    def __init__(self, ours: Training, form: Form) -> None:
        self.ours, self.form = ours, form

    def of(self, steps: range) -> Iterable[Batch]:
        """Yield the batches of some steps."""
        store, rows = self.ours.store, self.ours.rows
        if self.form != SORTED:
            for step in steps:
                width = int(store.lengths[rows(step)].max()) if self.form == LONGEST else None
                yield store.batch(rows(step), width)
            return
        first = steps.start // SORTED_BATCHES * SORTED_BATCHES
        together = np.concatenate([rows(first + i) for i in range(SORTED_BATCHES)])
        together = together[np.argsort(-store.lengths[together], kind="stable")]
        size = len(together) // SORTED_BATCHES
        # transformers goes through a chunk from its longest batch on; any part is as good here
        order = np.random.default_rng(steps.start).permutation(SORTED_BATCHES)
        for place in order[: len(steps)]:
            batch = together[size * place : size * (place + 1)]
            yield store.batch(batch, int(store.lengths[batch].max()))


class PyTorchTraining(ABC):
    """A training loop; subclasses say what the loss is.

    Args:
        ours: The training that it does the same as.
        trained: What it trains.
        form: How its batches are padded.
    """

    def __init__(self, ours: Training, trained: torch.nn.Module, form: Form) -> None:
        self.batches = Batches(ours, form)
        self.phase = ours.setup.phase
        self.trained = trained
        groups = []
        for plain in (False, True):
            some = [
                parameter
                for name, parameter in trained.named_parameters()
                if any(part in name.lower() for part in self.phase.optimizer.no_decay) == plain
            ]
            decay = 0.0 if plain else self.phase.optimizer.weight_decay
            groups.append({"params": some, "weight_decay": decay})
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, eps=1e-8)
        self._done = 0

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch."""

    def steps(self, count: int) -> tuple[list[float], float]:
        """Train on; return the losses, and rows a second."""
        losses, rows, began = [], 0, time.perf_counter()
        for step, batch in enumerate(self.batches.of(range(self._done, self._done + count))):
            loss = self.loss(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = self.phase.schedule(self._done + step)
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.append(loss.item())
            rows += len(batch.input_ids)
        self._done += count
        return losses, rows / (time.perf_counter() - began)


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """Return a model's inputs."""
    return {
        "input_ids": torch.from_numpy(batch.input_ids).long(),
        "token_type_ids": torch.from_numpy(batch.segment_ids).long(),
        "attention_mask": torch.from_numpy(batch.input_mask),
    }


class FineTuning(PyTorchTraining):
    """A classifier learns labels."""

    def __init__(self, ours: Training, encoder: Path, dropout: float, form: Form) -> None:
        config = BertConfig.from_pretrained(encoder, num_labels=2, attn_implementation="sdpa")
        self.model = classifier(config, ours.weights(), "teacher.", dropout)
        super().__init__(ours, self.model, form)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy."""
        labels = torch.from_numpy(batch.label_ids).long()
        return self.model(**tensors(batch), labels=labels).loss


def _keep_scores(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **rest: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute attention as transformers' eager form does, and keep the scores on the module."""
    module.scores = query @ key.transpose(2, 3) * rest["scaling"]
    masked = module.scores if mask is None else module.scores + mask
    probs = functional.softmax(masked, dim=-1)
    probs = functional.dropout(probs, p=rest["dropout"], training=module.training)
    return (probs @ value).transpose(1, 2).contiguous(), probs


AttentionInterface.register("keep_scores", _keep_scores)
AttentionMaskInterface.register("keep_scores", eager_mask)


class LayerDistillation(PyTorchTraining):
    """A student learns a teacher's hidden states and attention scores (TinyBERT, section 3.1).

    Args:
        ours: The training that it does the same as.
        teacher: The teacher's sizes.
        student: The student's.
        layer_map: Teacher layer, counted from 1, of each student layer.
        dropout: Of the student.
        form: How batches are padded.
        tokens_only: Whether means are over tokens alone; else over padding, too.
    """

    def __init__(
        self,
        ours: Training,
        teacher: BertConfig,
        student: BertConfig,
        layer_map: tuple[int, ...],
        dropout: float,
        form: Form,
        *,
        tokens_only: bool = True,
    ) -> None:
        self.tokens_only = tokens_only
        weights = {"teacher.classifier.weight": np.zeros((2, teacher.hidden_size), np.float32)}
        weights |= {"student.classifier.weight": np.zeros((2, student.hidden_size), np.float32)}
        weights |= {f"{role}.classifier.bias": np.zeros(2, np.float32) for role in ROLES}
        weights |= ours.weights()
        for config in (teacher, student):
            config._attn_implementation = "keep_scores"
        self.teacher = classifier(teacher, weights, "teacher.", 0.0).bert.eval()
        self.layer_map = layer_map
        encoder = classifier(student, weights, "student.", dropout).bert
        for parameter in encoder.pooler.parameters():
            parameter.requires_grad = False
        fit = torch.nn.Linear(student.hidden_size, teacher.hidden_size)
        values = {name: weights[f"fit_dense.{name}"] for name in fit.state_dict()}
        fit.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
        trained = torch.nn.ModuleDict({"student": encoder, "fit": fit})
        super().__init__(ours, trained, form)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the mean squared differences."""
        inputs = tensors(batch)
        with torch.no_grad():
            taught = self.teacher(**inputs, output_hidden_states=True).hidden_states
        hidden = self.trained["student"](**inputs, output_hidden_states=True).hidden_states
        tokens = inputs["attention_mask"].float()
        keys = tokens[:, None, None, :]
        mask = tokens if self.tokens_only else torch.ones_like(tokens)
        pairs = mask[:, None, :, None] * mask[:, None, None, :]
        loss = torch.zeros(())
        for at, mine in zip((0, *self.layer_map), hidden, strict=True):
            loss = loss + _mean_square(self.trained["fit"](mine) - taught[at], mask[:, :, None])
        layers = self.trained["student"].encoder.layer
        for at, layer in zip(self.layer_map, layers, strict=True):
            scores = self.teacher.encoder.layer[at - 1].attention.self.scores
            difference = (layer.attention.self.scores - scores) * keys  # a masked score counts as 0
            loss = loss + _mean_square(difference, pairs)
        return loss


class LogitDistillation(PyTorchTraining):
    """A student learns a teacher's logits (TinyBERT, equation 10)."""

    def __init__(
        self,
        ours: Training,
        teacher: BertConfig,
        student: BertConfig,
        dropout: float,
        form: Form,
    ) -> None:
        weights = ours.weights()
        for config in (teacher, student):
            config._attn_implementation = "sdpa"
        self.teacher = classifier(teacher, weights, "teacher.", 0.0).eval()
        super().__init__(ours, classifier(student, weights, "student.", dropout), form)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean over rows and classes of the soft cross-entropy."""
        inputs = tensors(batch)
        with torch.no_grad():
            taught = self.teacher(**inputs).logits.softmax(-1)
        return -(taught * self.trained(**inputs).logits.log_softmax(-1)).mean()


def _mean_square(difference: torch.Tensor, scope: torch.Tensor) -> torch.Tensor:
    """Return the mean of squares where `scope`, which is broadcast, is 1."""
    counted = scope.expand_as(difference)
    return (difference.square() * counted).sum() / counted.sum()
