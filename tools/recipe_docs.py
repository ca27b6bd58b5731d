"""Every key of a recipe for people: `python -m tools.recipe_docs [ROOT]`.

Writes the tables of `docs/recipe_reference.md` from the recipe's tables and the text below each
of their fields.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.atomic import write_bytes
from tinybert.recipe.explain import bounds, drop_null, field_texts
from tinybert.recipe.keys import EXCLUSIVE, TablePath, all_tables, as_toml, dotted, listed
from tinybert.recipe.model import STAGES
from tinybert.recipe.network_tables import Model, NetworkKeys
from tinybert.recipe.run_rules import PATHS
from tinybert.recipe.tables import Bounds, Table

PAGE = Path("docs", "recipe_reference.md")
START = "<!-- keys: written by `python -m tools.recipe_docs` -->\n"
END = "<!-- end of keys -->\n"
ORDER = (
    *("network", "teacher", "student", "task", "data", "distill", "phase1", "phase2", "optimizer"),
    *("loss_scale", "training", "checkpoints", "topology", "runtime", "expect"),
)
"""The tables, as recipes have them; those of the phases are described where they first appear."""
ABSENT = re.compile(
    r"(?:;|(?<=\.))\s(?:(?P<unless>Required .+?)|[Aa]bsent(?: or 0)?: (?P<without>.+?))\.(?=\s|$)"
)
"""The sentence that says when a key must be written, or what holds without it."""
REQUIRED = "required"
OPTIONAL_TABLES = {
    "network": "nothing is shared",
    "expect": "nothing is checked",
    "teacher": "required, unless `[student]` is written",
    "student": "required, unless `[teacher]` is written",
    "phase1": "no such phase; one of the two is required",
    "phase2": "no such phase; one of the two is required",
}
"""What holds without a table that may be absent."""
PLURALS = {"integer": "integers", "number": "numbers", "string": "texts"}


@dataclass(frozen=True)
class Row:
    """A key, as some or all stages have it."""

    key: str
    allowed: str
    absent: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """The keys of a table, and of the phases' tables that have the same."""

    names: tuple[str, ...]
    stages: tuple[str, ...]
    """The stages that have the table."""
    rows: Mapping[Row, tuple[str, ...]]
    """Each key, with the stages that have it so."""


def sections() -> list[Section]:
    """Return the top level of a recipe, whose keys are tables too, and each table."""
    found: dict[TablePath, dict[str, list[Row]]] = {}
    for stage, recipe in STAGES.items():
        tables = all_tables(recipe) | {("expect", "metrics", "NAME"): Bounds}
        for path in sorted(tables, key=_place):
            if rows := rows_of(path, tables[path]):
                found.setdefault(path, {})[stage] = rows
    names: dict[TablePath, list[str]] = {}
    having: dict[TablePath, dict[str, list[Row]]] = {}
    for path, stages in found.items():
        home = _home(path, found)
        names.setdefault(home, []).append(dotted(path))
        having.setdefault(home, {}).update(stages)
    return [
        Section(
            tuple(names[home]),
            tuple(stage for stage in STAGES if stage in having[home]),
            _by_row({stage: having[home][stage] for stage in STAGES if stage in having[home]}),
        )
        for home in sorted(names, key=_place)
    ]


def rows_of(path: TablePath, table: type[Table]) -> list[Row]:
    """Return the keys of a table, without the tables in it, of which the top level has all."""
    keys = [key for key in table.model_fields if not path or (*path, key) not in _tables()]
    if issubclass(table, Model):  # `[network]` has the others
        keys = [key for key in keys if key not in NetworkKeys.model_fields]
    return [_row(path, table, key) for key in keys]


def page_tables() -> str:
    """Return the tables of the page in Markdown."""
    lines: list[str] = []
    for section in sections():
        title = listed([f"`[{name}]`" for name in section.names], "and")
        lines += ["## " + (title if section.names[0] else "The top level"), ""]
        if section.stages != tuple(STAGES):
            lines += [f"In {listed([f'`{stage}`' for stage in section.stages], 'and')}.", ""]
        apart = any(stages != section.stages for stages in section.rows.values())
        head = ["key", "allowed", "if absent", *(["in"] if apart else []), "meaning"]
        lines += [_line(head), _line(["---"] * len(head))]
        for row, stages in section.rows.items():
            where = "" if stages == section.stages else ", ".join(f"`{name}`" for name in stages)
            cells = [f"`{row.key}`", row.allowed, row.absent, *([where] if apart else [])]
            lines.append(_line([*cells, row.meaning]))
        lines.append("")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with the tables that it should have."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{page_tables()}\n{END}{rest.partition(END)[2]}"


def write(root: Path) -> None:
    """Write the tables of the page below `root`."""
    path = root / PAGE
    write_bytes(path, page(path.read_text(encoding="utf-8")).encode())


def _tables() -> set[TablePath]:
    return {path for recipe in STAGES.values() for path in all_tables(recipe)}


def _place(path: TablePath) -> int:
    """Return which table of a recipe a path is in or below; the top level is before all."""
    return ORDER.index(path[0]) if path else -1


def _home(path: TablePath, found: Mapping[TablePath, Mapping[str, list[Row]]]) -> TablePath:
    """Return the table that has the keys of a phase's table; another table is its own home."""
    if path[:1] in (("phase1",), ("phase2",)):
        (rows,) = found[path].values()
        for other in (path[1:], ("phase1", *path[1:])):
            if rows in found.get(other, {}).values():
                return other
    return path


def _by_row(stages: Mapping[str, Iterable[Row]]) -> dict[Row, tuple[str, ...]]:
    """Return each row with the stages that have it, rows of one key below each other."""
    having: dict[Row, tuple[str, ...]] = {}
    for stage, rows in stages.items():
        for row in rows:
            having[row] = (*having.get(row, ()), stage)
    keys = list(dict.fromkeys(row.key for row in having))
    return dict(sorted(having.items(), key=lambda item: keys.index(item[0].key)))


def _row(path: TablePath, table: type[Table], key: str) -> Row:
    field = table.model_fields[key]
    meaning = " ".join(field_texts(table)[key].split())
    if not path and key == "stage":
        return Row(key, listed([f'`"{stage}"`' for stage in STAGES]), REQUIRED, meaning)
    absent = _without(table, key)
    if not field.is_required() and (found := ABSENT.search(meaning)):
        absent = found["without"] or found["unless"].replace("Required", REQUIRED)
        meaning = meaning.replace(found[0], "." if found[0][0] == ";" else "")
    schema = dict(table.model_json_schema()["properties"][key])
    drop_null(schema)
    return Row(key, _allowed((*path, key), schema), absent, meaning)


def _without(table: type[Table], key: str) -> str:
    """Return what holds without a key, where the text of the key does not say it."""
    field = table.model_fields[key]
    if issubclass(table, NetworkKeys) and key in NetworkKeys.model_fields:
        return "required in `[teacher]` and in `[student]`"
    groups = [group for group in EXCLUSIVE if key in group]
    names = dict.fromkeys(name for group in groups for name in group if name in table.model_fields)
    if names:
        return f"one of {listed([f'`{name}`' for name in names], 'and')} is required"
    if field.default_factory is None and field.is_required():
        return REQUIRED
    if isinstance(field.default, bool | float):
        return as_toml(field.default)
    return OPTIONAL_TABLES.get(key, "")


def _allowed(path: TablePath, schema: Mapping[str, Any]) -> str:
    """Return the values that a key may have, from its part of the JSON Schema."""
    kind = schema.get("type")
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{as_toml(value)}`" for value in values)
    if path[-1].startswith("load_"):
        return "path, `{ manifest = PATH }` or `{ recipe = PATH }`"
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return ", or ".join(_allowed(path, choice) for choice in choices)
    if kind == "boolean":
        return "`true`, `false`"
    if kind in ("integer", "number"):
        limits = [*bounds(schema)]
        return "0" if limits == ["from 0", "to 0"] else " ".join([kind, *limits])
    if kind == "string":
        return "path" if path in PATHS else "text"
    if kind == "array":
        items = schema.get("prefixItems") or [schema["items"]]
        what = " ".join([PLURALS[items[0]["type"]], *bounds(items[0])])
        return f"{len(items)} {what}" if "prefixItems" in schema else f"list of {what}"
    return {"label_names": "table of texts", "metrics": "table of tables"}.get(path[-1], "table")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
