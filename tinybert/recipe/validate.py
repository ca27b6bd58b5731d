"""The command `validate`: every problem of every recipe, in one pass."""

import json
from collections.abc import Sequence
from typing import Literal

from tinybert.errors import RecipeError
from tinybert.recipe.load import load
from tinybert.recipe.problems import (
    InvalidRecipeError,
    Place,
    Problem,
    as_github,
    as_json,
    as_text,
)

Format = Literal["text", "json", "github"]
FINE, PROBLEMS, UNREADABLE = 0, 1, 2


def validate(
    recipes: Sequence[str], format: Format = "text", overrides: Sequence[str] = ()
) -> tuple[str, int]:
    """Check recipes, each with the same overrides.

    The format is for people, for programs, or for annotations of a GitHub workflow.

    Returns:
        The report, and 0 if all recipes are fine, 1 if one has problems, 2 if one is unreadable.
    """
    problems: dict[str, list[Problem]] = {}
    worst = FINE
    for path in recipes:
        problems[path] = []
        try:
            load(path, overrides)
        except InvalidRecipeError as error:
            problems[path] = error.problems
            worst = max(worst, PROBLEMS)
        except RecipeError as error:
            problems[path] = [Problem(error.message, Place(error.where), error.cure)]
            worst = UNREADABLE
    if format == "json":
        report = [
            {"path": path, "valid": not found, "problems": [as_json(item) for item in found]}
            for path, found in problems.items()
        ]
        return json.dumps({"recipes": report}, indent=2, ensure_ascii=False), worst
    if format == "github":
        lines = [as_github(item, path) for path, found in problems.items() for item in found]
        return "\n".join(lines), worst
    blocks = [as_text(item) for found in problems.values() for item in found]
    blocks.append("\n".join(f"{path}: {_count(found)}" for path, found in problems.items()))
    return "\n\n".join(blocks), worst


def _count(problems: Sequence[Problem]) -> str:
    if not problems:
        return "valid"
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
