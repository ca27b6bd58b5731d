"""Finished evaluations with predictions of random logits, and records with texts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.fake_runs import EFFECTIVE, ENVIRONMENT, ROOT
from tinybert.data.example import encode_examples
from tinybert.data.sidecar import VOCABULARY
from tinybert.data.tfrecord import write_records
from tinybert.files import digest_file
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import tensor_table
from tinybert.manifest.document import read_manifest
from tinybert.manifest.model import Code, InputFile, Inputs, Parent
from tinybert.manifest.record import RunRecord
from tinybert.metrics.metrics import predicted_labels, task_metrics
from tinybert.metrics.predictions import ARRAYS_FILE, LINES_FILE, Predictions
from tinybert.recipe.load import resolve
from tinybert.recipe.tables import TaskType
from tinybert.run.resume import recipe_facts

ROWS, LENGTH, SEQ_LENGTH = 7, 5, 32
VOCAB = ROOT / "recipes" / "tiny" / "vocab.txt"
RECORDS = "dev.tfrecord"
TAGS = ("O", "B-PER", "I-PER")
TASKS: dict[TaskType, tuple[str, int, tuple[str, ...] | None]] = {
    "classification": ("accuracy", 2, ("indoors", "outdoors")),
    "regression": ("pearson", 1, None),
    "ner": ("entity_f1", 3, TAGS),
}
"""Metric, number of labels and names of the labels."""


def predictions(task_type: TaskType, seed: int = 1) -> Predictions:
    """Return predictions of random logits, which `seed` draws; labels are always the same."""
    dice = np.random.default_rng(1)
    _, count, names = TASKS[task_type]
    shape = (ROWS, LENGTH) if task_type == "ner" else (ROWS,)
    logits = dice.standard_normal((*shape, count)).astype(np.float32)
    labels = dice.integers(0, count, shape).astype(np.int32)
    label_ids = labels if task_type != "regression" else dice.random(shape).astype(np.float32)
    if task_type == "ner":
        label_ids[:, 0] = -100
    if seed != 1:
        logits = np.random.default_rng(seed).standard_normal(logits.shape).astype(np.float32)
    found = predicted_labels(task_type, logits)
    return Predictions(logits, found, label_ids, names, task_type)


def write_texts(path: Path) -> InputFile:
    """Write records whose row N is `[CLS]`, four letters from the Nth on, a piece, and `[SEP]`."""
    tokens = VOCAB.read_text().split("\n")
    letter, piece = tokens.index("a"), next(t for t in tokens if t.startswith("##"))
    ids = np.zeros((ROWS, SEQ_LENGTH), np.int32)
    ids[:, 0], ids[:, 6] = tokens.index("[CLS]"), tokens.index("[SEP]")
    ids[:, 1:5] = letter + np.arange(ROWS)[:, None] + np.arange(4)
    ids[:, 5] = tokens.index(piece)
    with path.open("wb") as file:
        write_records(file, encode_examples({"input_ids": ids}))
    found = digest_file(path)
    return InputFile(role="eval_data", path=path.name, size=found.size, sha256=found.sha256)


def evaluation(
    root: Path, task_type: TaskType, seed: int = 1, parents: Sequence[Parent] = ()
) -> Path:
    """Leave a finished evaluation; returns its manifest."""
    method, count, names = TASKS[task_type]
    text = (ROOT / "recipes" / "tiny" / "tiny_evaluate.toml").read_text()
    for old, new in (
        ('task_type = "classification"', f'task_type = "{task_type}"'),
        ("num_labels = 2", f"num_labels = {count}"),
        ('assessment_method = "accuracy"', f'assessment_method = "{method}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    resolved = resolve("recipes/tiny/tiny_evaluate.toml", text.encode())
    code = {"runner.py": "0" * 64}
    root.mkdir(exist_ok=True)
    inputs = Inputs(
        stage="evaluate",
        recipe=recipe_facts(resolved),
        code=Code(digest=digest(code), files=code),
        files=[write_texts(root / RECORDS)],
        seeds={"seed": 1},
        parents=list(parents),
    )
    kept = predictions(task_type, seed)
    with RunRecord.plan(root, inputs) as record:
        (record.directory / "tokenizer").mkdir()
        (record.directory / "tokenizer" / VOCABULARY).write_bytes(VOCAB.read_bytes())
        effective = replace(EFFECTIVE, global_batch_size=16, rows={"eval_data": ROWS})
        record.start(effective, ENVIRONMENT)
        kept.save(record.directory / ARRAYS_FILE)
        record.checkpoint(0, record.directory / ARRAYS_FILE, tensor_table(kept.arrays()))
        (record.directory / LINES_FILE).write_bytes(kept.lines())
        metrics = task_metrics(
            task_type,
            method,
            kept.predictions,
            kept.label_ids,
            num_labels=count,
            label_names=names,
        )
        record.finish(samples=ROWS, metrics=metrics)
    return record.path


def folder(path: Path) -> Path:
    """Return the folder of a run."""
    return path.parents[1] / read_manifest(path).volatile.directory
