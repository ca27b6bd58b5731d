"""Leaves of the manifest: the class of every fact, and how two runs are compared by it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Kind = Literal["input", "derived", "environment", "output", "volatile"]
Comparator = Literal["exact", "tolerance", "set", "ignored"]


@dataclass(frozen=True)
class Leaf:
    """Class of a fact, and how it is compared.

    `tolerance`: equal bits, or near in the sense of `[expect.tolerance]`. `set`: in any order.
    `ignored`: it follows from other facts, or nothing follows from it.
    """

    kind: Kind
    comparator: Comparator = "exact"

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "x-class": self.kind, "x-comparator": self.comparator}


INPUT = Leaf("input")
INPUT_NOTE = Leaf("input", "ignored")
DERIVED = Leaf("derived")
DERIVED_NOTE = Leaf("derived", "ignored")
ENVIRONMENT = Leaf("environment")
ENVIRONMENT_NOTE = Leaf("environment", "ignored")
ENVIRONMENT_SET = Leaf("environment", "set")
OUTPUT = Leaf("output")
OUTPUT_NUMBER = Leaf("output", "tolerance")
VOLATILE = Leaf("volatile", "ignored")


class Section:
    """A table of the manifest: a frozen dataclass, checked by pydantic where a file is read."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class NoFacts(Section):
    """The table of a part that a run does not have; it is written as `{}`."""


NO_FACTS = NoFacts()


@dataclass(frozen=True)
class Fact:
    """A leaf of a manifest with its value."""

    path: str
    leaf: Leaf
    value: Any


@cache
def field_leaves(table: type) -> Mapping[str, Leaf | None]:
    """Return the leaf of every field of a table; a field that holds further tables has none."""
    hints = get_type_hints(table, include_extras=True)
    return {
        field.name: next(
            (item for item in getattr(hints[field.name], "__metadata__", ()) if type(item) is Leaf),
            None,
        )
        for field in fields(table)
    }


def iterate_facts(table: Section, path: str) -> Iterator[Fact]:
    """Yield every leaf below a table; an open table yields one fact a key, lists by index."""
    for name, leaf in field_leaves(type(table)).items():  # type: ignore[arg-type]
        value = getattr(table, name)
        below = f"{path}.{name}"
        if leaf is not None:
            yield from _flat(value, below, leaf)
        elif isinstance(value, Section):
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
