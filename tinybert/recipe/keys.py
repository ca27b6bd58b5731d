"""The tables of a recipe by their paths, and how keys and values are written in TOML."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_origin

from tinybert.recipe.tables import Bounds, Table

TablePath = tuple[str, ...]
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

BATCH_SIZES = ("batch_size", "global_batch_size")
LENGTHS = ("epoch_size", "train_steps")
WARMUPS = ("warmup_steps", "warmup_ratio", "warmup_epoch_ratio")
EXCLUSIVE = (
    ("init", "load_teacher_ckpt_path"),
    ("init", "load_student_ckpt_path"),
    BATCH_SIZES,
    LENGTHS,
    WARMUPS,
)
"""Keys of a table of which a recipe writes exactly one."""


def partners(path: TablePath) -> list[TablePath]:
    """Return the keys that a key excludes from its table."""
    groups = (group for group in EXCLUSIVE if path[-1] in group)
    return [(*path[:-1], key) for group in groups for key in group if key != path[-1]]


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as TOML writes a dotted key."""
    parts = map(str, path)
    return ".".join(part if BARE_KEY.fullmatch(part) else as_toml(part) for part in parts)


def listed(words: Sequence[str], last: str = "or") -> str:
    """Return words as a sentence lists them: `a, b or c`."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def as_toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        inner = ", ".join(f"{dotted((key,))} = {as_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return str(value)


@cache
def all_tables(table: type[Table], path: TablePath = ()) -> Mapping[TablePath, type[Table]]:
    """Return the table itself and every table in it, by path, outer tables first."""
    tables = {path: table}
    for key, field in table.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, Table):
                tables.update(all_tables(kind, (*path, key)))
    return tables


def table_at(stage: type[Table], path: TablePath) -> type[Table] | None:
    """Return the table that belongs at a path, or None."""
    if path[:2] == ("expect", "metrics") and len(path) == 3:
        return Bounds
    return all_tables(stage).get(path)
