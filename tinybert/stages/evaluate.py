"""Evaluation: a network's predictions for labelled rows, and their metrics."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tinybert.atomic import atomic_replace, write_bytes
from tinybert.data.labels import IGNORED
from tinybert.data.rows import LabelArray
from tinybert.manifest.digests import tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.plan.plan import Plan
from tinybert.plan.provenance import Provenance
from tinybert.recipe.derived import global_batch_size
from tinybert.recipe.model import Evaluate
from tinybert.stages import build, tasks
from tinybert.train.evaluation import Logits

PREDICTIONS = "predictions"
"""Name of the files in a run's folder: `.safetensors` the arrays, `.jsonl` a line a row."""


def evaluate(
    plan: Plan, recipe: Evaluate, record: RunRecord, outside: build.RunContext
) -> build.StageResult:
    """Measure a network on labelled rows, and keep its predictions."""
    (which,) = plan.networks
    head = tasks.task_heads(plan)[which]
    stores = build.import_stores(plan, outside.world)
    pooler = head.task_type != "ner"
    loaded = build.read_checkpoints(plan, pooler=pooler, heads={which: head})
    provenance = Provenance(stores, loaded)
    network = tasks.task_network(plan, which, loaded, head)
    batch_size = global_batch_size(recipe.data, recipe.topology)
    evaluation = tasks.evaluation(
        plan,
        recipe.task,
        network,
        stores["eval_data"],
        batch_size=batch_size,
        drop_remainder=recipe.data.drop_remainder,
        world=outside.world,
    )
    facts = build.network_facts({which: list(network.get_parameters())}, batch_size)
    outside.world.require_equal("networks and settings", json.dumps(facts, sort_keys=True))
    record.start(effective=build.run_facts(plan) | facts, environment=outside.environment)
    outside.report_activity("evaluating")
    logits, label_ids = evaluation.logits()
    provenance.write(record)
    scopes = {which: "/network-TaskNetwork/"}
    record.update(effective=build.graph_facts(record, plan, "Prediction", scopes))
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
    """Write the predictions: as arrays, which the outcome holds by digest, and as lines."""
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

    def shown(values: LabelArray) -> object:
        plain = values.tolist()
        if names is None or values.dtype.kind == "f":
            return plain
        return names[plain] if isinstance(plain, int) else [names[index] for index in plain]

    lines = []
    for row, (label, prediction) in enumerate(zip(label_ids, predictions, strict=True)):
        line: dict[str, object] = {"row": row}
        counted = label != IGNORED if label.ndim else ...
        line |= {"label": shown(label[counted]), "prediction": shown(prediction[counted])}
        if not label.ndim:
            line["logits"] = [float(value).hex() for value in logits[row]]
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_bytes(path, "".join(lines).encode())
