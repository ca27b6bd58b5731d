"""Predictions of a network for labelled rows, and their metrics, without dropout."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import mindspore as ms
import numpy as np
import numpy.typing as npt

from tinybert.data.batch import Batch
from tinybert.data.packing import Layout, choose_packing, pack_batch
from tinybert.data.questions import QuestionSet
from tinybert.data.rows import LabelArray
from tinybert.data.sampler import IndexArray, Sampler
from tinybert.data.store import TokenStore
from tinybert.errors import TrainingError
from tinybert.metrics.answers import (
    AnswerOptions,
    BestAnswer,
    answer_metrics,
    best_answers,
    possible_spans,
    score_answers,
)
from tinybert.metrics.metrics import predicted_labels, task_metrics
from tinybert.metrics.predictions import Predictions
from tinybert.model.awaited import AwaitedGraph
from tinybert.model.heads import TaskNetwork
from tinybert.model.tensors import Tensors
from tinybert.recipe.task_types import AnswerTask, TaskType
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


class Prediction(AwaitedGraph):
    """A network without dropout, compiled."""

    def __init__(self, network: TaskNetwork, world: World) -> None:
        super().__init__()
        self.network = network
        self.rows = AllGatherRows(world)

    def compute(self, *rows: ms.Tensor | None) -> Tensors:
        """Return the logits of the rows of all processes, float32.

        (N * B, C); for tags (N * B, S, C), or (N * P, S, C) of packed rows.

        Args:
            rows: The first six fields of `Batch`, of this process's own rows.
        """
        return (self.rows(self.network(*rows)),)

    def logits(self, batch: Batch) -> Logits:
        """Return the logits of a batch without labels."""
        (logits,) = self.results(*batch.tensors())
        return np.asarray(logits.asnumpy())

    def uncompiled_logits(self, batch: Batch) -> Logits:
        """Return the logits of a batch without labels, computed operator by operator."""
        return np.asarray(self.network(*batch.tensors()).asnumpy())


class OrderedBatches:
    """The rows of a store in their order, in batches of one size.

    Args:
        store: The rows.
        batch_size: Rows a batch over all processes; the last batch is filled up with copies of its
            first row.
        drop_remainder: Leave out the rows that do not fill the last batch.
        world: The processes that share a batch.
        micro_batches: Equal parts that a batch is cut into; None: one a process.
        block_length: Positions of the blocks that rows are packed in; None: they are not packed.

    Raises:
        InputError: `drop_remainder` leaves no row, or a row is longer than a block.
    """

    def __init__(
        self,
        store: TokenStore,
        batch_size: int,
        *,
        drop_remainder: bool = False,
        world: World = ALONE,
        micro_batches: int | None = None,
        block_length: int | None = None,
    ) -> None:
        self._store = store
        self._batch_size = batch_size
        self._sampler = Sampler(store.rows, batch_size, 0, False, drop_remainder)
        self._processes = world.size
        self.micro_batches = micro_batches
        parts = world.parts(micro_batches)
        self._own = world.own_parts(parts, batch_size)
        self.packing = None
        if block_length is not None:
            lengths = (store.batch_lengths(rows, batch_size) for rows in self.rows())
            self.packing = choose_packing(lengths, block_length, parts=parts)

    def rows(self) -> Iterator[IndexArray]:
        """Yield the rows of each batch, without fillers."""
        return map(self._sampler.indices, range(self._sampler.batches_per_epoch))

    def __iter__(self) -> Iterator[tuple[IndexArray, Batch]]:
        """Yield the rows of each batch, and the batch that has them first."""
        for rows in self.rows():
            missing = (0, self._batch_size - len(rows))
            yield rows, self._store.batch(np.pad(rows, missing, constant_values=rows[0]))

    def layouts(self, rows: IndexArray) -> list[Layout] | None:
        """Return where each part of a batch lies; None: it is not packed."""
        if self.packing is None:
            return None
        return self.packing.layouts(self._store.batch_lengths(rows, self._batch_size))

    def own_parts(self, batch: Batch, layouts: list[Layout] | None) -> list[Batch]:
        """Return this process's parts of a batch."""
        parts = {number: batch.take(places) for number, places in self._own.items()}
        if layouts is None:
            return list(parts.values())
        return [pack_batch(part, layouts[number]) for number, part in parts.items()]

    def joined(self, gathered: Sequence[Logits]) -> Logits:
        """Return what there is of a batch's parts, in their order.

        Args:
            gathered: That of the first part of every process, of the second of every process, ...
        """
        of_processes = zip(*(np.split(some, self._processes) for some in gathered), strict=True)
        return np.concatenate([part for parts in of_processes for part in parts])


class Inference:
    """Gives a network's logits, whatever its weights are at the time, for the same rows in order.

    Args:
        predict: Returns the logits of the rows of all processes from a part that this one holds.
        ordered: The rows.
    """

    def __init__(self, predict: Callable[[Batch], Logits], ordered: OrderedBatches) -> None:
        self.predict = predict
        self.ordered = ordered

    def batches(self) -> Iterator[tuple[IndexArray, Batch, Logits]]:
        """Yield rows, the batch that has them first, and their logits (B, C) or (B, S, C)."""
        for rows, batch in self.ordered:
            layouts = self.ordered.layouts(rows)
            parts = self.ordered.own_parts(batch._replace(label_ids=None), layouts)
            logits = self.ordered.joined([self.predict(part) for part in parts])
            if layouts is not None and logits.ndim == 3:
                packed = zip(layouts, np.split(logits, len(layouts)), strict=True)
                width = batch.input_ids.shape[1]
                logits = np.concatenate([layout.unpack(part, width) for layout, part in packed])
            yield rows, batch, logits[: len(rows)]


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
        for rows, batch, some in self.inference.batches():
            assert batch.label_ids is not None
            label_ids.append(batch.label_ids[: len(rows)])
            logits.append(some)
        all_logits = np.concatenate(logits)
        finite = np.isfinite(all_logits).reshape(len(all_logits), -1).all(axis=1)
        if not finite.all():
            raise TrainingError(
                f"the logits of row {finite.argmin()} are not finite, nor are those of "
                f"{len(finite) - finite.sum() - 1} other rows of {len(finite)}",
                cure="use a sound checkpoint, or lower the learning rate that led to this one",
            )
        return all_logits, np.concatenate(label_ids)

    def predictions(self, logits: Logits, label_ids: LabelArray) -> Predictions:
        """Return the predictions for rows, from what `logits` returns."""
        measure = self._measure
        names = None if measure.label_names is None else tuple(measure.label_names)
        predicted = predicted_labels(measure.task_type, logits)
        return Predictions(logits, predicted, label_ids, names, measure.task_type)

    def metrics_of(self, predictions: Predictions) -> dict[str, float]:
        """Return every metric of predictions.

        Raises:
            InputError: The labels are not those of the task.
        """
        measure = self._measure
        return task_metrics(
            measure.task_type,
            measure.assessment_method,
            predictions.predictions,
            predictions.label_ids,
            num_labels=measure.num_labels,
            label_names=measure.label_names,
        )

    def metrics(self) -> dict[str, float]:
        """Return every metric of the network as it is."""
        return self.metrics_of(self.predictions(*self.logits()))


class AnswerEvaluation(Evaluation):
    """Evaluates a network's answers on the same rows.

    Args:
        inference: Gives its logits for all rows of the questions.
        measure: What is measured.
        questions: The questions.
        task: Whose official program scores the answers.
        options: How an answer is chosen.
    """

    def __init__(
        self,
        inference: Inference,
        measure: Measure,
        questions: QuestionSet,
        task: AnswerTask,
        options: AnswerOptions,
    ) -> None:
        super().__init__(inference, measure)
        self.questions = questions
        self._task = task
        self._options = options

    def answers(self, logits: Logits) -> list[BestAnswer]:
        """Return the answer to every question from the logits of all rows (N, S, 2)."""
        return best_answers(self.questions, list(logits), self._options)

    def predictions(self, logits: Logits, label_ids: LabelArray) -> Predictions:
        """Return the predictions for rows, with logits where an answer can be."""
        scores = score_answers(self._task, self.questions, self.answers(logits))
        possible = possible_spans(logits, self.questions, range(len(logits)))
        predictions = super().predictions(possible, label_ids)
        asked = np.ascontiguousarray(self.questions.windows[:, 0])
        return replace(predictions, questions=asked, scores=scores)

    def metrics_of(self, predictions: Predictions) -> dict[str, float]:
        """Return every metric of the answers."""
        assert predictions.scores is not None
        return answer_metrics(predictions.scores)
