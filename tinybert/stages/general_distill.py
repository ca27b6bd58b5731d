"""General distillation: a student learns a teacher's layers from plain text."""

from collections import deque
from pathlib import Path
from statistics import fmean

import mindspore as ms
import numpy as np

from tinybert.data.importing import import_records
from tinybert.data.store import TokenStore
from tinybert.distill.distiller import Distiller, FitDense, fit_shapes
from tinybert.distill.layer_map import layer_map
from tinybert.distill.losses import row_weights
from tinybert.manifest.record import RunRecord
from tinybert.manifest.trace import read_trace
from tinybert.model.bert import BertEncoder
from tinybert.model.dropout import dropout_sites
from tinybert.model.layers import Part
from tinybert.model.loading import load_into
from tinybert.model.parameters import encoder_shapes, seeded
from tinybert.plan import Plan
from tinybert.provenance import Provenance
from tinybert.recipe.model import GeneralDistill
from tinybert.stages import build
from tinybert.train import effective
from tinybert.train.checkpoint import CheckpointFolder
from tinybert.train.feed import DistillFeed
from tinybert.train.journal import Journal
from tinybert.train.loop import StepResult, train

PARTS = ("attention_loss", "hidden_loss")
"""Outputs of the distiller after the loss."""
MEAN_STEPS = 100
"""Steps at the end whose mean losses are final metrics."""


def general_distill(
    plan: Plan, recipe: GeneralDistill, record: RunRecord, outside: build.Outside
) -> build.Result:
    """Train a student on the differences between its layers and a teacher's.

    TinyBERT (Jiao et al., arXiv 1909.10351), section 4.1.
    """
    (phase,) = plan.phases
    stores = {
        role: import_records(records.source, plan.root / "runs" / "store")
        for role, records in plan.records.items()
    }
    loaded = build.read_checkpoints(plan, pooler=False)
    provenance = Provenance(stores, loaded)
    distiller = build_distiller(plan, recipe)
    for network in (distiller.teacher, distiller.student):
        load_into(network, build.first_weights(plan, network.prefix.rstrip("."), loaded))
    step = build.training_step(distiller, phase, recipe.optimizer, recipe.loss_scale)
    feed = build_feed(plan, recipe, stores["data"])
    built = effective.read_step(step) | build.built_facts(plan, phase, _groups(distiller))
    built["masks"] = {"step 0": feed.mask_digest(0)}
    effective.require_equal(_requested(plan, recipe), built)
    record.start(effective=built, environment=outside.environment)
    weights = [*distiller.student.get_parameters(), *distiller.fit.get_parameters()]
    journal = Journal(
        record,
        CheckpointFolder(
            record.directory / "checkpoints",
            [*weights, *step.state()],
            keep=recipe.checkpoints.max_ckpt_num,
        ),
        save_ckpt_step=recipe.checkpoints.save_ckpt_step,
        total_steps=phase.total_steps,
        stop_requested=outside.stop_requested,
        on_step=outside.on_step,
    )
    first_step = journal.resume()

    def after_step(result: StepResult) -> bool:
        if result.global_step == first_step:
            provenance.write(record)
            build.record_graph(record, plan)
        return journal.after_step(result)

    train(
        step,
        feed,
        part_names=PARTS,
        first_step=first_step,
        total_steps=phase.total_steps,
        after_step=after_step,
    )
    steps = int(step.global_step.asnumpy())
    finished = steps == phase.total_steps
    metrics = _training_metrics(record.directory / "trace.jsonl")
    if finished and "eval_data" in stores:
        metrics |= _held_out_metrics(
            distiller, recipe, stores["eval_data"], phase.global_batch_size
        )
    return build.Result(
        finished=finished,
        optimizer_steps=int(step.optimizer_step.asnumpy()),
        samples=phase.samples(steps),
        metrics=metrics,
    )


def build_distiller(plan: Plan, recipe: GeneralDistill) -> Distiller:
    """Build teacher, student and projection; the projection has its first weights."""
    teacher, student = plan.networks["teacher"], plan.networks["student"]
    fit = FitDense(student, teacher, recipe.distill.fit_dense)
    shapes = fit_shapes(student, teacher, recipe.distill.fit_dense)
    std = student.initializer_range
    load_into(fit, seeded(shapes, seed=recipe.seed, std=std, prefix=""))
    return Distiller(
        BertEncoder(teacher, "teacher."),
        BertEncoder(student, "student."),
        fit,
        layer_map=layer_map(
            recipe.distill.layer_map, teacher.num_hidden_layers, student.num_hidden_layers
        ),
        attention_weight=recipe.distill.weights.attention,
        hidden_weight=recipe.distill.weights.hidden,
        padding=recipe.distill.padding,
    )


def build_feed(plan: Plan, recipe: GeneralDistill, store: TokenStore) -> DistillFeed:
    """Build what gives every step its rows and masks."""
    (phase,) = plan.phases
    return DistillFeed(
        store,
        phase.sampler,
        global_batch_size=phase.global_batch_size,
        sites=dropout_sites(plan.networks["student"], recipe.data.seq_length),
        seed=recipe.seed,
        padding=recipe.distill.padding,
    )


def _groups(distiller: Distiller) -> dict[str, list[ms.Parameter]]:
    return {
        "teacher": list(distiller.teacher.get_parameters()),
        "student": list(distiller.student.get_parameters()),
        "fit_dense": list(distiller.fit.get_parameters()),
    }


def _requested(plan: Plan, recipe: GeneralDistill) -> dict[str, object]:
    """Return what the recipe asks for: the student is trained, but for its unused pooler."""
    teacher, student = plan.networks["teacher"], plan.networks["student"]
    trained = [f"student.{n}" for n in encoder_shapes(student) if not n.startswith("pooler.")]
    trained += fit_shapes(student, teacher, recipe.distill.fit_dense)
    (phase,) = plan.phases
    return build.requested_facts(plan, phase, recipe.optimizer, recipe.loss_scale, trained)


def _training_metrics(trace: Path) -> dict[str, float]:
    """Return the last step's loss and parts, and their means over the last steps."""
    last = deque(read_trace(trace), maxlen=MEAN_STEPS)
    series = {"loss": [r.loss for r in last]}
    for part in PARTS:
        series[part] = [r.parts[part] for r in last]
    return {name: values[-1] for name, values in series.items()} | {
        f"mean_{name}": fmean(values) for name, values in series.items()
    }


class _Losses(Part):
    """The distiller without dropout, compiled."""

    def __init__(self, distiller: Distiller) -> None:
        super().__init__()
        self.distiller = distiller

    @ms.jit  # type: ignore[untyped-decorator]
    def construct(self, *batch: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """Return the distiller's outputs."""
        losses: tuple[ms.Tensor, ...] = self.distiller(*batch)
        return losses


def _held_out_metrics(
    distiller: Distiller, recipe: GeneralDistill, store: TokenStore, batch_size: int
) -> dict[str, float]:
    """Return the mean loss and parts over all rows of a held-out set, without dropout."""
    losses = _Losses(distiller)
    starts = range(0, store.rows, batch_size)
    rows = [np.arange(first, min(first + batch_size, store.rows)) for first in starts]
    tokens = np.concatenate([store.batch(part).input_mask.sum(axis=1) for part in rows])
    weights = row_weights(
        tokens, np.ones(store.rows, bool), store.seq_length, recipe.distill.padding
    )
    totals = np.zeros(1 + len(PARTS))
    for part in rows:
        missing = (0, batch_size - len(part))  # rows of weight 0 fill the last batch
        batch = store.batch(np.pad(part, missing))
        shares = [np.pad(weight[part], missing) for weight in weights]
        inputs = (batch.input_ids, batch.segment_ids, batch.input_mask, *shares)
        totals += [output.asnumpy().item() for output in losses(*map(ms.Tensor, inputs))]
    return dict(zip((f"eval_{name}" for name in ("loss", *PARTS)), totals.tolist(), strict=True))
