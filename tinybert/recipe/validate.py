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
    paths: Sequence[str], output: Format = "text", overrides: Sequence[str] = ()
) -> tuple[str, int]:
    """Return what to print about some recipes, and the exit code.

    Args:
        paths: The recipes.
        output: For people, for programs, or for annotations of a GitHub workflow.
        overrides: `a.b=c` each, as after `--set`; they apply to every recipe.

    Returns:
        The text, and 0 if all recipes are fine, 1 if one has problems, 2 if one is unreadable.
    """
    found: dict[str, list[Problem]] = {}
    worst = FINE
    for path in paths:
        found[path] = []
        try:
            load(path, overrides)
        except InvalidRecipeError as error:
            found[path] = error.problems
            worst = max(worst, PROBLEMS)
        except RecipeError as error:
            found[path] = [Problem(error.message, Place(error.where), error.cure)]
            worst = UNREADABLE
    if output == "json":
        report = [
            {"path": path, "valid": not problems, "problems": [as_json(item) for item in problems]}
            for path, problems in found.items()
        ]
        return json.dumps({"recipes": report}, indent=2, ensure_ascii=False), worst
    if output == "github":
        lines = [as_github(item, path) for path, problems in found.items() for item in problems]
        return "\n".join(lines), worst
    blocks = [as_text(item) for problems in found.values() for item in problems]
    blocks.append("\n".join(f"{path}: {_count(problems)}" for path, problems in found.items()))
    return "\n\n".join(blocks), worst


def _count(problems: Sequence[Problem]) -> str:
    if not problems:
        return "valid"
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
