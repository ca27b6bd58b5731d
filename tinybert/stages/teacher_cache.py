"""The teacher cache: outputs of a frozen teacher, computed once for all epochs, runs and processes.

A frozen teacher without dropout gives the same outputs for a row whenever it is asked.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import structlog

from tinybert.data.batch import FloatArray
from tinybert.data.packing import Layout
from tinybert.data.teacher_outputs import (
    FORMAT,
    TEACHER,
    TEACHERS,
    LayersShape,
    TeacherLayers,
    TeacherLogits,
    TeacherOutputs,
    logits_bytes,
    write_layers,
    write_logits,
)
from tinybert.device import GIB
from tinybert.distill.distiller import Distiller
from tinybert.distill.outputs import TeacherLayerOutputs
from tinybert.kernels import loops
from tinybert.manifest.bit_relevance import facts_with_effect
from tinybert.manifest.built import TeacherCacheFacts
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.manifest.leaf import NO_FACTS, NoFacts
from tinybert.model import cpu_operators
from tinybert.model.bert import BertEncoder
from tinybert.model.heads import TaskNetwork
from tinybert.model.layers import Cell
from tinybert.recipe.model import TaskDistill
from tinybert.recipe.network import head
from tinybert.recipe.task_types import TASK_KINDS
from tinybert.stages.context import RunContext
from tinybert.train.effective import require_as_requested
from tinybert.train.evaluation import Inference, OrderedBatches, Prediction
from tinybert.train.graph import GRAPHS, read_graph
from tinybert.train.world import ALONE

log = structlog.get_logger()

Facts = TeacherCacheFacts | NoFacts
BATCH_SIZE = 32
"""Rows that are computed at once, whatever the recipe's batches, so that runs with other ones read
the same outputs."""
PAUSE = 10
"""Seconds between two lines of the log about what is computed."""


def cached_logits(
    recipe: TaskDistill, context: RunContext, teacher: TaskNetwork
) -> tuple[TeacherLogits | None, Facts]:
    """Return the teacher's logits for the training rows, if they are kept, and facts about them.

    They are computed where they are not there yet: by one process of a host, for which the others
    wait.

    Raises:
        InputError: There is no disk space for them, or they are damaged.
    """
    store, task = context.stores["data"], recipe.task
    by_token = TASK_KINDS[task.task_type].logits_by_token
    size = logits_bytes(store, task.num_labels, by_token=by_token)
    facts = _allowed(recipe, size)
    if isinstance(facts, NoFacts) or facts.unused:
        return None, facts

    def write(directory: Path) -> None:
        write_logits(
            directory,
            _logits(recipe, context, teacher),
            num_labels=task.num_labels,
            size=size,
            matrix_products=lambda: _matrix_products(context, Prediction, "network-TaskNetwork"),
        )

    kept = {"logits": asdict(head(recipe, "teacher")), "block_length": context.plan.block_length}
    path = _find_or_compute(context, teacher, kept, write)
    logits = TeacherLogits.open(path, store, by_token=by_token)
    return logits, _used(facts, logits)


def cached_layers(
    recipe: TaskDistill, context: RunContext, distiller: Distiller
) -> tuple[TeacherLayers | None, Facts]:
    """Return what a distillation of layers compares of the teacher, as `cached_logits`.

    Means over padding need what the teacher makes of padding, which is not kept.
    """
    teacher = distiller.teacher
    assert teacher is not None and recipe.phase1 is not None
    store, table = context.stores["data"], recipe.phase1.distill
    shape = LayersShape.of(table, teacher.config, distiller.student.config)
    size = shape.size(store.lengths)
    facts = _allowed(recipe, size, "padding counts" if not distiller.tokens_only else None)
    if isinstance(facts, NoFacts) or facts.unused:
        return None, facts

    def write(directory: Path) -> None:
        cell = TeacherLayerOutputs(teacher, distiller.compared)
        write_layers(
            directory,
            _layers(context, cell, shape.heads),
            size=size,
            matrix_products=lambda: _matrix_products(context, type(cell), "teacher-BertEncoder"),
        )

    kept: dict[str, object] = {
        "layers": distiller.layer_map,
        "heads": shape.heads,
        "block_length": context.plan.block_length,
    }
    if table.relations is not None:
        kept["relations"] = {
            "layer": table.relations.teacher_layer,
            "vectors": table.relations.weights.vectors(),
            "scores": table.relations.weights.attention_distribution is not None,
        }
    path = _find_or_compute(context, teacher, kept, write)
    layers = TeacherLayers.open(path, store, shape)
    return layers, _used(facts, layers)


def _allowed(recipe: TaskDistill, size: int, unused: str | None = None) -> Facts:
    """Return the facts of outputs that are to be kept, unless they are too large or `unused`."""
    limit = int((recipe.runtime.teacher_cache_gib or 0) * GIB)
    if limit == 0:
        return NO_FACTS
    if unused is None and size > limit:
        unused = "too large"
    if unused is not None:
        log.info(f"teacher cache: {unused}, not used", bytes=size, limit_bytes=limit)
    return TeacherCacheFacts(digest=None, unused=unused, bytes=size, limit_bytes=limit)


def _used(facts: TeacherCacheFacts, outputs: TeacherOutputs) -> TeacherCacheFacts:
    """Return facts with what the training reads."""
    return replace(facts, digest=outputs.digest, matrix_products=outputs.matrix_products)


def _find_or_compute(
    context: RunContext,
    teacher: TaskNetwork | BertEncoder,
    kept: Mapping[str, object],
    write: Callable[[Path], None],
) -> Path:
    """Return the directory of a teacher's outputs."""
    context.report_activity("teacher")
    root, rows = context.plan.root, context.stores["data"].rows

    def log_and_write(directory: Path) -> None:
        log.info("teacher cache: computing", rows=rows)
        write(directory)

    path = TEACHER.find_or_create(root / TEACHERS, cache_key(context, teacher, kept), log_and_write)
    log.info("teacher cache", path=str(path.relative_to(root)))
    return path


def cache_key(
    context: RunContext, teacher: TaskNetwork | BertEncoder, kept: Mapping[str, object]
) -> str:
    """Digest all that outputs depend on: teacher, rows, and what decides how they are rounded.

    Of the topology only the device counts: each process computes all rows alone.
    """
    weights = {p.name: p.asnumpy() for p in teacher.get_parameters()}
    environment = {
        name: value
        for name, value in facts_with_effect(context.environment).items()
        if name == "topology.device" or not name.startswith("topology.")
    }
    return digest(
        {
            "format": FORMAT,
            "kept": kept,
            "network": asdict(context.plan.networks["teacher"]),
            "weights": tensor_digest(tensor_table(weights)),
            "rows": context.stores["data"].digest,
            "batch_size": BATCH_SIZE,
            "environment": environment,
            "kernels": loops.VERSION if cpu_operators.used() else None,
        }
    )


def _logits(recipe: TaskDistill, context: RunContext, teacher: TaskNetwork) -> Iterator[FloatArray]:
    """Yield the logits of some rows (B, C), or of their tokens (tokens, C)."""
    store, by_token = context.stores["data"], TASK_KINDS[recipe.task.task_type].logits_by_token
    inference = Inference(Prediction(teacher, ALONE).logits, _ordered(context))
    progress = _Progress(context)
    for rows, _, logits in inference.batches():
        kept = np.arange(logits.shape[1]) < store.lengths[rows, None]  # (B, S) of tags
        yield logits[kept] if by_token else logits
        progress.report(int(rows[-1]) + 1)


def _ordered(context: RunContext) -> OrderedBatches:
    """Return the training rows in their order, in batches that no recipe chooses."""
    store, block_length = context.stores["data"], context.plan.block_length
    return OrderedBatches(store, BATCH_SIZE, block_length=block_length)


def _layers(
    context: RunContext, cell: TeacherLayerOutputs, heads: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield hidden states and the like (N, tokens, H) and scores (M, A, tokens, tokens) of rows.

    Without `heads` the scores are empty.
    """
    store, ordered = context.stores["data"], _ordered(context)
    progress = _Progress(context)
    for rows, batch in ordered:
        layouts = ordered.layouts(rows)
        (batch,) = ordered.own_parts(batch._replace(label_ids=None), layouts)
        if layouts is None:
            width, lengths = store.seq_length, store.batch_lengths(rows, BATCH_SIZE)
            layouts = [Layout(BATCH_SIZE, width, lengths, np.arange(BATCH_SIZE) * width)]
        (layout,) = layouts
        states, scores = (output.asnumpy() for output in cell.results(*batch.tensors()))
        for first, length in zip(layout.firsts, layout.lengths[: len(rows)], strict=False):
            block, start = divmod(int(first), layout.block_length)
            here = slice(start, start + int(length))
            yield states[block, :, here], scores[block, :, :heads, here, here]
        progress.report(int(rows[-1]) + 1)


class _Progress:
    """Logs now and then how many rows are done."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._rows = context.stores["data"].rows
        self._began = self._reported = time.monotonic()

    def report(self, done: int) -> None:
        """Report that the first `done` rows are done."""
        self._context.report_activity("teacher")
        now = time.monotonic()
        if now - self._reported > PAUSE:
            self._reported = now
            left = round((now - self._began) * (self._rows - done) / done)
            log.info("teacher cache: computing", done=f"{done}/{self._rows}", seconds_left=left)


def _matrix_products(context: RunContext, cell: type[Cell], scope: str) -> Mapping[str, int]:
    """Return the matrix products of a compiled cell's network, by type of their inputs.

    Raises:
        TrainingError: One has inputs of another type than the recipe asks for.
    """
    graph = read_graph(context.record.directory / GRAPHS, cell.__name__)
    products = graph.matrix_product_inputs(f"/{scope}/")
    compute_type = context.plan.networks["teacher"].compute_type.capitalize()
    require_as_requested({"teacher": [compute_type]}, {"teacher": list(products)})
    return products
