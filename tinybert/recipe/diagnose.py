"""Turn pydantic's errors about single values into problems with place and cure.

What is valid by itself is left for the rules between keys.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

import tomli
from pydantic_core import ErrorDetails

from tinybert.recipe.keys import TablePath, all_tables, as_toml, dotted, listed
from tinybert.recipe.model import STAGES
from tinybert.recipe.problems import Problem
from tinybert.recipe.source import Document, KeyPath
from tinybert.recipe.suggest import suggest
from tinybert.recipe.tables import Table

LINKED = ("load_teacher_ckpt_path", "load_student_ckpt_path")
CHOICES = {key: "path or link" for key in LINKED} | {"layer_map": "string or array"}
"""Keys with a choice of types, after which pydantic's location names the type."""

EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "table",
    "float_type": "number",
    "int_type": "integer",
    "model_type": "table",
    "string_type": "string",
    "tuple_type": "array",
}
MAX_LISTED = 100
"""Unknown keys of a table, or wrong items of an array, that are reported one by one."""
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass
class Diagnosis:
    """The problems of single values, and the keys that rules between values must treat apart."""

    problems: list[Problem] = field(default_factory=list)
    broken: set[KeyPath] = field(default_factory=set)
    """Keys that are written, but not valid."""
    meant: set[KeyPath] = field(default_factory=set)
    """Keys that are not written, but that an unknown key probably stands for."""


class ValidValues:
    """A recipe's values without the broken ones.

    Rules run even if other values are broken, so that one pass finds all problems: a rule skips
    a value that is missing or broken, and takes a misspelt key for the one it stands for.
    """

    def __init__(self, document: Document, diagnosis: Diagnosis) -> None:
        self.document = document
        self._diagnosis = diagnosis

    def get(self, *path: str) -> Any:
        """Return a value; None if it is not written, or not valid."""
        above = (path[: length + 1] for length in range(len(path)))
        broken = not self._diagnosis.broken.isdisjoint(above)
        return None if broken else self.document.value(path)

    def has(self, *path: str) -> bool:
        """Return whether a key is written, be it broken or misspelt."""
        return self.document.value(path) is not None or path in self._diagnosis.meant

    def table(self, *path: str) -> bool:
        """Return whether a table is written, and is a table."""
        return isinstance(self.get(*path), dict)

    def networks(self) -> list[str]:
        """Return which of `[teacher]` and `[student]` are written."""
        return [name for name in ("teacher", "student") if self.table(name)]

    def shared(self, network: str, key: str) -> Any:
        """Return a key of a network, from its own table or from `[network]`."""
        own = self.get(network, key)
        return self.get("network", key) if own is None else own

    def trainings(self) -> list[TablePath]:
        """Return the tables that hold an optimizer and a length: the phases, or the top."""
        phases: list[TablePath] = [(name,) for name in ("phase1", "phase2") if self.has(name)]
        return phases or [()]

    def at_value(self, path: KeyPath, message: str, cure: str = "") -> Problem:
        """Return a problem whose place is a value, or what surrounds it."""
        return Problem(message, self.document.value_place(path), cure)

    def at_key(self, path: KeyPath, message: str, cure: str = "") -> Problem:
        """Return a problem whose place is a key or a table's header, or what surrounds it."""
        return Problem(message, self.document.key_place(path), cure)

    def not_above(self, path: TablePath, limit: TablePath) -> Iterator[Problem]:
        """Check that a number does not exceed another one, where both are written."""
        value, most = self.get(*path), self.get(*limit)
        if value is not None and most is not None and value > most:
            yield self.at_value(path, f"`{path[-1]}` {value} exceeds `{limit[-1]}` {most}")

    def exactly_one(self, table: TablePath, keys: Sequence[str]) -> Iterator[Problem]:
        """Check that a table, if it is written, has exactly one of some keys."""
        if table and not self.table(*table):
            return
        written = [key for key in keys if self.document.value((*table, key)) is not None]
        where = f"in [{dotted(table)}]" if table else "at the top level"
        if not any(self.has(*table, key) for key in keys):
            names = listed([f"`{key}`" for key in keys])
            yield self.at_key(table, f"missing {names} {where}")
        for key in written[1:]:
            message = f"`{written[0]}` and `{key}` are both written {where}"
            yield self.at_key((*table, key), message, "keep one of them")


def diagnose(document: Document, stage: type[Table], errors: Sequence[ErrorDetails]) -> Diagnosis:
    """Return a problem for every error; all keys that a table lacks make one problem."""
    diagnosis = Diagnosis()
    problems: dict[Problem, None] = {}
    missing: dict[KeyPath, list[str]] = {}
    many: dict[KeyPath, list[KeyPath]] = {}
    for error in sorted(errors, key=lambda error: error["type"] != "extra_forbidden"):
        path = _key_path(error["loc"])
        *table, key = path
        if isinstance(key, int) or error["type"] == "extra_forbidden":
            many.setdefault(tuple(table), []).append(path)
            if len(many[tuple(table)]) > MAX_LISTED:
                continue
        if error["type"] not in ("extra_forbidden", "missing") or isinstance(key, int):
            problem = _bad_value(document, path, error)
        elif table and table[-1] in LINKED:
            path = tuple(table)
            problem = _bad_link(document, path)
        elif error["type"] == "missing":
            if path not in diagnosis.meant:
                missing.setdefault(tuple(table), []).append(key)
            continue
        else:
            names = tuple(map(str, table))
            suggestion = suggest(stage, names, key)
            diagnosis.meant.update(suggestion.meant)
            problem = _unknown_key(document, path, suggestion.cure)
        problems[problem] = None
        whole = next((at for at, part in enumerate(path) if isinstance(part, int)), len(path))
        diagnosis.broken.add(path[:whole])
    diagnosis.problems += problems
    for place, paths in many.items():
        if len(paths) > MAX_LISTED:
            where = f"in `{dotted(place)}`" if place else "at the top level"
            message = f"{len(paths) - MAX_LISTED:,} more problems {where}"
            diagnosis.problems.append(Problem(message, document.key_place(paths[MAX_LISTED])))
    for place, keys in missing.items():
        diagnosis.problems += _missing(document, stage, tuple(map(str, place)), keys)
    return diagnosis


def _key_path(location: Sequence[str | int]) -> KeyPath:
    """Return pydantic's location without the parts that are not keys."""
    return tuple(
        part
        for before, part in zip(("", *location), location, strict=False)
        if before not in CHOICES and part != "[key]"
    )


def _unknown_key(document: Document, path: KeyPath, cure: str) -> Problem:
    *table, key = path
    where = f"in [{dotted(table)}]" if table else "at the top level"
    message = f"unknown key `{dotted((key,))}` {where}"
    if isinstance(document.value(path), dict):
        message = f"unknown table [{dotted(path)}]"
    return Problem(message, document.key_place(path), cure)


def _missing(
    document: Document, stage: type[Table], table: tuple[str, ...], keys: Sequence[str]
) -> list[Problem]:
    """Return a problem for each table that is missing, and one for all missing keys."""
    known = all_tables(stage)
    place = document.key_place(table)
    tables = [(*table, key) for key in keys if (*table, key) in known]
    problems = [Problem(f"missing table [{dotted(path)}]", place) for path in tables]
    names = [key for key in keys if (*table, key) not in known]
    if names:
        problems.append(missing_keys(document, known[table], table, names))
    return problems


def missing_keys(
    document: Document, fields: type[Table], table: KeyPath, keys: Sequence[str]
) -> Problem:
    """Return the problem that a table lacks keys, with an example for each that has one."""
    where = f"in [{dotted(table)}]" if table else "at the top level"
    names = listed([f"`{key}`" for key in keys], "and")
    assignments = [
        f"`{key} = {as_toml(examples[0])}`"
        for key in keys
        if (examples := fields.model_fields[key].examples)
    ]
    message = f"missing {'key' if len(keys) == 1 else 'keys'} {names} {where}"
    cure = f"for example {', '.join(assignments)}" if assignments else ""
    return Problem(message, document.key_place(table), cure)


def _bad_link(document: Document, path: KeyPath) -> Problem:
    value = document.value(path)
    got = "both" if {"manifest", "recipe"} <= set(value) else "neither"
    if got == "neither" and value:
        got = listed([f"`{dotted((key,))}`" for key in value], "and")
    return Problem(
        f"a link names either `manifest` or `recipe`, and nothing else, got {got}",
        document.value_place(path),
        'write { manifest = "manifests/....json" } or { recipe = "recipes/....toml" }',
    )


def _bad_value(document: Document, path: KeyPath, error: ErrorDetails) -> Problem:
    kind, value, limits = error["type"], error["input"], error.get("ctx", {})
    name = f"`{dotted(path[-1:])}`"
    if isinstance(path[-1], int):
        name = f"item {path[-1] + 1} of `{path[-2]}`"
    cure = ""
    if kind == "missing":
        message, path = f"too few items in `{path[-2]}`", path[:-1]
    elif kind == "literal_error":
        message = f"unknown value {_shortened(value)} for {name}"
        if not isinstance(value, str):
            message = f"expected string for {name}, got {_type_name(value)}"
        choices = [*STAGES] if path == ("stage",) else re.findall(r"'(.*?)'", limits["expected"])
        cure = "use " + listed([as_toml(choice) for choice in choices])
    elif kind in EXPECTED:
        expected = CHOICES.get(str(path[-1]), EXPECTED[kind])
        message = f"expected {expected} for {name}, got {_type_name(value)}"
        cure = _type_cure(expected, path, value)
    elif kind in BOUNDS and limits.get("le") == 0:
        message = f"expected 0 for {name}, got {as_toml(value)}"
        cure = "leave it out, or write 0.0: nothing is dropped in a network that is not trained"
    elif kind in BOUNDS:
        limit, words = BOUNDS[kind]
        message = f"expected {words} {limits[limit]:.16g} for {name}, got {_shortened(value)}"
    elif kind == "finite_number":
        message = f"expected a finite number for {name}, got {as_toml(value)}"
    elif kind == "string_pattern_mismatch":
        message = f"{name} has a control character" if value else f"{name} is empty"
    elif kind == "too_short":
        message = f"{name} is empty"
    elif kind == "too_long":
        message = f"too many items in {name}"
    else:
        message = f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    return Problem(message, document.value_place(path), cure)


def _shortened(value: Any) -> str:
    text = as_toml(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _type_name(value: Any) -> str:
    """Return TOML's word for a value's type."""
    names = {bool: "boolean", int: "integer", float: "float", str: "string", list: "array"}
    names |= {dict: "table", datetime: "date-time", date: "date", time: "time"}
    return names[type(value)]


def _items(value: str | int | float) -> list[Any]:
    """Return a value as an array, of numbers where it is a text with some."""
    try:
        items: list[Any] = tomli.loads(f"items = [{value}]")["items"]
    except (ValueError, RecursionError):
        return [value]
    return items if all(isinstance(item, int | float) for item in items) else [value]


def _type_cure(expected: str, path: KeyPath, value: Any) -> str:
    """Return how to write a value of another type, where the meaning is clear."""
    if expected == "string or array":
        return 'write "uniform", "top", "bottom", or the teacher layer of each student layer'
    if expected == "path or link":
        return 'write a path, { manifest = "..." } or { recipe = "..." }'
    if expected == "table":
        return f"write it as a table, [{dotted(path)}]"
    if expected == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'write "{value}"'
    if expected == "array" and isinstance(value, str | int | float):
        return f"write {as_toml(_items(value))}"
    if expected == "true or false":
        meant = {"true": "true", "1": "true", "false": "false", "0": "false"}
        word = meant.get(str(value).lower())
        return f"write {word}" if word else ""
    if expected == "integer" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if expected in ("integer", "number") and isinstance(value, str):
        pattern = r"[+-]?\d+" if expected == "integer" else r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?"
        return f"write {value}, without quotes" if re.fullmatch(pattern, value, re.ASCII) else ""
    return ""
