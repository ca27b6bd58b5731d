"""Suggestions for unknown keys."""

import difflib
from collections.abc import Container, Sequence
from dataclasses import dataclass

from tinybert.recipe.keys import TablePath, all_tables, dotted, listed, table_at
from tinybert.recipe.model import STAGES
from tinybert.recipe.tables import Table

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
}
"""Options of the MindSpore example and of its relatives that have another name here."""

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
}
"""Options of the MindSpore example that are no keys here, and what to do instead."""

TOP = "at the top level, above all tables"


@dataclass(frozen=True)
class Suggestion:
    """A cure for an unknown key, and the keys that it probably stands for."""

    help: str
    meant: Sequence[TablePath] = ()


def suggest(stage: type[Table], table: TablePath, key: str) -> Suggestion:
    """Return the likeliest cure for a key that its table does not know."""
    if key in GONE:
        return Suggestion(GONE[key])
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
