"""General distillation: a student learns a teacher's layers from plain text."""

from dataclasses import replace

import mindspore as ms
import numpy as np
from mindspore import ops

from tinybert.data.batch import Batch, FloatArray
from tinybert.distill.distiller import Distiller
from tinybert.distill.normalizers import layer_normalizers
from tinybert.model.awaited import AwaitedGraph
from tinybert.model.tensors import Tensors
from tinybert.recipe.model import GeneralDistill
from tinybert.stages.context import RunContext, StageResult
from tinybert.stages.layers import build_distiller, layer_training
from tinybert.stages.training import run_training, stage_result
from tinybert.train.evaluation import OrderedBatches
from tinybert.train.world import AllGatherRows, World


def general_distill(recipe: GeneralDistill, context: RunContext) -> StageResult:
    """Train a student on the differences between its layers and a teacher's.

    TinyBERT (Jiao et al., arXiv 1909.10351), section 4.1.
    """
    plan = context.plan
    (phase,) = plan.phases
    distiller = build_distiller(plan, recipe.distill, context.loaded)
    training = layer_training(context, phase, recipe.distill, distiller)
    result = stage_result(plan, [run_training(context, training)])
    if not result.finished or "eval_data" not in context.stores:
        return result
    context.report_activity("evaluating")
    held_out = _held_out_metrics(distiller, recipe, context, phase.global_batch_size)
    return replace(result, metrics=result.metrics | held_out)


class _Losses(AwaitedGraph):
    """The distiller without dropout, compiled; it returns the losses of every process's rows."""

    def __init__(self, distiller: Distiller, world: World) -> None:
        super().__init__()
        self.distiller = distiller
        self.processes = AllGatherRows(world)

    def compute(self, *batch: ms.Tensor | None) -> Tensors:
        """Return the distiller's outputs (processes, outputs)."""
        return (self.processes(ops.stack(self.distiller(*batch)).reshape(1, -1)),)

    def of(self, batch: Batch) -> FloatArray:
        """Return the distiller's outputs (processes, outputs)."""
        (outputs,) = self.results(*batch.tensors())
        return np.asarray(outputs.asnumpy())


def _held_out_metrics(
    distiller: Distiller, recipe: GeneralDistill, context: RunContext, batch_size: int
) -> dict[str, float]:
    """Return the mean loss and parts over all rows of a held-out set, without dropout."""
    store, world = context.stores["eval_data"], context.world
    losses = _Losses(distiller, world)
    ordered = OrderedBatches(
        store,
        batch_size,
        world=world,
        micro_batches=context.plan.micro_batches,
        block_length=context.plan.block_length,
    )
    tokens = np.concatenate([store.batch(part).input_mask.sum(axis=1) for part in ordered.rows()])
    normalizers = layer_normalizers(
        tokens, np.ones(store.rows, bool), store.seq_length, recipe.distill.padding
    )
    names = [f"eval_{name}" for name in ("loss", *distiller.part_names)]
    totals = np.zeros(len(names))
    for rows, batch in ordered:
        missing = (0, batch_size - len(rows))  # rows of weight 0 fill the last batch
        attention, hidden = (np.pad(values[rows], missing) for values in normalizers)
        batch = batch._replace(
            label_ids=None, attention_normalizers=attention, hidden_normalizers=hidden
        )
        parts = ordered.own_parts(batch, ordered.layouts(rows))
        of_parts = ordered.joined([losses.of(part) for part in parts])
        totals += of_parts.sum(axis=0)
    return dict(zip(names, totals.tolist(), strict=True))
