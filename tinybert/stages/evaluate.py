"""Evaluation: a network's predictions for labelled rows, and their metrics."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tinybert.atomic import atomic_replace, write_bytes
from tinybert.data.labels import IGNORED
from tinybert.data.rows import LabelArray
from tinybert.manifest.built import RuntimeFacts, TrainingFacts
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.recipe.model import Evaluate
from tinybert.recipe.tables import global_batch_size
from tinybert.stages import build, tasks
from tinybert.train import effective
from tinybert.train.evaluation import Logits

PREDICTIONS = "predictions"
"""Name of the files in a run's folder: `.safetensors` the arrays, `.jsonl` a line a row."""


def evaluate(recipe: Evaluate, context: build.RunContext) -> build.StageResult:
    """Measure a network on labelled rows, and keep its predictions."""
    plan, record = context.plan, context.record
    (role,) = plan.networks
    network = tasks.task_network(plan, role, context.loaded)
    batch_size = global_batch_size(recipe.data, recipe.topology)
    drop_remainder = recipe.data.drop_remainder
    evaluation = tasks.evaluation(
        context, recipe, network, batch_size=batch_size, drop_remainder=drop_remainder
    )
    run = build.run_facts(plan, RuntimeFacts(mode="graph", enable_data_sink=False))
    weights = list(network.get_parameters())
    facts = effective.with_networks(TrainingFacts(), {role: weights}, batch_size)
    context.world.require_equal("networks and settings", digest(facts))
    context.provenance.check(record)
    record.start(run.with_training(facts, None), context.environment)
    context.report_activity("evaluating")
    logits, label_ids = evaluation.logits()
    context.provenance.write(record)
    facts = build.graph_facts(facts, context, "Prediction", {role: "/network-TaskNetwork/"})
    record.update(effective=run.with_training(facts, None))
    predictions = evaluation.predictions(logits)
    _keep(record, logits, predictions, label_ids, plan.labels)
    metrics = evaluation.measured(predictions, label_ids)
    return build.StageResult(True, 0, len(logits), metrics)


def _keep(
    record: RunRecord,
    logits: Logits,
    predictions: LabelArray,
    label_ids: LabelArray,
    names: tuple[str, ...] | None,
) -> None:
    """Write the predictions: as arrays, whose digest is in the outcome, and as lines."""
    named = {"logits": logits, "predictions": predictions, "label_ids": label_ids}
    arrays = {name: np.ascontiguousarray(array) for name, array in named.items()}
    path = record.directory / f"{PREDICTIONS}.safetensors"
    with atomic_replace(path) as temporary:
        save_file(arrays, temporary)
    record.checkpoint(0, path, tensor_table(arrays))
    _write_lines(path.with_suffix(".jsonl"), logits, predictions, label_ids, names)


def _write_lines(
    path: Path,
    logits: Logits,
    predictions: LabelArray,
    label_ids: LabelArray,
    names: tuple[str, ...] | None,
) -> None:
    """Write a line of JSON a row: its labels and predictions by name, its logits in hexadecimal."""

    def named(values: LabelArray) -> object:
        plain = values.tolist()
        if names is None or values.dtype.kind == "f":
            return plain
        return names[plain] if isinstance(plain, int) else [names[index] for index in plain]

    lines = []
    for row, (label, prediction) in enumerate(zip(label_ids, predictions, strict=True)):
        line: dict[str, object] = {"row": row}
        counted = label != IGNORED if label.ndim else ...
        line |= {"label": named(label[counted]), "prediction": named(prediction[counted])}
        if not label.ndim:
            line["logits"] = [float(value).hex() for value in logits[row]]
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_bytes(path, "".join(lines).encode())
