"""The commands of the command line and their arguments."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from tinybert.commands.argument_types import Commands, Parser, RunName, add_force, add_root, integer
from tinybert.commands.data_arguments import add_case, add_label_kind, add_prepare
from tinybert.commands.manifest_arguments import add_manifests
from tinybert.commands.network_arguments import add_networks
from tinybert.errors import UsageError
from tinybert.recipe.task_types import ANSWER_TASKS

HOST_RANK = "TINYBERT_HOST_RANK"
"""Environment variable that says which host this is, where several run a recipe."""


def require_utf8(words: Iterable[str]) -> None:
    """Raise a UsageError if an argument has bytes that are no text in this locale.

    Python hands them on as halves of surrogate pairs, which JSON, manifests and tokenizers refuse.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"an argument is not UTF-8: {word!a}",
                cure="name files in UTF-8; where the locale has another encoding: LC_ALL=C.UTF-8",
            ) from error


class _Version(argparse.Action):
    """Prints the version, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Read version and commit only now: both cost time."""
        from tinybert.commands.version import version_text

        print(version_text())
        parser.exit()


def parser(program: Path) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        program: Directory of runner.py, which relative paths start from.
    """
    top = Parser(
        prog="runner.py",
        description="Distil BERT from one TOML recipe per run, with a manifest of what ran.",
        epilog="`runner.py RECIPE` is `runner.py run RECIPE`.",
    )
    top.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="version and commit",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _new(commands, program)
    _run(commands, program)
    _study(commands, program)
    _recipes(commands)
    add_manifests(commands, program)
    add_prepare(commands, program)
    add_networks(commands, program)
    commands.add_parser("doctor", help="what this machine can run, and what is missing")
    completion = commands.add_parser("completion", help="a script for completion in a shell")
    completion.add_argument("shell", choices=("bash", "zsh"))
    return top


def _changes(command: argparse.ArgumentParser, *, device: bool = True) -> None:
    """Add the options that change a recipe's values."""
    command.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change one value of the recipe, or remove it: A.B=; may be repeated",
    )
    if device:
        command.add_argument("--device", choices=("CPU", "Ascend"), help="run on another device")


def _new(commands: Commands, program: Path) -> None:
    new = commands.add_parser(
        "new", help="write the recipes that distil your model on your data, and prepare the data"
    )
    new.add_argument("name", metavar="NAME", help="of recipes/NAME and data/NAME")
    new.add_argument(
        "--teacher", type=Path, required=True, metavar="DIR", help="a model in Hugging Face's files"
    )
    new.add_argument(
        "--student",
        required=True,
        metavar="SIZES",
        help="layers x width, as 4x312; or the directory of a model to begin from",
    )
    new.add_argument(
        "--init",
        choices=("seeded", "teacher"),
        help="where a student of these sizes begins: from the seed, or as layers of the teacher",
    )
    new.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="a raw file, or a directory with prepared records in `train` and `dev`",
    )
    new.add_argument(
        "--dev", type=Path, metavar="PATH", help="the dev set, else every tenth row of the file"
    )
    new.add_argument("--text", metavar="COLUMN", help="of a table: TSV, CSV or JSON lines")
    new.add_argument("--text-pair", metavar="COLUMN", help="the second text")
    new.add_argument("--label", metavar="COLUMN")
    add_label_kind(new)
    new.add_argument(
        "--questions",
        choices=ANSWER_TASKS,
        metavar="TASK",
        help=f"questions about contexts, scored as {', '.join(ANSWER_TASKS)}; not a table",
    )
    new.add_argument("--tags", choices=("conll", "cluener"), help="words with tags, not a table")
    new.add_argument(
        "--corpus",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="plain text, for a general distillation before that of the task",
    )
    new.add_argument(
        "--seq-length", type=integer, default=128, metavar="N", help="of raw data (default: 128)"
    )
    add_case(new)
    new.add_argument("--device", choices=("CPU", "Ascend"), default="CPU", help="(default: CPU)")
    add_force(new)
    add_root(new, program, "where recipes/ and data/ are")


def _run(commands: Commands, program: Path) -> None:
    run = commands.add_parser("run", help="run recipes and write their manifests")
    run.add_argument(
        "recipes",
        nargs="+",
        metavar="RECIPE",
        help="of several, and of the recipes that they link to, those without a finished run are "
        "run, in an order that their links allow",
    )
    run.add_argument(
        "--with-parents", action="store_true", help="the same for one recipe and its links"
    )
    _changes(run)
    run.add_argument("--resume", type=RunName, metavar="RUN", help="go on with this run")
    run.add_argument(
        "--continue",
        dest="continues",
        type=RunName,
        metavar="RUN",
        help="a run of its own, that begins where a finished one of the same recipe ended",
    )
    run.add_argument("--fresh", action="store_true", help="never go on with a run that was cut off")
    run.add_argument("--dry-run", action="store_true", help="check inputs and print the plan")
    run.add_argument("--require-clean", action="store_true", help="refuse uncommitted code")
    run.add_argument(
        "--host-rank",
        type=integer,
        default=os.environ.get(HOST_RANK, "0"),
        metavar="N",
        help=f"this host, from 0, where several run the recipe (default: ${HOST_RANK}, or 0)",
    )
    run.add_argument(
        "--profile",
        type=integer,
        metavar="N",
        help="profile N calls of the device after the first, into the run's folder",
    )
    run.add_argument(
        "--try",
        dest="trial",
        type=integer,
        metavar="N",
        help="a trial of N steps a training, evaluated at its end, without expectations",
    )
    run.add_argument("--study", type=Path, help=argparse.SUPPRESS)  # the command `study` names it
    run.add_argument("--log-format", choices=("console", "json"), default="console")
    add_root(run, program, "where relative paths start, and runs/ and manifests/ are")


def _study(commands: Commands, program: Path) -> None:
    study = commands.add_parser("study", help="a recipe with a matrix of values, and their spread")
    study.add_argument(
        "recipe", metavar="RECIPE", help="or a TOML file with `recipe` and, in [values], the lists"
    )
    study.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="A.B=C,D",
        help="the values of a key; a run for every combination of those of all keys",
    )
    study.add_argument("--device", choices=("CPU", "Ascend"), help="run on another device")
    study.add_argument("--dry-run", action="store_true", help="check, and list the runs")
    study.add_argument("--format", choices=("text", "json"), default="text")
    add_root(study, program, "where relative paths start, and runs/ and manifests/ are")


def _recipes(commands: Commands) -> None:
    validate = commands.add_parser("validate", help="every problem of recipes, in one pass")
    validate.add_argument("recipes", nargs="+", metavar="RECIPE")
    _changes(validate, device=False)
    validate.add_argument("--format", choices=("text", "json", "github"), default="text")
    explain = commands.add_parser("explain", help="each resolved value and where it comes from")
    explain.add_argument("recipe", metavar="RECIPE")
    explain.add_argument("key", nargs="?", default="", metavar="KEY", help="a table or a key")
    _changes(explain)
    commands.add_parser("schema", help="JSON Schema of recipes, for editors")
