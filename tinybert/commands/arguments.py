"""The commands of the command line and their arguments."""

import argparse
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn, TypeAlias, get_args

from tinybert.errors import UsageError
from tinybert.export import Format
from tinybert.model.names import FAMILIES
from tinybert.prepare.glue import GLUE_TASKS
from tinybert.terminal import printable

HOST_RANK = "TINYBERT_HOST_RANK"
"""Environment variable that says which host this is, where several run a recipe."""


class RunName(str):
    """The name of a run in an argument; the command is given its manifest in its place."""


RUN_NAME = "a manifest, the beginning of a run's name, `latest`, or a recipe"

_INTEGER = re.compile(r"-?[0-9]{1,25}")

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are printable."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the arguments, and end with 2."""
        super().error(printable(message))


def integer(text: str) -> int:
    """Read an integer that counts something: what is not below 2^31 counts nothing here."""
    return _below(1 << 31, text)


def seed(text: str) -> int:
    """Read a seed, which JSON files keep: it is below 2^53, as in a recipe."""
    return _below(1 << 53, text)


def _below(limit: int, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    if abs(value := int(text)) >= limit:
        raise argparse.ArgumentTypeError(f"{text} is not below {limit}")
    return value


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
    _manifests(commands, program)
    _prepare(commands)
    _networks(commands, program)
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
    new.add_argument("--student", required=True, metavar="LxH", help="layers x width, as 4x312")
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
    new.add_argument("--label-kind", choices=("class", "number"), default="class")
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
    _case(new)
    new.add_argument("--device", choices=("CPU", "Ascend"), default="CPU", help="(default: CPU)")
    new.add_argument("--force", action="store_true", help="replace what is there")
    new.add_argument(
        "--root",
        type=Path,
        default=program,
        metavar="DIR",
        help="where recipes/ and data/ are (default: beside runner.py)",
    )


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
    run.add_argument(
        "--root",
        type=Path,
        default=program,
        metavar="DIR",
        help="where relative paths start, and runs/ and manifests/ are (default: beside runner.py)",
    )


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
    study.add_argument(
        "--root",
        type=Path,
        default=program,
        metavar="DIR",
        help="where relative paths start, and runs/ and manifests/ are (default: beside runner.py)",
    )


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


def _manifests(commands: Commands, program: Path) -> None:
    diff = commands.add_parser("diff", help="verdict on two runs, then what differs, causes first")
    diff.add_argument("a", type=RunName, metavar="A", help=RUN_NAME)
    diff.add_argument("b", type=RunName, metavar="B")
    diff.add_argument("--require", choices=("bitwise", "tolerance"), default="bitwise")
    diff.add_argument("--across-topology", action="store_true", help="for other process counts")
    diff.add_argument("--format", choices=("text", "json"), default="text")
    verify = commands.add_parser(
        "verify", help="are the files and [expect] of a run, or of an export, as recorded"
    )
    verify.add_argument("--rehash", action="store_true", help="read files that seem unchanged, too")
    rerun = commands.add_parser("rerun", help="the same run again, then the verdict on both")
    show = commands.add_parser("show", help="one manifest, for people")
    lineage = commands.add_parser("lineage", help="the chain of runs behind a run or an export")
    report = commands.add_parser("report", help="one HTML page about a run, or two compared")
    report.add_argument("manifest", type=RunName, metavar="RUN", help=RUN_NAME)
    report.add_argument("other", type=RunName, nargs="?", metavar="RUN2", help="to compare with")
    report.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the page (default: named after the runs, in the current directory)",
    )
    runs = commands.add_parser("runs", help="a table of runs: status, result, time, size on disk")
    runs.add_argument("name", nargs="?", default="", metavar="NAME", help="begins their names")
    runs.add_argument(
        "--status", choices=("planned", "running", "finished", "failed", "interrupted", "abandoned")
    )
    runs.add_argument(
        "--sort",
        choices=("time", "metric", "duration", "size"),
        default="time",
        help="the newest, best, longest, largest first (default: time)",
    )
    compare = commands.add_parser(
        "compare", help="runs side by side: what differs, results, curves"
    )
    compare.add_argument("manifests", type=RunName, nargs="+", metavar="RUN", help=RUN_NAME)
    compare.add_argument(
        "--output", type=Path, metavar="FILE", help="an HTML page with their curves, too"
    )
    prune = commands.add_parser("prune", help="remove folders of runs that nothing needs")
    prune.add_argument(
        "manifests",
        type=RunName,
        nargs="*",
        metavar="RUN",
        help="remove the folders of these; without any: of runs that failed, or were done again",
    )
    prune.add_argument(
        "--caches", action="store_true", help="imported records and teachers' outputs as well"
    )
    prune.add_argument("--yes", action="store_true", help="do not ask")
    for command in (runs, prune):
        command.add_argument(
            "--root",
            type=Path,
            default=program,
            metavar="DIR",
            help="where runs/ and manifests/ are (default: beside runner.py)",
        )
    for command in (runs, compare):
        command.add_argument("--format", choices=("text", "json"), default="text")
    for command in (report, compare):
        command.add_argument("--force", action="store_true", help="replace what is there")
    for command in (verify, rerun, show, lineage):
        command.add_argument("manifest", type=RunName, metavar="RUN", help=RUN_NAME)
    for command in (diff, report, verify, rerun, show, lineage, compare):
        command.add_argument(
            "--root",
            dest="runs_root",
            type=Path,
            default=program,
            metavar="DIR",
            help="where manifests/ is, for names of runs (default: beside runner.py)",
        )


def _prepare(commands: Commands) -> None:
    prepare = commands.add_parser("prepare", help="make records from raw text")
    kinds = prepare.add_subparsers(dest="what", required=True, metavar="WHAT")
    vocab = kinds.add_parser("vocab", help="a WordPiece vocabulary from text")
    vocab.add_argument("inputs", nargs="+", metavar="TEXT", help="files, directories, globs")
    vocab.add_argument("--output", type=Path, required=True, metavar="VOCAB_TXT")
    vocab.add_argument("--size", type=integer, required=True, metavar="N", help="most tokens")
    _text_format(vocab)
    _text(vocab)
    corpus = kinds.add_parser("corpus", help="plain text or WikiExtractor files, for distillation")
    corpus.add_argument("inputs", nargs="+", metavar="TEXT", help="files, directories, globs")
    _text_format(corpus)
    corpus.add_argument(
        "--single-segments",
        action="store_true",
        help="rows of one segment, rather than [CLS] a [SEP] b [SEP]",
    )
    corpus.add_argument(
        "--seed", type=seed, default=1, metavar="N", help="of the pairs (default: 1)"
    )
    glue = kinds.add_parser("glue", help="a GLUE task's official file, or TNEWS")
    glue.add_argument("task", choices=GLUE_TASKS, metavar="TASK", help=", ".join(GLUE_TASKS))
    glue.add_argument(
        "--label-names",
        nargs="+",
        metavar="LABEL=NAME",
        help="other names for labels, such as 0=negative 1=positive; their ids stay",
    )
    ner = kinds.add_parser("ner", help="CLUENER's JSON lines, or CoNLL columns")
    ner.add_argument("--input-format", choices=("cluener", "conll"), required=True)
    table = kinds.add_parser("table", help="any TSV, CSV or JSON lines, by column names")
    table.add_argument("--text", required=True, metavar="COLUMN")
    table.add_argument("--text-pair", metavar="COLUMN")
    table.add_argument("--label", required=True, metavar="COLUMN")
    table.add_argument("--label-kind", choices=("class", "number"), default="class")
    table.add_argument("--input-format", choices=("tsv", "csv", "jsonl"), help="else by its ending")
    for kind in (ner, table):
        kind.add_argument("--labels", nargs="+", metavar="NAME", help="the labels, in order")
        kind.add_argument("--labels-from", type=Path, metavar="DIR", help="the order of records")
    for kind in (glue, ner, table):
        kind.add_argument("inputs", nargs="+", type=Path, metavar="FILE")
        kind.add_argument(
            "--part",
            choices=("train", "dev"),
            help="where there is no dev set: dev is every tenth row, train the others",
        )
    for kind in (corpus, glue, ner, table):
        kind.add_argument("--vocab", type=Path, required=True, metavar="VOCAB_TXT")
        kind.add_argument("--output", type=Path, required=True, metavar="DIR")
        kind.add_argument("--seq-length", type=integer, required=True, metavar="N")
        kind.add_argument("--format", choices=("tfrecord", "mindrecord"), default="tfrecord")
        kind.add_argument("--rows-per-file", type=integer, default=100_000, metavar="N")
        _text(kind)


def _case(command: argparse.ArgumentParser) -> None:
    case = command.add_mutually_exclusive_group()
    case.add_argument("--lowercase", action="store_true", default=None, help="as uncased models do")
    case.add_argument(
        "--cased", dest="lowercase", action="store_false", help="read texts as they are"
    )


def _text_format(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        "--input-format",
        choices=("text", "wiki", "jsonl"),
        help="plain text with a blank line after each document, text of WikiExtractor, or JSON "
        "lines with a `text`; else as the first line of a file shows",
    )


def _text(kind: argparse.ArgumentParser) -> None:
    _case(kind)
    for option, what in (
        ("strip-accents", "remove accents, or not (default: with --lowercase)"),
        ("tokenize-chinese-chars", "every Chinese character is a word (default: yes)"),
    ):
        kind.add_argument(f"--{option}", action=argparse.BooleanOptionalAction, help=what)
    kind.add_argument("--force", action="store_true", help="replace what is there")


def _networks(commands: Commands, program: Path) -> None:
    convert = commands.add_parser(
        "convert", help="a network's checkpoint under the names of another family"
    )
    convert.add_argument("--to", required=True, choices=FAMILIES)
    export = commands.add_parser("export", help="a network as ONNX, MINDIR, or for transformers")
    export.add_argument("--format", required=True, choices=get_args(Format), type=str.lower)
    for command in (convert, export):
        _source(command, program)
        command.add_argument("--output", type=Path, required=True, metavar="PATH")
        command.add_argument("--force", action="store_true", help="replace what is there")
    predict = commands.add_parser("predict", help="text in, label out")
    _source(predict, program)
    predict.add_argument(
        "--text",
        dest="texts",
        action="append",
        default=[],
        metavar="TEXT",
        help="may be repeated; without any: the lines of standard input",
    )
    for option, what in (
        ("pairs", "a tab separates the two texts of a pair"),
        ("characters", "every character is a word to be tagged"),
    ):
        known = f"{what}; known of a run and of its exports"
        predict.add_argument(f"--{option}", action="store_true", default=None, help=known)
    predict.add_argument("--format", choices=("text", "json"), default="text")


def _source(command: argparse.ArgumentParser, program: Path) -> None:
    """Add the arguments that name a trained network."""
    command.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help=f"a run ({RUN_NAME}), or a checkpoint",
    )
    command.add_argument(
        "--recipe", type=Path, help="what describes a checkpoint without config.json"
    )
    command.add_argument(
        "--network", dest="role", choices=("teacher", "student"), help="of the recipe"
    )
    command.add_argument(
        "--vocab",
        type=Path,
        metavar="VOCAB_TXT",
        help="the network's vocabulary; known of runs on prepared records, and of exports",
    )
    _case(command)
    command.add_argument(
        "--root", type=Path, default=program, metavar="DIR", help="where manifests/ is"
    )
