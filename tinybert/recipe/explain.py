"""What the keys of a recipe mean: the command `explain`."""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

from tinybert.errors import UsageError
from tinybert.recipe.keys import TablePath, as_toml, dotted, listed, table_at
from tinybert.recipe.load import Origin, ResolvedRecipe, leaves, load
from tinybert.recipe.suggest import suggest
from tinybert.recipe.tables import LARGEST, SMALLEST, Table

COLUMNS = 100
"""Of a line at most."""
DERIVED = {("topology", "device_count"): "Processes of the whole run."}


def explain(
    recipe: str, key: str = "", overrides: Sequence[str] = (), device: str | None = None
) -> tuple[str, int]:
    """Return each value of a recipe, or of one table or key, with its origin and meaning.

    Raises:
        RecipeError: The recipe cannot be read, or has problems.
        UsageError: A recipe of this stage has no such key.
    """
    resolved = load(recipe, overrides, device)
    place: TablePath = tuple(key.split(".")) if key else ()
    rows = {path: value for path, value in leaves(resolved.values) if path[: len(place)] == place}
    if not rows:
        return _not_written(type(resolved.recipe), place), 0
    text = _listed(resolved, rows)
    head = f"{recipe}: {resolved.recipe.stage}\ndigest {resolved.digest}\n\n"
    return text if key else head + text, 0


def _listed(recipe: ResolvedRecipe, rows: Mapping[TablePath, Any]) -> str:
    """Return each value with its origin, and its meaning below, under a header for each table."""
    stage = type(recipe.recipe)
    values = {row: f"{dotted(row[-1:])} = {as_toml(value)}" for row, value in rows.items()}
    origins = {row: _origin(recipe.origins[dotted(row)]) for row in rows}
    room = COLUMNS - 2 - max(map(len, origins.values()))
    column = max(0, min(max(map(len, values.values())), COLUMNS // 2, room))
    blocks = []
    for table, members in groupby(rows, key=lambda row: row[:-1]):
        lines = [f"[{dotted(table)}]"] if table else []
        for row in members:
            line = f"{values[row]:{column}}  {origins[row]}".rstrip()
            lines += [line] if len(line) <= COLUMNS else [values[row], f"    {origins[row]}"]
            lines += _wrapped(f"{_meaning(stage, row)} {_allowed(stage, row)}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _wrapped(text: str) -> list[str]:
    indent = "    "
    return wrap(text, COLUMNS, initial_indent=indent, subsequent_indent=indent)


def _allowed(stage: type[Table], row: TablePath) -> str:
    """Return the values that a key may have, as a sentence; empty for texts, arrays and tables."""
    table = table_at(stage, row[:-1])
    if table is None or row[-1] not in table.model_fields:
        return ""
    schema = dict(table.model_json_schema()["properties"][row[-1]])
    drop_null(schema)
    if "enum" in schema:
        return f"Allowed: {listed([as_toml(value) for value in schema['enum']])}."
    if schema.get("type") == "boolean":
        return "Allowed: true or false."
    if schema.get("type") not in ("integer", "number"):
        return ""
    kind = {"integer": "an integer", "number": "a number"}[schema["type"]]
    return f"Allowed: {' '.join([kind, *bounds(schema)])}."


def bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ends of a number's range, but for those of its type."""
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    if least == SMALLEST or above == 0:
        yield "above 0"
    elif least is not None or above is not None:
        yield f"from {least:g}" if above is None else f"above {above:g}"
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if most is not None and most != LARGEST:
        yield f"to {most:g}"
    elif below is not None and below < 1 << 31:
        yield f"below {below:g}"


def _not_written(stage: type[Table], place: TablePath) -> str:
    """Return the meaning of a key that the recipe leaves out."""
    *outer, key = place
    table = table_at(stage, tuple(outer))
    if table_at(stage, place) is None and (table is None or key not in table.model_fields):
        cure = suggest(stage, tuple(outer), key).cure
        raise UsageError(f"unknown key `{dotted(place)}`", cure=cure)
    text = " ".join(f"{_meaning(stage, place)} {_allowed(stage, place)}".split())
    return "\n".join([f"{dotted(place)} is not written", *_wrapped(text)])


def _origin(origin: Origin) -> str:
    if origin.kind in ("file", "set", "device"):
        return origin.place
    return f"{origin.kind} {origin.place}".strip()


def _meaning(stage: type[Table], row: TablePath) -> str:
    """Return what a key means; for a key within a link, what the link means."""
    if row in DERIVED:
        return DERIVED[row]
    for length in range(len(row), 0, -1):
        table = table_at(stage, row[: length - 1])
        if table is not None:
            return field_texts(table).get(row[length - 1], "")
    return ""


def drop_null(field: dict[str, Any]) -> None:
    """Remove the null that stands for a key left out: TOML has none."""
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del field["anyOf"]
        field |= choices[0]


def field_texts(table: type) -> dict[str, str]:
    """Return the string below each field of a class, inherited fields included.

    Pydantic's own way to them reads the source of every class at import, which each start of
    the program would pay for.
    """
    texts: dict[str, str] = {}
    for cls in reversed(table.__mro__):
        file = getattr(sys.modules[cls.__module__], "__file__", None)
        if file is not None:
            texts |= _texts_in(file).get(cls.__name__, {})
    return texts


@cache
def _texts_in(file: str) -> Mapping[str, Mapping[str, str]]:
    """Return the string below each field of each class in a file, by class and field."""
    return {
        node.name: {
            field.target.id: inspect.cleandoc(text.value.value)
            for field, text in pairwise(node.body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in ast.parse(Path(file).read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
