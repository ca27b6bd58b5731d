"""The arguments of the commands about existing runs."""

import argparse
from pathlib import Path

from tinybert.commands.argument_types import (
    RUN_NAME,
    Commands,
    RunName,
    add_force,
    add_root,
    integer,
)


def add_manifests(commands: Commands, program: Path) -> None:
    """Add the commands that read manifests, and those that list and remove runs."""
    _diff(commands, program)
    _verify(commands, program)
    _attest(commands, program)
    _of_run(commands, program, "rerun", "the same run again, then the verdict on both")
    _audit(commands, program)
    _of_run(commands, program, "show", "one manifest, for people")
    _of_run(commands, program, "lineage", "the chain of runs that led to a run or an export")
    _report(commands, program)
    _trace(commands, program)
    _mlflow(commands, program)
    _runs(commands, program)
    _compare(commands, program)
    _prune(commands, program)


def _diff(commands: Commands, program: Path) -> None:
    diff = commands.add_parser("diff", help="verdict on two runs, then what differs, causes first")
    diff.add_argument("a", type=RunName, metavar="A", help=RUN_NAME)
    diff.add_argument("b", type=RunName, metavar="B")
    diff.add_argument("--require", choices=("bitwise", "tolerance"), default="bitwise")
    diff.add_argument("--across-topology", action="store_true", help="for other process counts")
    diff.add_argument("--format", choices=("text", "json"), default="text")
    _add_runs_root(diff, program)


def _verify(commands: Commands, program: Path) -> None:
    what = "are the files and [expect] of a run, or of an export, as recorded"
    verify = _of_run(commands, program, "verify", what)
    verify.add_argument("--rehash", action="store_true", help="read files that seem unchanged, too")
    verify.add_argument(
        "--signature", type=Path, metavar="FILE", help="check this signed statement, too"
    )
    verify.add_argument("--public-key", type=Path, metavar="PEM", help="of who signed it")


def _attest(commands: Commands, program: Path) -> None:
    attest = _of_run(commands, program, "attest", "a signed statement about a run or an export")
    attest.add_argument("--key", type=Path, required=True, metavar="PEM", help="Ed25519, private")
    attest.add_argument(
        "--output", type=Path, metavar="FILE", help="the envelope (default: beside the manifest)"
    )
    add_force(attest)


def _audit(commands: Commands, program: Path) -> None:
    what = "replay parts of a finished run, and compare every bit with its trace"
    audit = _of_run(commands, program, "audit", what)
    audit.add_argument(
        "--segments", type=integer, default=3, metavar="K", help="parts to draw (default: 3)"
    )
    audit.add_argument(
        "--steps", type=integer, default=8, metavar="N", help="steps of each, at most (default: 8)"
    )
    audit.add_argument(
        "--nonce", metavar="X", help="what the draw depends on beside the outcome; else random"
    )
    audit.add_argument(
        "--processes",
        type=integer,
        metavar="P",
        help="of this host, for recipes with micro-batches (default: as the run had)",
    )
    audit.add_argument(
        "--threads", type=integer, metavar="T", help="of an operator (default: as the run had)"
    )
    audit.add_argument(
        "--sign", type=Path, metavar="PEM", help="write a statement, signed with this private key"
    )
    audit.add_argument(
        "--output", type=Path, metavar="FILE", help="the statement (default: beside the manifest)"
    )
    add_force(audit)


def _report(commands: Commands, program: Path) -> None:
    report = commands.add_parser("report", help="one HTML page about a run, several, or a study")
    report.add_argument(
        "manifests",
        type=RunName,
        nargs="+",
        metavar="RUN",
        help=f"{RUN_NAME}; or the record of a study",
    )
    report.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the page (default: named after the runs, in the current directory)",
    )
    add_force(report)
    _add_runs_root(report, program)


def _trace(commands: Commands, program: Path) -> None:
    trace = _of_run(commands, program, "trace", "a run's curves as CSV, or as TensorBoard events")
    trace.add_argument("--format", choices=("csv", "tensorboard"), default="csv")
    trace.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="the CSV file, or the directory of TensorBoard's files",
    )
    add_force(trace)


def _mlflow(commands: Commands, program: Path) -> None:
    mlflow = _of_run(commands, program, "mlflow", "write a run into an MLflow store")
    mlflow.add_argument(
        "--tracking-uri",
        required=True,
        metavar="URI",
        help="of a server, http://..., or sqlite:///mlflow.db",
    )
    mlflow.add_argument(
        "--experiment", default="", metavar="NAME", help="(default: the recipe's name)"
    )


def _runs(commands: Commands, program: Path) -> None:
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
    runs.add_argument("--format", choices=("text", "json"), default="text")
    add_root(runs, program, "where runs/ and manifests/ are")


def _compare(commands: Commands, program: Path) -> None:
    compare = commands.add_parser(
        "compare", help="runs side by side: what differs, results, curves"
    )
    compare.add_argument("manifests", type=RunName, nargs="+", metavar="RUN", help=RUN_NAME)
    compare.add_argument(
        "--output", type=Path, metavar="FILE", help="an HTML page with their curves, too"
    )
    compare.add_argument("--format", choices=("text", "json"), default="text")
    add_force(compare)
    _add_runs_root(compare, program)


def _prune(commands: Commands, program: Path) -> None:
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
    add_root(prune, program, "where runs/ and manifests/ are")


def _of_run(commands: Commands, program: Path, name: str, what: str) -> argparse.ArgumentParser:
    """Add a command about one run, and return it."""
    command = commands.add_parser(name, help=what)
    command.add_argument("manifest", type=RunName, metavar="RUN", help=RUN_NAME)
    _add_runs_root(command, program)
    return command


def _add_runs_root(command: argparse.ArgumentParser, program: Path) -> None:
    add_root(command, program, "where manifests/ is, for names of runs", dest="runs_root")
