"""The teacher cache: outputs of a frozen teacher, computed once for all epochs, runs and processes.

A frozen teacher without dropout gives the same outputs for a row whenever it is asked.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import structlog

from tinybert.data.batch import Batch, FloatArray
from tinybert.data.packing import Layout, Lengths
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
from tinybert.train.evaluation import Prediction
from tinybert.train.graph import GRAPHS, read_graph
from tinybert.train.row_outputs import CALLS, row_outputs
from tinybert.train.world import ALONE

log = structlog.get_logger()

Facts = TeacherCacheFacts | NoFacts
Output = TypeVar("Output")
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
    bytes_of_rows = logits_bytes(store, task.num_labels, by_token=by_token)
    size = int(bytes_of_rows.sum())
    facts = _allowed(recipe, size)
    if isinstance(facts, NoFacts) or facts.unused:
        return None, facts

    def write(directory: Path) -> None:
        write_logits(
            directory,
            _logits(recipe, context, teacher, bytes_of_rows),
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
            _layers(context, cell, shape),
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
            "calls": CALLS,
            "environment": environment,
            "kernels": loops.VERSION if cpu_operators.used() else None,
        }
    )


def _logits(
    recipe: TaskDistill, context: RunContext, teacher: TaskNetwork, bytes_of_rows: Lengths
) -> Iterator[FloatArray]:
    """Yield the logits of each row, (C,), or of its tokens, (tokens, C)."""
    by_token = TASK_KINDS[recipe.task.task_type].logits_by_token
    prediction = Prediction(teacher, ALONE)

    def outputs_of(batch: Batch, layout: Layout) -> Iterator[FloatArray]:
        logits = prediction.logits(batch)
        yield from (logits[place] for place in layout.places()) if by_token else logits

    yield from _of_all_rows(context, bytes_of_rows, outputs_of)


def _layers(
    context: RunContext, cell: TeacherLayerOutputs, shape: LayersShape
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield hidden states and the like (N, tokens, H) and scores (M, A, tokens, tokens) of rows.

    Without heads the scores are empty.
    """

    def outputs_of(batch: Batch, layout: Layout) -> Iterator[tuple[FloatArray, FloatArray]]:
        states, scores = (output.asnumpy() for output in cell.results(*batch.tensors()))
        for block, here in layout.places():
            yield states[block, :, here].copy(), scores[block, :, : shape.heads, here, here].copy()

    bytes_of_rows = shape.bytes_of_rows(context.stores["data"].lengths)
    yield from _of_all_rows(context, bytes_of_rows, outputs_of)


def _of_all_rows(
    context: RunContext,
    bytes_of_rows: Lengths,
    outputs_of: Callable[[Batch, Layout], Iterable[Output]],
) -> Iterator[Output]:
    """Yield the output of each training row, and log now and then how many are left."""
    store, began = context.stores["data"], time.monotonic()
    logged = began

    def reported(batch: Batch, layout: Layout) -> Iterable[Output]:
        context.report_activity("teacher")
        return outputs_of(batch, layout)

    outputs = row_outputs(store, context.plan.block_length, bytes_of_rows, reported)
    for done, output in enumerate(outputs, start=1):
        yield output
        now = time.monotonic()
        if now - logged > PAUSE:
            logged = now
            left = round((now - began) * (store.rows - done) / done)
            log.info("teacher cache: computing", done=f"{done}/{store.rows}", seconds_left=left)


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
