"""Leaves of the manifest: the class of every fact, and how two runs are compared by it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Kind = Literal["input", "derived", "environment", "output", "volatile"]
Comparator = Literal["exact", "tolerance", "set", "ignored"]


@dataclass(frozen=True)
class Leaf:
    """Class of a fact, and how it is compared.

    `tolerance`: equal bits, or near in the sense of `[expect.tolerance]`. `set`: order is
    nothing. `ignored`: other facts already say it, or nothing follows from it.
    """

    kind: Kind
    comparator: Comparator = "exact"

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "x-class": self.kind, "x-comparator": self.comparator}


@dataclass(frozen=True)
class Fact:
    """A leaf of a manifest with its value."""

    path: str
    leaf: Leaf
    value: Any


def iterate_facts(table: BaseModel, path: str) -> Iterator[Fact]:
    """Yield every leaf below a table; an open table yields one fact a key, lists by index."""
    for name, field in type(table).model_fields.items():
        leaf = next((item for item in field.metadata if isinstance(item, Leaf)), None)
        below = f"{path}.{name}"
        value = getattr(table, name)
        if leaf is not None:
            yield from _flat(value, below, leaf)
        elif isinstance(value, BaseModel):
            yield from iterate_facts(value, below)
        elif isinstance(value, list | dict):
            items = enumerate(value) if isinstance(value, list) else value.items()
            for key, item in items:
                yield from iterate_facts(item, f"{below}.{key}")


def _flat(value: Any, path: str, leaf: Leaf) -> Iterator[Fact]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}", leaf)
    else:
        yield Fact(path, leaf, value)
