"""The command `explain`: each resolved value of a recipe, its origin and its meaning."""

from collections.abc import Sequence
from itertools import groupby

from tinybert.errors import UsageError
from tinybert.field_texts import field_texts
from tinybert.recipe.base import Table
from tinybert.recipe.keys import TablePath, as_toml, dotted, table_at
from tinybert.recipe.load import Origin, ResolvedRecipe, leaves, load
from tinybert.recipe.suggest import suggest

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
    rows = [row for row in leaves(resolved.values) if row[: len(place)] == place]
    if not rows:
        return _not_written(type(resolved.recipe), place), 0
    text = _listed(resolved, rows)
    head = f"{recipe}: {resolved.recipe.stage}, digest {resolved.digest}\n\n"
    return text if key else head + text, 0


def _listed(recipe: ResolvedRecipe, rows: Sequence[TablePath]) -> str:
    """Return a line for each value, below a header for each table."""
    stage = type(recipe.recipe)
    values = {row: f"{dotted(row[-1:])} = {as_toml(_value(recipe, row))}" for row in rows}
    origins = {row: _origin(recipe.origins[dotted(row)]) for row in rows}
    first, second = (max(map(len, column.values())) for column in (values, origins))
    blocks = []
    for table, members in groupby(rows, key=lambda row: row[:-1]):
        lines = [f"[{dotted(table)}]"] if table else []
        for row in members:
            lines.append(
                f"{values[row]:{first}}  {origins[row]:{second}}  {_meaning(stage, row)}".rstrip()
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _not_written(stage: type[Table], place: TablePath) -> str:
    """Return the meaning of a key that the recipe leaves out."""
    *outer, key = place
    table = table_at(stage, tuple(outer))
    if table_at(stage, place) is None and (table is None or key not in table.model_fields):
        cure = suggest(stage, tuple(outer), key).help
        raise UsageError(f"unknown key `{dotted(place)}`", cure=cure)
    return f"{dotted(place)} is not written\n{_meaning(stage, place)}"


def _value(recipe: ResolvedRecipe, row: TablePath) -> object:
    value: object = recipe.values
    for part in row:
        assert isinstance(value, dict)
        value = value[part]
    return value


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
