"""Apply the changes of the command line to a recipe: `--set KEY=VALUE` and `--device`."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import tomli

from tinybert.recipe.problems import Place, Problem
from tinybert.recipe.source import Document, KeyPath
from tinybert.strict_json import MAX_DEPTH, nests_deeply


def overridden(
    document: Document, overrides: Sequence[str], device: str | None
) -> tuple[Document, list[Problem]]:
    """Return the document with all overrides in order, and a problem for each that is malformed.

    A device other than the recipe's changes that key alone; on a CPU there is no other memory to
    sink data into, so that `--device CPU` also turns this off.
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
            document = _with_value(document, path, _parsed(text.strip()), place)
        except ValueError as error:
            problems.append(Problem(str(error), place, "for example --set training.train_steps=8"))
    return document, problems


def _parsed(text: str) -> Any:
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
    above: dict[KeyPath, Place] = {path[:length]: place for length in range(1, len(path))}
    keys = above | _without(document.keys, path) | {path: place}
    places = _without(document.places, path) | {path: place}
    return replace(document, values=values, keys=keys, places=places)


def _without(places: dict[KeyPath, Place], path: KeyPath) -> dict[KeyPath, Place]:
    return {key: place for key, place in places.items() if key[: len(path)] != path}
