"""Kinds of arguments, and what the parsers and the functions of several commands share."""

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar

from tinybert.terminal import printable


class RunName(str):
    """The name of a run in an argument; the command is given its manifest in its place."""


RUN_NAME = "a manifest, the beginning of a run's name, `latest`, or a recipe"

_INTEGER = re.compile(r"-?[0-9]{1,25}")

Options = TypeVar("Options")
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are printable."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the arguments, and end with 2."""
        super().error(printable(message))


def integer(text: str) -> int:
    """Read an integer below 2^31, such as a count."""
    return _below(1 << 31, text)


def seed(text: str) -> int:
    """Read a seed: an integer below 2^53, which JSON keeps exactly."""
    return _below(1 << 53, text)


def _below(limit: int, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    if abs(value := int(text)) >= limit:
        raise argparse.ArgumentTypeError(f"{text} is not below {limit}")
    return value


def add_root(
    command: argparse.ArgumentParser, program: Path, what: str, dest: str = "root"
) -> None:
    """Add the directory that paths of a command start from.

    Args:
        command: The command.
        program: Directory of runner.py.
        what: What is in the directory.
        dest: Name of the option among the command's parameters.
    """
    command.add_argument(
        "--root",
        dest=dest,
        type=Path,
        default=program,
        metavar="DIR",
        help=f"{what} (default: beside runner.py)",
    )


def add_force(command: argparse.ArgumentParser) -> None:
    """Add the option by which a command replaces what is there."""
    command.add_argument("--force", action="store_true", help="replace what is there")


def take(kind: type[Options], options: dict[str, Any]) -> Options:
    """Return a dataclass of the options that are its fields, and remove them from `options`."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: options.pop(name) for name in names})
