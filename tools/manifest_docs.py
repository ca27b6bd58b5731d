"""The manifest's format for people and editors: `python -m tools.manifest_docs [ROOT]`.

Writes `manifests/manifest.schema.json`, and the table of fields in `manifests/README.md`, from
the model and the text below its fields.
"""

import ast
import inspect
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from tinybert.atomic import write_bytes
from tinybert.manifest import model
from tinybert.manifest.leaf import Leaf

START = "<!-- fields: written by `python -m tools.manifest_docs` -->\n"
END = "<!-- end of fields -->\n"


def explanations() -> dict[tuple[str, str], str]:
    """Return the text below every field of the model, by class and field."""
    found = {}
    for node in ast.parse(inspect.getsource(model)).body:
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                ):
                    found[node.name, field.target.id] = inspect.cleandoc(str(text.value.value))
    return found


def fields(
    table: type[model.Section], path: str = ""
) -> Iterator[tuple[str, str, str, Leaf | None]]:
    """Yield dotted name, class, field and leaf of every field of a table and of those below it.

    A field that is neither a leaf nor a table has no leaf; one in a list reads `files[].path`.
    """
    for name, field in table.model_fields.items():
        leaf = next((item for item in field.metadata if isinstance(item, Leaf)), None)
        yield f"{path}{name}", table.__name__, name, leaf
        inner, suffix = _table_in(field.annotation)
        if leaf is None and inner is not None:
            yield from fields(inner, f"{path}{name}{suffix}.")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a manifest, with class and comparator of every leaf."""
    document = model.Manifest.model_json_schema()
    texts = explanations()
    for name, table in [("Manifest", document), *document["$defs"].items()]:
        for field, definition in table["properties"].items():
            definition["description"] = texts[name, field]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def field_table() -> str:
    """Return the fields as a table in Markdown."""
    texts = explanations()
    rows = ["| field | class | compared | what it is |", "|---|---|---|---|"]
    for path, table, field, leaf in fields(model.Manifest):
        kind, comparator = (leaf.kind, leaf.comparator) if leaf else ("", "")
        text = " ".join(texts[table, field].split())
        rows.append(f"| `{path}` | {kind} | {comparator} | {text} |")
    return "\n".join(rows) + "\n"


def write(root: Path) -> None:
    """Write the schema, and the README's table of fields, below `root`."""
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    write_bytes(root / "manifests" / "manifest.schema.json", text.encode())
    readme = root / "manifests" / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    write_bytes(readme, f"{before}{START}{field_table()}{END}{after}".encode())


def _table_in(annotation: Any) -> tuple[type[model.Section] | None, str]:
    """Return the table that a type holds, and `[]` or `{}` if it holds several."""
    if isinstance(annotation, type) and issubclass(annotation, model.Section):
        return annotation, ""
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        found = (_table_in(argument) for argument in arguments)
        return next((table for table in found if table[0]), (None, ""))
    if get_origin(annotation) in (list, dict):
        return _table_in(arguments[-1])[0], "[]" if get_origin(annotation) is list else "{}"
    return None, ""


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
