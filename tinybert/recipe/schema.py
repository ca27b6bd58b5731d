"""The command `schema`: the recipe's JSON Schema, for completion and checks in editors."""

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from tinybert.field_texts import field_texts
from tinybert.recipe.base import ManifestLink, RecipeLink, Table
from tinybert.recipe.keys import all_tables
from tinybert.recipe.model import STAGES
from tinybert.recipe.tables import Bounds


def schema() -> str:
    """Return a JSON Schema that accepts a recipe of any stage.

    Rules between keys (`run_rules.py`, `network_rules.py`) are beyond it.
    """
    _, generated = models_json_schema([(stage, "validation") for stage in STAGES.values()])
    tables: dict[str, type[Table]] = {
        table.__name__: table for stage in STAGES.values() for table in all_tables(stage).values()
    }
    tables |= {table.__name__: table for table in (Bounds, ManifestLink, RecipeLink)}
    definitions: dict[str, Any] = generated["$defs"]
    for name, definition in definitions.items():
        texts = field_texts(tables[name])
        for key, field in definition["properties"].items():
            field.pop("title", None)
            if field.get("default", 0) is None:
                del field["default"]
            _drop_null(field)
            field["description"] = texts[key]
    result = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe of a TinyBERT run",
        "oneOf": [{"$ref": f"#/$defs/{stage.__name__}"} for stage in STAGES.values()],
        "$defs": definitions,
    }
    return json.dumps(result, indent=2, ensure_ascii=False)


def _drop_null(field: dict[str, Any]) -> None:
    """Take away the null that stands for a key left out: TOML has none."""
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del field["anyOf"]
        field |= choices[0]
