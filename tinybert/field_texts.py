"""The string below a field of a class, which explains it to users."""

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path


def field_texts(table: type) -> dict[str, str]:
    """Return the string below each field of a class, inherited fields included.

    Pydantic's own way to them reads the source of every class at import, which each start of
    the program would pay for.
    """
    texts: dict[str, str] = {}
    for cls in reversed(table.__mro__):
        file = getattr(sys.modules[cls.__module__], "__file__", None)
        if file is not None:
            texts |= _texts_in(file).get(cls.__name__, {})
    return texts


@cache
def _texts_in(file: str) -> Mapping[str, Mapping[str, str]]:
    """Return the string below each field of each class in a file, by class and field."""
    return {
        node.name: {
            field.target.id: inspect.cleandoc(text.value.value)
            for field, text in pairwise(node.body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in ast.parse(Path(file).read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
