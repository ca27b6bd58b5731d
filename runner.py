"""The command line: parse, dispatch, exit code. `python runner.py --help` lists the commands."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from tinybert.errors import TinybertError, UsageError

COMMANDS = ("run", "validate", "explain", "schema", "diff", "verify", "show", "lineage")
COMMANDS += ("prepare", "doctor")
OUR_BUG = 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in COMMANDS and not given[0].startswith("-"):
        given.insert(0, "run")
    options = _parser().parse_args(given)
    try:
        return _dispatch(options)
    except TinybertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if options.command == "run" else UsageError.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()
        print("error: this is a defect of the program; please report it", file=sys.stderr)
        return OUR_BUG


def _dispatch(options: argparse.Namespace) -> int:
    """Import what the command needs, and call it."""
    command = options.command
    if command == "run":
        from tinybert.commands.run import RunOptions, run

        fields = {name: getattr(options, name) for name in RunOptions.__dataclass_fields__}
        return run(RunOptions(**fields))
    if command == "prepare":
        from tinybert.commands.prepare import prepare

        return prepare(options)
    if command == "doctor":
        from tinybert.commands.doctor import doctor

        return _print(*doctor())
    return _print(*_answer(options))


def _answer(options: argparse.Namespace) -> tuple[str, int]:
    """Return text and exit code of a command that needs no framework."""
    command = options.command
    if command == "validate":
        from tinybert.recipe.validate import validate

        return validate(options.recipes, options.format, options.overrides)
    if command == "explain":
        from tinybert.recipe.explain import explain

        return explain(options.recipe, options.key, options.overrides, options.device)
    if command == "schema":
        from tinybert.recipe.schema import schema

        return schema(), 0
    raise AssertionError(command)


def _print(text: str, code: int) -> int:
    if text:
        print(text)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runner.py",
        description="Distil BERT from one TOML recipe per run, with a manifest of what ran.",
        epilog="`runner.py RECIPE` is `runner.py run RECIPE`.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    recipe = argparse.ArgumentParser(add_help=False)
    recipe.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change one value of the recipe; may be repeated",
    )
    recipe.add_argument("--device", choices=("CPU", "Ascend"), help="run on another device")

    run = commands.add_parser("run", parents=[recipe], help="run a recipe, write its manifest")
    run.add_argument("recipe", metavar="RECIPE")
    run.add_argument("--fresh", action="store_true", help="never go on with a run that was cut off")
    run.add_argument("--dry-run", action="store_true", help="check inputs and print the plan")
    run.add_argument("--require-clean", action="store_true", help="refuse uncommitted code")
    run.add_argument("--log-format", choices=("console", "json"), default="console")
    run.add_argument(
        "--root",
        type=Path,
        default=Path(__file__).parent,
        metavar="DIR",
        help="where relative paths start, runs/ and manifests/ are (default: here)",
    )

    validate = commands.add_parser("validate", help="every problem of recipes, in one pass")
    validate.add_argument("recipes", nargs="+", metavar="RECIPE")
    validate.add_argument("--set", dest="overrides", action="append", default=[], metavar="A.B=C")
    validate.add_argument("--format", choices=("text", "json", "github"), default="text")

    explain = commands.add_parser(
        "explain", parents=[recipe], help="each resolved value and where it comes from"
    )
    explain.add_argument("recipe", metavar="RECIPE")
    explain.add_argument("key", nargs="?", default="", metavar="KEY", help="a table or a key")

    commands.add_parser("schema", help="JSON Schema of recipes, for editors")
    commands.add_parser("doctor", help="what this machine can run, and what is missing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
