"""Predictions of a network for labelled rows, and their metrics, without dropout."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.packing import Lengths, choose_packing, pack_batch
from tinybert.data.rows import LabelArray
from tinybert.data.sampler import IndexArray, Sampler, shard
from tinybert.data.store import TokenStore
from tinybert.errors import TrainingError
from tinybert.metrics.metrics import predicted_labels, task_metrics
from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import Cell
from tinybert.recipe.tables import TaskType
from tinybert.train.world import ALONE, AllGatherRows, World

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measure:
    """How predictions are measured."""

    task_type: TaskType
    assessment_method: str
    num_labels: int
    label_names: Sequence[str] | None
    """In the order of their ids, if they are known."""


class Prediction(Cell):
    """A network without dropout, compiled."""

    def __init__(self, network: TaskNetwork, world: World) -> None:
        super().__init__()
        self.network = network
        self.rows = AllGatherRows(world)

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, *rows: ms.Tensor | None) -> ms.Tensor:
        """Return the logits of the rows of all processes, float32.

        (N * B, C); for tags (N * B, S, C), or (N * P, S, C) of packed rows.

        Args:
            rows: The first six fields of `Batch`, of this process's own rows.
        """
        return self.rows(self.network(*rows))

    def logits(self, batch: Batch) -> Logits:
        """Return the logits of a batch without labels."""
        return np.asarray(self(*batch.tensors()).asnumpy())

    def uncompiled_logits(self, batch: Batch) -> Logits:
        """Return the logits of a batch without labels, computed operator by operator."""
        return np.asarray(self.network(*batch.tensors()).asnumpy())


class Inference:
    """Gives a network's logits, whatever its weights are at the time, for the same rows in order.

    Args:
        predict: Returns the logits of the rows of all processes from this one's share of them.
        store: The rows.
        batch_size: Rows a call over all processes; the last batch is filled up with copies of its
            first row, which are left out of the result.
        drop_remainder: Leave out the rows that do not fill the last batch.
        world: The processes that share a batch.
        block_length: Positions of the blocks that rows are packed in; None: they are not packed.

    Raises:
        InputError: `drop_remainder` leaves no row, or a row is longer than a block.
    """

    def __init__(
        self,
        predict: Callable[[Batch], Logits],
        store: TokenStore,
        *,
        batch_size: int,
        drop_remainder: bool = False,
        world: World = ALONE,
        block_length: int | None = None,
    ) -> None:
        self.predict = predict
        self._store = store
        self._batch_size = batch_size
        self._sampler = Sampler(store.rows, batch_size, 0, False, drop_remainder)
        self._world = world
        self._places = shard(np.arange(batch_size), world.rank, world.size)
        self.packing = None
        if block_length is not None:
            batches = map(self._lengths, self._batches())
            self.packing = choose_packing(batches, block_length, processes=world.size)

    def batches(self) -> Iterator[tuple[IndexArray, Batch, Logits]]:
        """Yield rows, the batch that has them first, and their logits (B, C) or (B, S, C)."""
        for rows in self._batches():
            missing = (0, self._batch_size - len(rows))
            batch = self._store.batch(np.pad(rows, missing, constant_values=rows[0]))
            share = batch._replace(label_ids=None).take(self._places)
            yield rows, batch, self._row_logits(share, rows)[: len(rows)]

    def _batches(self) -> Iterator[IndexArray]:
        return map(self._sampler.indices, range(self._sampler.batches_per_epoch))

    def _lengths(self, rows: IndexArray) -> Lengths:
        return self._store.batch_lengths(rows, self._batch_size)

    def _row_logits(self, share: Batch, rows: IndexArray) -> Logits:
        """Return the logits of a batch's rows from this process's share of them.

        (G, C), or (G, S, C) for tags.
        """
        if self.packing is None:
            return self.predict(share)
        lengths = self._lengths(rows)
        layouts = [self.packing.layout(lengths, rank) for rank in range(self._world.size)]
        logits = self.predict(pack_batch(share, layouts[self._world.rank]))
        if logits.ndim == 2:
            return logits
        seq_length, parts = share.input_ids.shape[1], np.split(logits, self._world.size)
        unpacked = (
            layout.unpack(part, seq_length) for layout, part in zip(layouts, parts, strict=True)
        )
        return np.concatenate(list(unpacked))


class Evaluation:
    """Evaluates a network on the same rows.

    Args:
        inference: Gives its logits for the labelled rows.
        measure: How predictions are measured.
    """

    def __init__(self, inference: Inference, measure: Measure) -> None:
        self.inference = inference
        self._measure = measure

    def logits(self) -> tuple[Logits, LabelArray]:
        """Return logits (N, C) or (N, S, C), and labels (N,) or (N, S), of the rows in order.

        Raises:
            TrainingError: A logit is not a finite number, so that there is nothing to measure.
        """
        logits, label_ids = [], []
        for rows, batch, found in self.inference.batches():
            assert batch.label_ids is not None
            label_ids.append(batch.label_ids[: len(rows)])
            logits.append(found)
        all_logits = np.concatenate(logits)
        finite = np.isfinite(all_logits).reshape(len(all_logits), -1).all(axis=1)
        if not finite.all():
            raise TrainingError(
                f"the logits of row {finite.argmin()} are not finite, nor are those of "
                f"{len(finite) - finite.sum() - 1} other rows of {len(finite)}",
                cure="use a sound checkpoint, or lower the learning rate that led to this one",
            )
        return all_logits, np.concatenate(label_ids)

    def predictions(self, logits: Logits) -> LabelArray:
        """Return the most likely class int32, or the number float32, for each row or token."""
        return predicted_labels(self._measure.task_type, logits)

    def measured(self, predictions: LabelArray, label_ids: LabelArray) -> dict[str, float]:
        """Return every metric of predictions.

        Raises:
            InputError: The labels are not those of the task.
        """
        measure = self._measure
        return task_metrics(
            measure.task_type,
            measure.assessment_method,
            predictions,
            label_ids,
            num_labels=measure.num_labels,
            label_names=measure.label_names,
        )

    def metrics(self) -> dict[str, float]:
        """Return every metric of the network as it is."""
        logits, label_ids = self.logits()
        return self.measured(self.predictions(logits), label_ids)
