"""Metrics of an evaluation are measured anew, and no metric can be taken away or added."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.fake_evaluations import ROOT, TASKS, evaluation, folder, predictions
from tinybert.compare.measured import metric_problems
from tinybert.compare.verify import verify
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import tensor_digest, tensor_table, write_tensor_table
from tinybert.manifest.document import Run, encode_manifest, read_manifest
from tinybert.manifest.model import Code, Inputs, Manifest, Number, Outcome, replace_sections
from tinybert.manifest.record import RunRecord
from tinybert.metrics.metrics import metric_names, task_metrics
from tinybert.metrics.predictions import ARRAYS_FILE, LINES_FILE
from tinybert.recipe.load import resolve
from tinybert.recipe.tables import TaskType
from tinybert.run.resume import recipe_facts


def reseal(path: Path, change: Callable[[Outcome], Outcome]) -> None:
    manifest: Manifest = read_manifest(path)
    changed = replace_sections(manifest, outcome=change(manifest.outcome))
    path.write_bytes(encode_manifest(changed))


@pytest.mark.parametrize("task_type", TASKS)
def test_an_honest_evaluation_is_confirmed(tmp_path: Path, task_type: TaskType) -> None:
    text, code = verify(evaluation(tmp_path, task_type))
    assert (text.splitlines()[0], code) == ("same: every file is what it was", 0)


@pytest.mark.parametrize("task_type", TASKS)
def test_every_metric_of_an_evaluation_is_measured_anew(
    tmp_path: Path, task_type: TaskType
) -> None:
    path = evaluation(tmp_path, task_type)
    whole = path.read_bytes()
    for name, number in read_manifest(path).outcome.metrics.items():
        other = Number.of(float(number) * 0.999 + 1e-4)
        for metric, expected in (
            (other, f"different: outcome.metrics.{name} is {other.hex!r}; its predictions' file"),
            (None, f"different: outcome.metrics.{name} is missing; the recipe has it"),
        ):

            def change(outcome: Outcome, name: str = name, new: Number | None = metric) -> Outcome:
                metrics = {**outcome.metrics, name: new}
                return replace(outcome, metrics={n: m for n, m in metrics.items() if m is not None})

            path.write_bytes(whole)
            reseal(path, change)
            text, code = verify(path)
            assert code == 1
            assert text.startswith(expected), text


def forge_labels(arrays: dict[str, Any]) -> None:
    arrays["label_ids"] = arrays["predictions"]


def forge_predictions(arrays: dict[str, Any]) -> None:
    arrays["predictions"] = arrays["label_ids"]


FORGED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "labels": (forge_labels, "outcome.metrics.accuracy is "),
    "predictions": (forge_predictions, "the predictions are not those of the logits"),
    "a row less": (
        lambda arrays: arrays.update({name: a[1:] for name, a in arrays.items()}),
        "outcome.samples is 7; predictions.safetensors has 6 rows",
    ),
    "no logits": (lambda arrays: arrays.pop("logits"), "the file holds no predictions"),
    "another type": (
        lambda arrays: arrays.update(logits=arrays["logits"].astype(np.float64)),
        "the file holds no predictions",
    ),
    "no rows": (
        lambda arrays: arrays.update({name: a[:0] for name, a in arrays.items()}),
        "the file holds no predictions",
    ),
}


@pytest.mark.parametrize(("forge", "expected"), FORGED.values(), ids=FORGED)
def test_predictions_that_were_forged_and_sealed_again_are_noticed(
    tmp_path: Path, forge: Callable[[dict[str, Any]], None], expected: str
) -> None:
    path = evaluation(tmp_path, "classification")
    file = folder(path) / ARRAYS_FILE
    arrays: dict[str, Any] = load_file(file)
    forge(arrays)
    save_file(arrays, file)
    table = tensor_table(arrays)
    write_tensor_table(folder(path) / f"{ARRAYS_FILE}.tensors.json", table)

    def change(outcome: Outcome) -> Outcome:
        (kept,) = outcome.checkpoints
        return replace(outcome, checkpoints=[replace(kept, tensor_digest=tensor_digest(table))])

    reseal(path, change)
    text, code = verify(path)
    assert code == 1
    assert expected in text


def test_lines_that_were_changed_are_noticed(tmp_path: Path) -> None:
    path = evaluation(tmp_path, "classification")
    lines = folder(path) / LINES_FILE
    lines.write_text(lines.read_text().replace('"outdoors"', '"indoors"', 1))
    assert verify(path)[0].startswith("different: predictions.jsonl: other predictions\n")
    lines.unlink()
    assert verify(path)[0].startswith("different: predictions.jsonl: no such file or directory\n")


def test_predictions_of_an_older_version_have_no_names_and_their_numbers_are_measured(
    tmp_path: Path,
) -> None:
    path = evaluation(tmp_path, "classification")
    file = folder(path) / ARRAYS_FILE
    save_file(load_file(file), file)
    (folder(path) / LINES_FILE).write_text("other lines\n")
    reseal(path, lambda outcome: replace(outcome, metrics={**outcome.metrics, "mf1": Number.of(1)}))
    assert "outcome.metrics.mf1 is '0x1.0000000000000p+0'; its" in verify(path)[0]


LOSSES = {"loss": 0.5, "mean_loss": 0.5}
MEASURED = {"accuracy": 0.75, "mf1": 0.5, "matthews": 0.0, "bf1": 0.5}
BEST = MEASURED | {"accuracy": 0.8}
TRAININGS: dict[str, tuple[dict[str, float], dict[str, float], list[str]]] = {
    "as it is": (LOSSES | MEASURED, BEST, []),
    "a metric less": (
        LOSSES | {name: MEASURED[name] for name in ("accuracy", "mf1", "bf1")},
        BEST,
        ["outcome.metrics.matthews is missing; the recipe has it"],
    ),
    "a loss less": (
        {"loss": 0.5} | MEASURED,
        BEST,
        ["outcome.metrics.mean_loss is missing; the recipe has it"],
    ),
    "entities": (
        LOSSES | MEASURED | {"entity_f1": 0.5},
        BEST,
        ["outcome.metrics.entity_f1 is there; the recipe has no such metric"],
    ),
    "a best metric less": (
        LOSSES | MEASURED,
        {name: BEST[name] for name in ("accuracy", "mf1", "bf1")},
        ["outcome.best_metrics.matthews is missing; the recipe has it"],
    ),
    "a best step that is not": (
        LOSSES | MEASURED,
        BEST | {"accuracy": 0.7},
        ["outcome.best_metrics.accuracy is 0.7, below that of the last step"],
    ),
    "no best step": (
        LOSSES | MEASURED,
        {},
        ["outcome.best_step or outcome.best_checkpoint is None; the recipe chooses a best step"],
    ),
}


@pytest.mark.parametrize(("metrics", "best", "expected"), TRAININGS.values(), ids=TRAININGS)
def test_a_training_has_the_metrics_of_its_task(
    tmp_path: Path, metrics: dict[str, float], best: dict[str, float], expected: list[str]
) -> None:
    text = (ROOT / "recipes" / "tiny" / "tiny_finetune.toml").read_bytes()
    resolved = resolve("recipes/tiny/tiny_finetune.toml", text)
    code = {"runner.py": "0" * 64}
    inputs = Inputs(
        stage="finetune",
        recipe=recipe_facts(resolved),
        code=Code(digest=digest(code), files=code),
        seeds={"seed": 1},
    )
    with RunRecord.plan(tmp_path, inputs) as record:
        for name, is_best in (("step-00000002", False), ("best", True)):
            path = record.directory / f"{name}.safetensors"
            save_file({"x": np.zeros(1)}, path, metadata={"best": "null"})
            record.checkpoint(2, path, tensor_table({"x": np.zeros(1)}), best=is_best)
        step = 2 if best else None
        record.finish(metrics=metrics, best_step=step, best_metrics=best)
    assert [*metric_problems(Run.load(record.path), resolved.recipe, LOSSES)] == expected


def test_metrics_have_the_names_that_are_expected() -> None:
    for task_type, (method, count, names) in TASKS.items():
        kept = predictions(task_type)
        for labels in (names, None) if task_type != "ner" else (names,):
            found = task_metrics(
                task_type,
                method,
                kept.predictions,
                kept.label_ids,
                num_labels=count,
                label_names=labels,
            )
            assert sorted(found) == sorted(metric_names(task_type, count, tags=labels is not None))
