"""Problems of a recipe with their place, and their three printed forms."""

from collections.abc import Sequence
from dataclasses import dataclass

from tinybert.errors import RecipeError

LINE = 160
"""Characters of a longer line that are printed, those around its mark."""


@dataclass(frozen=True)
class Place:
    """Where something is written.

    Args:
        name: The file, or the `--set` argument.
        line: Counted from 1; 0 for the file as a whole or an argument.
        column: Counted from 1, in characters.
        length: Characters to mark.
        text: The line, without its end.
    """

    name: str
    line: int = 0
    column: int = 0
    length: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a lower-case sentence, its place, and the cure if one is known."""

    message: str
    place: Place
    cure: str = ""


class InvalidRecipeError(RecipeError):
    """A recipe that was read and has problems; `problems` has all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(
            problems, key=lambda p: (p.place.line == 0, p.place.line, p.place.column)
        )
        text = "\n\n".join(as_text(problem) for problem in self.problems)
        super().__init__(text.removeprefix("error: "))


def as_text(problem: Problem) -> str:
    """Return the problem as rustc would print it: message, place, marked line, help."""
    place = problem.place
    lines = [f"error: {problem.message}", f"  --> {place}"]
    if place.line:
        number = str(place.line)
        margin = " " * len(number)
        skipped = max(0, place.column - 1 - LINE // 4) if len(place.text) > LINE else 0
        part = place.text[skipped : skipped + LINE]
        column = place.column - 1 - skipped
        marked = max(1, min(place.length, len(part) - column))
        before, after = "..." * bool(skipped), "..." * (skipped + LINE < len(place.text))
        part = "".join(char if char.isprintable() else " " for char in part)
        lines += [
            f"{margin} |",
            f"{number} | {before}{part}{after}",
            f"{margin} | {' ' * (len(before) + column)}{'^' * marked}",
        ]
    if problem.cure:
        lines.append(f"help: {problem.cure}")
    return "\n".join(lines)


def as_json(problem: Problem) -> dict[str, str | int]:
    """Return the problem as a JSON object; `line` and `column` are 0 without a place in a file."""
    place = problem.place
    return {
        "message": problem.message,
        "place": place.name,
        "line": place.line,
        "column": place.column,
        "length": place.length,
        "help": problem.cure,
    }


def as_github(problem: Problem, file: str) -> str:
    """Return the problem as a workflow command that annotates `file`."""
    place = problem.place
    properties = {"file": file}
    if place.line:
        properties |= {
            "line": str(place.line),
            "col": str(place.column),
            "endColumn": str(place.column + max(1, place.length)),
        }
    listed = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
    message = problem.message if place.line else f"{problem.message} ({place})"
    if problem.cure:
        message += f"\nhelp: {problem.cure}"
    return f"::error {listed}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    """Percent-encode what ends a workflow command's message, or in addition a property."""
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
