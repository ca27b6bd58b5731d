"""The command `validate`: every problem of every recipe, in one pass."""

import json
from collections.abc import Sequence
from typing import Literal

from tinybert.errors import RecipeError, counted
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
            {"path": path, "valid": not own, "problems": [as_json(each) for each in own]}
            for path, own in problems.items()
        ]
        return json.dumps({"recipes": report}, indent=2, ensure_ascii=False), worst
    if format == "github":
        lines = [as_github(each, path) for path, own in problems.items() for each in own]
        return "\n".join(lines), worst
    blocks = [as_text(each) for own in problems.values() for each in own]
    counts = {
        path: counted(len(own), "problem") if own else "valid" for path, own in problems.items()
    }
    blocks.append("\n".join(f"{path}: {count}" for path, count in counts.items()))
    return "\n\n".join(blocks), worst
