"""The manifest's format for people and editors: `python -m tools.manifest_docs [ROOT]`.

Writes `manifests/manifest.schema.json`, and the table of fields in `manifests/README.md`, from
the model and the text below its fields.
"""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from tinybert.atomic import write_bytes
from tinybert.manifest.leaf import Leaf, Section, field_leaves
from tinybert.manifest.model import Manifest
from tinybert.recipe.explain import field_texts

START = "<!-- fields: written by `python -m tools.manifest_docs` -->\n"
END = "<!-- end of fields -->\n"


def fields(table: type[Section], path: str = "") -> Iterator[tuple[str, str, Leaf | None]]:
    """Yield dotted name, text and leaf of every field of a table and of those below it.

    A field that is neither a leaf nor a table has no leaf; one in a list reads `files[].path`.
    """
    texts, hints = field_texts(table), get_type_hints(table)
    for name, leaf in field_leaves(table).items():
        yield f"{path}{name}", texts.get(name, ""), leaf
        if leaf is None:
            inner, suffix = _table_in(hints[name])
            yield from fields(inner, f"{path}{name}{suffix}.")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a manifest, with class and comparator of every leaf."""
    document = TypeAdapter(Manifest).json_schema()
    tables = {cls.__name__: cls for cls in _subclasses(Section)}
    for name, table in [("Manifest", document), *document["$defs"].items()]:
        texts = field_texts(tables[name])
        for field, definition in table["properties"].items():
            definition["description"] = texts[field]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def field_table() -> str:
    """Return the fields as a table in Markdown."""
    rows = ["| field | class | compared | what it is |", "|---|---|---|---|"]
    for path, text, leaf in fields(Manifest):
        kind, comparator = (leaf.kind, leaf.comparator) if leaf else ("", "")
        rows.append(f"| `{path}` | {kind} | {comparator} | {' '.join(text.split())} |")
    return "\n".join(rows) + "\n"


def write(root: Path) -> None:
    """Write the schema, and the README's table of fields, below `root`."""
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    write_bytes(root / "manifests" / "manifest.schema.json", text.encode())
    readme = root / "manifests" / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    write_bytes(readme, f"{before}{START}{field_table()}{END}{after}".encode())


def _subclasses(table: type) -> Iterator[type]:
    for cls in table.__subclasses__():
        yield cls
        yield from _subclasses(cls)


def _table_in(annotation: Any) -> tuple[type[Section], str]:
    """Return the table that a type holds, and `[]` or `{}` if it holds several.

    Of several tables that a field may hold, the first has all keys of the others.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _table_in(arguments[0])
    if origin in (list, dict):
        return _table_in(arguments[-1])[0], "[]" if origin is list else "{}"
    return annotation, ""


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
