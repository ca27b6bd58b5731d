"""The written values of a recipe that are valid by themselves, for the rules between keys."""

from collections.abc import Iterator, Sequence
from typing import Any

from tinybert.recipe.diagnose import Diagnosis
from tinybert.recipe.keys import TablePath, dotted, listed
from tinybert.recipe.problems import Problem
from tinybert.recipe.source import Document, KeyPath


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
