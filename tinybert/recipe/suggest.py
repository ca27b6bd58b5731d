"""Suggestions for unknown keys."""

import difflib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import get_args

from tinybert.recipe.keys import TablePath, all_tables, dotted, listed, table_at
from tinybert.recipe.model import STAGES
from tinybert.recipe.tables import Table, Task

METRIC = Task.model_fields["assessment_method"].annotation

RENAMED = {
    "device_target": "device",
    "device_num": "devices_per_host",
    "device_id": "device_ids",
    "save_checkpoint_steps": "save_ckpt_step",
    "keep_checkpoint_max": "max_ckpt_num",
    "load_gd_ckpt_path": "load_student_ckpt_path",
    "data_dir": "train_data_dir",
    "train_data_dir": "data_dir",
    "train_batch_size": "batch_size",
    "eval_batch_size": "batch_size",
    "epsilon": "eps",
    "lr": "learning_rate",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "max_steps": "train_steps",
    "num_steps": "train_steps",
    "num_train_epochs": "epoch_size",
    "num_epochs": "epoch_size",
    "adam_epsilon": "eps",
    "min_lr": "end_learning_rate",
    "lr_end": "end_learning_rate",
    "num_warmup_steps": "warmup_steps",
    "save_steps": "save_ckpt_step",
    "eval_steps": "save_ckpt_step",
    "save_total_limit": "max_ckpt_num",
    "max_seq_length": "seq_length",
    "max_length": "seq_length",
    "train_file": "train_data_dir",
    "train_dir": "train_data_dir",
    "validation_file": "eval_data_dir",
    "dev_data_dir": "eval_data_dir",
    "metric": "assessment_method",
    "metric_for_best_model": "assessment_method",
    "num_classes": "num_labels",
    "problem_type": "task_type",
    "layers": "num_hidden_layers",
    "num_layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "ffn_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "classifier_dropout": "classifier_dropout_prob",
    "random_seed": "seed",
    "data_seed": "seed",
    "dataloader_drop_last": "drop_remainder",
    "alpha": "hard_label_weight",
    "nnodes": "hosts",
    "nproc_per_node": "devices_per_host",
    "num_gpus": "devices_per_host",
    "init_scale": "loss_scale_value",
}
"""Options of the MindSpore example, of its relatives, and of transformers' trainer that have
another name here."""

GONE = {
    "distribute": "write `hosts` and `devices_per_host` in [topology]",
    "do_train": 'leave it out: every stage trains but `stage = "evaluate"`',
    "do_eval": "leave it out: a dev set is evaluated at every checkpoint, "
    'and by `stage = "evaluate"` alone',
    "save_ckpt_path": "leave it out: checkpoints are in the run's folder, runs/<recipe>/<run id>",
    "load_td1_ckpt_path": "leave it out: phase 2 starts from phase 1's result; without [phase1], "
    "write `load_student_ckpt_path` in [student]",
    "td_phase1_epoch_size": "write `epoch_size` in [phase1.training]",
    "td_phase2_epoch_size": "write `epoch_size` in [phase2.training]",
    "file_format": "leave it out: it is an option of the export command",
    "warmup_proportion": "write `warmup_ratio` in [optimizer.schedule]",
    "warmup": "write `warmup_steps` or `warmup_ratio` in [optimizer.schedule]",
    "max_grad_norm": 'write `clip_norm`, and `clip_by = "global_norm"`, in [optimizer]',
    "gradient_clipping": 'write `clip_norm`, and `clip_by = "global_norm"`, in [optimizer]',
    "adam_beta1": "write `betas`, both in one list, in [optimizer]",
    "adam_beta2": "write `betas`, both in one list, in [optimizer]",
    "beta1": "write `betas`, both in one list, in [optimizer]",
    "beta2": "write `betas`, both in one list, in [optimizer]",
    "lr_scheduler_type": "write `power` in [optimizer.schedule]: 1.0 is linear; "
    '`decay_from = "warmup_end"` is as in transformers',
    "fp16": 'write `compute_type = "float16"` in [network]',
    "bf16": "leave it out: `compute_type` is float32 or float16",
    "model_name_or_path": "write `load_teacher_ckpt_path` in [teacher], or "
    "`load_student_ckpt_path` in [student]",
    "output_dir": "leave it out: results are in the run's folder, runs/<recipe>/<run id>",
    "overwrite_output_dir": "leave it out: every run has a folder of its own",
    "resume_from_checkpoint": "leave it out: the same command goes on with a run that was cut off",
    "logging_steps": "leave it out: every step is in the run's trace",
    "report_to": "leave it out: see the commands `report` and `compare`",
    "dataloader_num_workers": "leave it out: rows are read from a memory-mapped store",
    "do_lower_case": "leave it out: it is an option of the command `prepare`",
    "text_column": "leave it out: it is an option of the command `prepare`",
    "load_best_model_at_end": "leave it out: the best checkpoint is kept, and taken by links",
    "gradient_accumulation_steps": "write `micro_batches` in [data], and the rows of all of them "
    "as `global_batch_size`",
    "label_smoothing_factor": "leave it out: labels are learned as they are",
    "gradient_checkpointing": "leave it out: with `micro_batches` in [data] a step needs "
    "the memory of a part of its rows",
    "optim": 'leave it out: `optimizer = "AdamWeightDecay"` in [optimizer] is AdamW',
}
"""Options of the MindSpore example and of transformers' trainer that are no keys here, and what to
do instead."""

TOP = "at the top level, above all tables"


@dataclass(frozen=True)
class Suggestion:
    """A cure for an unknown key, and the keys that it probably stands for."""

    cure: str
    meant: Sequence[TablePath] = ()


def suggest(stage: type[Table], table: TablePath, key: str) -> Suggestion:
    """Return the likeliest cure for a key that its table does not know."""
    if key in GONE:
        return Suggestion(GONE[key])
    if table == ("expect",) and key in ("loss", *get_args(METRIC)):
        return Suggestion(f"write its bounds in `metrics`: metrics = {{ {key} = {{ min = ... }} }}")
    known = all_tables(stage)
    here = table_at(stage, table)
    own = list(here.model_fields) if here else []
    anywhere = {name for fields in known.values() for name in fields.model_fields}
    if key in anywhere:
        name = key
    elif RENAMED.get(key) in anywhere:
        name = RENAMED[key]
    elif stages := _stages_with(key):
        return Suggestion(f"it is an option of {listed(stages, 'and')} recipes")
    else:
        name = _closest(key, own, 0.6) or _part(key, own) or _closest(key, sorted(anywhere), 0.85)
    if not name:
        return Suggestion(_known_here(known, table, own))
    homes = [path for path, fields in known.items() if name in fields.model_fields]
    homes = [table] if name in own else _nearest(table, homes)
    meant = [(*home, name) for home in homes]
    if meant[0] in known:
        return Suggestion("use " + listed([f"[{dotted(path)}]" for path in meant]), meant)
    if homes == [table]:
        return Suggestion(f"use `{name}`", meant)
    place = "under " + listed([f"[{dotted(home)}]" for home in homes]) if homes[0] else TOP
    return Suggestion(f"it belongs {place}" if name == key else f"use `{name}` {place}", meant)


def _closest(key: str, names: Sequence[str], cutoff: float) -> str:
    key = key.lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(key, names, 1, cutoff)), "")


def _part(key: str, names: Sequence[str]) -> str:
    return next((name for name in names if len(key) > 3 and key.lower() in name), "")


def _nearest(table: TablePath, homes: list[TablePath]) -> list[TablePath]:
    """Return the homes in the same phase or outer table as a table, or else all."""
    return [home for home in homes if home[:1] == table[:1]] or homes


def _stages_with(key: str) -> list[str]:
    return [
        name
        for name, stage in STAGES.items()
        if any(key in table.model_fields for table in all_tables(stage).values())
    ]


def _known_here(known: Container[TablePath], table: TablePath, keys: Sequence[str]) -> str:
    names = [f"[{key}]" if (*table, key) in known else f"`{key}`" for key in keys]
    return f"known here: {listed(names, 'and')}" if names else ""
