"""A recipe's text: values by tomli, the place of every key and value by tree-sitter.

`--set` and `--device` change values, whose place is then the option.
"""

import re
from ast import literal_eval
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli
import tree_sitter
import tree_sitter_toml

from tinybert.errors import RecipeError
from tinybert.files import read_file
from tinybert.recipe.keys import dotted, partners
from tinybert.recipe.problems import InvalidRecipeError, Place, Problem
from tinybert.strict_json import MAX_DEPTH, nests_deeply

KeyPath = tuple[str | int, ...]

MAX_BYTES = 1 << 20
"""The size of a recipe at most; ordinary ones have a few thousand bytes."""
HINTS = {
    "Invalid value": "a string needs quotes; true and false are lower case",
    "Illegal character '\\n'": "close the quotes on the same line",
}
"""The likeliest cure, by tomli's message."""


@dataclass(frozen=True)
class Document:
    """A TOML document with the place of each key and value.

    Args:
        name: The file as the user named it.
        values: The values that tomli read.
        keys: Place of each key, table header and array item, by its path from the top.
        places: Place of each value but tables with a header, by its path from the top.
    """

    name: str
    values: dict[str, Any]
    keys: dict[KeyPath, Place]
    places: dict[KeyPath, Place]

    def key_place(self, path: KeyPath) -> Place:
        """Return where a key is written, or else the table that should hold it."""
        while path:
            if path in self.keys:
                return self.keys[path]
            path = path[:-1]
        return Place(self.name)

    def value_place(self, path: KeyPath) -> Place:
        """Return where a value is written, or else its key."""
        return self.places.get(path) or self.key_place(path)

    def value(self, path: KeyPath) -> Any:
        """Return the value at a path, or None."""
        value: Any = self.values
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def read_source(path: str | Path) -> bytes:
    """Return a recipe's bytes.

    Raises:
        RecipeError: There is no such file, or it cannot be read.
    """
    try:
        content = read_file(Path(path), MAX_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError("no such recipe", where=str(path)) from None
    except IsADirectoryError:
        cure = "name a recipe, such as recipes/tiny.toml"
        raise RecipeError("a directory, not a recipe", where=str(path), cure=cure) from None
    except OSError as error:
        message = f"the recipe cannot be read: {(error.strerror or str(error)).lower()}"
        raise RecipeError(message, where=str(path)) from None
    if len(content) > MAX_BYTES:
        raise RecipeError(f"the recipe is larger than {MAX_BYTES:,} bytes", where=str(path))
    return content


def parse(name: str, content: bytes) -> Document:
    """Return the document that a recipe's bytes hold.

    Raises:
        InvalidRecipeError: It is not UTF-8, or not TOML.
    """
    text = _decoded(name, content)
    lines = text.split("\n")
    try:
        values = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        message = f"not valid TOML: {error.msg[:1].lower()}{error.msg[1:]}"
        if error.msg.startswith("Cannot "):  # ... declare ('a', 'b') twice
            message = re.sub(r"\(.*\)", lambda key: f"[{dotted(literal_eval(key[0]))}]", message)
        shown = lines[error.lineno - 1].rstrip("\r") if error.lineno <= len(lines) else ""
        place = Place(name, error.lineno, error.colno, 1, shown)
        raise InvalidRecipeError([Problem(message, place, HINTS.get(error.msg, ""))]) from None
    except (ValueError, RecursionError) as error:
        message = f"not valid TOML: {str(error).split(';')[0]}"
        raise InvalidRecipeError([Problem(message, Place(name))]) from None
    if nests_deeply(values):
        raise InvalidRecipeError([Problem("the recipe is nested too deeply", Place(name))])
    locator = _Locator(name, lines)
    locator.visit_document(_parsed(text))
    return Document(name, values, locator.keys, locator.places)


def overridden(
    document: Document, overrides: Sequence[str], device: str | None
) -> tuple[Document, list[Problem]]:
    """Return the document with all overrides in order, and a problem for each that is malformed.

    A device other than the recipe's changes that key alone; on a CPU there is no other memory to
    sink data into, so that `--device CPU` also turns this off. A key without a value is removed; of
    keys that exclude each other, the one that is set takes the place of the others.
    """
    problems = []
    if device is not None:
        place = Place(f"--device {device}")
        if document.value(("topology", "device")) not in (None, device):
            document = _with_value(document, ("topology", "device"), device, place)
        if device == "CPU" and document.value(("runtime", "enable_data_sink")):
            document = _with_value(document, ("runtime", "enable_data_sink"), False, place)
    for override in overrides:
        override = override.encode("utf-8", "replace").decode()
        place = Place(f"--set {override}")
        key, equals, text = override.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        try:
            if not equals or not all(path):
                raise ValueError("expected KEY=VALUE")
            if len(path) > MAX_DEPTH:
                raise ValueError("the key has too many parts")
            if text.strip():
                document = _with_value(document, path, _toml_value(text.strip()), place)
            elif document.value(path) is not None:
                document = _without_value(document, path)
            else:
                message = f"`{dotted(path)}` is not there to be removed"
                problems.append(Problem(message, place, _near_written(document, path)))
        except ValueError as error:
            problems.append(Problem(str(error), place, "for example --set training.train_steps=8"))
    return document, problems


def _near_written(document: Document, path: tuple[str, ...]) -> str:
    """Return what to do about a key that cannot be removed."""
    written = [dotted(key) for key in document.keys]
    near = get_close_matches(dotted(path), written, 1, 0.8)
    return f"use `{near[0]}`" if near else "leave it out: the recipe does not write it"


def _toml_value(text: str) -> Any:
    """Return a TOML value; a word that is not TOML is taken as a string."""
    try:
        values = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):
        values = {} if text.startswith(('"', "'", "[", "{")) else {"value": text}
    if [*values] != ["value"]:
        raise ValueError("the value is not TOML")
    if nests_deeply(values):
        raise ValueError("the value is nested too deeply")
    return values["value"]


def _with_value(document: Document, path: tuple[str, ...], value: Any, place: Place) -> Document:
    """Return the document with another value at a path; its place is the override."""
    values = deepcopy(document.values)
    table = values
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ValueError(f"`{part}` is not a table")
    table[path[-1]] = value
    keys, places = _without(document.keys, path), _without(document.places, path)
    for partner in partners(path):
        table.pop(partner[-1], None)
        keys, places = _without(keys, partner), _without(places, partner)
    above: dict[KeyPath, Place] = {path[:length]: place for length in range(1, len(path))}
    keys, places = above | keys | {path: place}, places | {path: place}
    return replace(document, values=values, keys=keys, places=places)


def _without_value(document: Document, path: tuple[str, ...]) -> Document:
    """Return the document without a key or a table that it has."""
    values = deepcopy(document.values)
    table = values
    for part in path[:-1]:
        table = table[part]
    del table[path[-1]]
    keys, places = (_without(each, path) for each in (document.keys, document.places))
    return replace(document, values=values, keys=keys, places=places)


def _without(places: dict[KeyPath, Place], path: KeyPath) -> dict[KeyPath, Place]:
    return {key: place for key, place in places.items() if key[: len(path)] != path}


def _decoded(name: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        shown = content.split(b"\n")[line - 1].decode("utf-8", "replace")
        problem = Problem(
            f"not UTF-8: byte 0x{content[error.start]:02x}",
            Place(name, line, column, 1, shown.rstrip("\r")),
            "save the file as UTF-8",
        )
        raise InvalidRecipeError([problem]) from None
    if text.startswith("\ufeff"):
        shown = text[1:].split("\n")[0].rstrip("\r")
        problem = Problem(
            "the file starts with a byte order mark",
            Place(name, 1, 1, 1, shown),
            "save the file as UTF-8 without byte order mark",
        )
        raise InvalidRecipeError([problem])
    return text


def _parsed(text: str) -> tree_sitter.Node:
    language = tree_sitter.Language(tree_sitter_toml.language())
    return tree_sitter.Parser(language).parse(text.encode()).root_node


class _Locator:
    """Walks a syntax tree and notes the place of each key and value.

    The document is valid: what tree-sitter does not understand (it knows TOML 1.0, tomli 1.1)
    is left out, and its place is then that of the table around it.
    """

    def __init__(self, name: str, lines: list[str]) -> None:
        self.keys: dict[KeyPath, Place] = {}
        self.places: dict[KeyPath, Place] = {}
        self._name = name
        self._lines = [line.rstrip("\r") for line in lines]
        self._columns: dict[int, Sequence[int]] = {}
        self._table_arrays: dict[KeyPath, int] = {}

    def visit_document(self, root: tree_sitter.Node) -> None:
        for node in root.named_children:
            if node.type == "pair":
                self._visit_pair(node, ())
            elif node.type in ("table", "table_array_element"):
                table = self._visit_header(node)
                for child in node.named_children[1:]:
                    if child.type == "pair":
                        self._visit_pair(child, table)

    def _visit_header(self, node: tree_sitter.Node) -> KeyPath:
        """Note a `[table]` or `[[table]]`; return its path, for the latter with an index."""
        path: KeyPath = ()
        *outer, (last, _) = self._parts(node.named_children[0])
        for name, part in outer:
            path = (*path, name)
            self.keys.setdefault(path, self._place(part, part))
            if path in self._table_arrays:
                path = (*path, self._table_arrays[path])
        path = (*path, last)
        place = self._place(node.children[0], node.children[2])
        if node.type == "table_array_element":
            self.keys.setdefault(path, place)
            self._table_arrays[path] = self._table_arrays.get(path, -1) + 1
            path = (*path, self._table_arrays[path])
        self.keys[path] = place
        return path

    def _visit_pair(self, node: tree_sitter.Node, table: KeyPath) -> None:
        children = _without_comments(node)
        if len(children) != 2:
            return
        path = table
        for name, part in self._parts(children[0]):
            path = (*path, name)
            self.keys.setdefault(path, self._place(part, part))
        self._visit_value(children[1], path)

    def _visit_value(self, node: tree_sitter.Node, path: KeyPath) -> None:
        self.places[path] = self._place(node, node)
        children = _without_comments(node)
        if node.type == "inline_table":
            for pair in children:
                self._visit_pair(pair, path)
        elif node.type == "array":
            for index, item in enumerate(children):
                inner = (*path, index)
                self.keys[inner] = self._place(item, item)
                self._visit_value(item, inner)

    def _parts(self, node: tree_sitter.Node) -> Iterator[tuple[str, tree_sitter.Node]]:
        """Yield each part of a key with its unquoted name."""
        text = (node.text or b"").decode()
        if node.type == "dotted_key":
            for child in node.named_children:
                yield from self._parts(child)
        elif node.type == "quoted_key":
            (name,) = tomli.loads(f"{text} = 0")
            yield name, node
        elif text:
            yield text, node

    def _place(self, first: tree_sitter.Node, last: tree_sitter.Node) -> Place:
        """Return the place from one node's start to another's end, of which the first line."""
        row, start = first.start_point
        end_row, end = last.end_point
        line = self._lines[row]
        if row not in self._columns:
            self._columns[row] = _columns(line)
        columns = self._columns[row]
        column = columns[min(start, len(columns) - 1)]
        until = columns[min(end, len(columns) - 1)] if end_row == row else len(line)
        return Place(self._name, row + 1, column + 1, max(1, until - column), line)


def _columns(line: str) -> Sequence[int]:
    """Return the characters before each byte of a line, and before its end."""
    if line.isascii():
        return range(len(line) + 1)
    widths = (len(char.encode()) for char in line)
    return [column for column, width in enumerate(widths) for _ in range(width)] + [len(line)]


def _without_comments(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    return [child for child in node.named_children if child.type != "comment"]
