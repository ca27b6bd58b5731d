"""The teacher cache: outputs of a frozen teacher, computed once for all epochs, runs and processes.

A frozen teacher without dropout gives the same outputs for a row whenever it is asked.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import structlog

from tinybert.data.batch import FloatArray
from tinybert.data.teacher_logits import (
    FORMAT,
    TEACHER,
    TEACHERS,
    TeacherLogits,
    logits_bytes,
    write_logits,
)
from tinybert.device import GIB
from tinybert.manifest.built import TeacherCacheFacts
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.manifest.leaf import NO_FACTS, NoFacts
from tinybert.model.heads import TaskNetwork
from tinybert.recipe.model import TaskDistill
from tinybert.recipe.network import head
from tinybert.stages.build import RunContext
from tinybert.train.effective import require_as_requested
from tinybert.train.evaluation import Inference, Prediction
from tinybert.train.graph import GRAPHS, read_graph
from tinybert.train.world import ALONE

log = structlog.get_logger()

BATCH_SIZE = 32
"""Rows that are computed at once, whatever the recipe's batches, so that runs with other ones read
the same outputs."""
PAUSE = 10
"""Seconds between two lines of the log about what is computed."""


def cached_logits(
    recipe: TaskDistill, context: RunContext, teacher: TaskNetwork
) -> tuple[TeacherLogits | None, TeacherCacheFacts | NoFacts]:
    """Return the teacher's logits for the training rows, if they are kept, and facts about them.

    They are computed where they are not there yet: by one process of a host, for which the others
    wait.

    Raises:
        InputError: There is no disk space for them, or they are damaged.
    """
    limit = int((recipe.runtime.teacher_cache_gib or 0) * GIB)
    if limit == 0:
        return None, NO_FACTS
    store, by_token = context.stores["data"], recipe.task.task_type == "ner"
    size = logits_bytes(store, recipe.task.num_labels, by_token=by_token)
    if size > limit:
        log.info("teacher cache: too large, not used", bytes=size, limit_bytes=limit)
        return None, TeacherCacheFacts(digest=None, bytes=size, limit_bytes=limit)
    context.report_activity("teacher")
    folder = context.plan.root / TEACHERS

    def write(directory: Path) -> None:
        _compute(recipe, context, teacher, directory, size)

    path = TEACHER.find_or_create(folder, _key(recipe, context, teacher), write)
    logits = TeacherLogits.open(path, store, by_token=by_token)
    log.info("teacher cache", path=str(path.relative_to(context.plan.root)), bytes=size)
    return logits, TeacherCacheFacts(
        digest=logits.digest,
        bytes=size,
        limit_bytes=limit,
        matrix_products=logits.matrix_products,
    )


def _key(recipe: TaskDistill, context: RunContext, teacher: TaskNetwork) -> str:
    """Digest all that the logits depend on: teacher, rows, and what decides how they are rounded.

    The number of processes is left out: each computes all rows alone.
    """
    environment = context.environment
    weights = {p.name: p.asnumpy() for p in teacher.get_parameters()}
    return digest(
        {
            "format": FORMAT,
            "kept": "logits",
            "network": asdict(context.plan.networks["teacher"]),
            "head": asdict(head(recipe, "teacher")),
            "weights": tensor_digest(tensor_table(weights)),
            "rows": context.stores["data"].digest,
            "batch_size": BATCH_SIZE,
            "block_length": context.plan.block_length,
            "device": environment.topology.device,
            "mindspore": environment.mindspore,
            "ascend": environment.ascend,
            "cpu": environment.cpu,
            "variables": environment.variables,
            "determinism": environment.determinism,
        }
    )


def _compute(
    recipe: TaskDistill, context: RunContext, teacher: TaskNetwork, directory: Path, size: int
) -> None:
    """Compute the teacher's logits for all training rows, and write them."""
    log.info("teacher cache: computing", rows=context.stores["data"].rows, bytes=size)
    inference = Inference(
        Prediction(teacher, ALONE).logits,
        context.stores["data"],
        batch_size=BATCH_SIZE,
        block_length=context.plan.block_length,
    )
    write_logits(
        directory,
        _rows(recipe, context, inference),
        num_labels=recipe.task.num_labels,
        size=size,
        matrix_products=lambda: _matrix_products(context),
    )


def _rows(recipe: TaskDistill, context: RunContext, inference: Inference) -> Iterator[FloatArray]:
    """Yield the logits of some rows (B, C), or of their tokens (tokens, C)."""
    store, by_token = context.stores["data"], recipe.task.task_type == "ner"
    began = reported = time.monotonic()
    for rows, _, logits in inference.batches():
        kept = np.arange(logits.shape[1]) < store.lengths[rows, None]  # (B, S) of tags
        yield logits[kept] if by_token else logits
        context.report_activity("teacher")
        now, done = time.monotonic(), int(rows[-1]) + 1
        if now - reported > PAUSE:
            reported = now
            left = round((now - began) * (store.rows - done) / done)
            log.info("teacher cache: computing", done=f"{done}/{store.rows}", seconds_left=left)


def _matrix_products(context: RunContext) -> Mapping[str, int]:
    """Return the matrix products of the graph that computed the logits, by type of their inputs.

    Raises:
        TrainingError: One has inputs of another type than the recipe asks for.
    """
    graph = read_graph(context.record.directory / GRAPHS, Prediction.__name__)
    products = graph.matrix_product_inputs("/network-TaskNetwork/")
    compute_type = context.plan.networks["teacher"].compute_type.capitalize()
    require_as_requested({"teacher": [compute_type]}, {"teacher": list(products)})
    return products
