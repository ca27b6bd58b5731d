"""The arguments of `convert`, `export` and `predict`: the commands about trained networks."""

import argparse
from pathlib import Path
from typing import get_args

from tinybert.commands.argument_types import RUN_NAME, Commands, add_force, add_root, integer
from tinybert.commands.data_arguments import add_case
from tinybert.export import Format
from tinybert.export.leaderboards import SUBMISSIONS
from tinybert.model.names import FAMILIES


def add_networks(commands: Commands, program: Path) -> None:
    """Add `convert`, `export` and `predict`."""
    convert = commands.add_parser(
        "convert", help="a network's checkpoint under the names of another family"
    )
    convert.add_argument("--to", required=True, choices=FAMILIES)
    export = commands.add_parser("export", help="a network as ONNX, MINDIR, or for transformers")
    export.add_argument("--format", required=True, choices=get_args(Format), type=str.lower)
    for command in (convert, export):
        _source(command, program)
        command.add_argument("--output", type=Path, required=True, metavar="PATH")
        add_force(command)
    _predict(commands, program)


def _predict(commands: Commands, program: Path) -> None:
    predict = commands.add_parser(
        "predict",
        help="text in, label out",
        epilog="examples: predict RUN --text TEXT; predict RUN --windows mean < texts.txt; "
        "predict RUN --records DIR; predict RUN --submission SST-2 --test test.tsv --output DIR; "
        "of a network that answers questions: predict RUN --text 'QUESTION<TAB>CONTEXT'",
    )
    _source(predict, program)
    predict.add_argument(
        "--text",
        dest="texts",
        action="append",
        default=[],
        metavar="TEXT",
        help="may be repeated; without any: the lines of standard input",
    )
    predict.add_argument(
        "--records",
        type=Path,
        metavar="DIR",
        help="the rows of prepared records, with or without labels",
    )
    predict.add_argument(
        "--submission",
        choices=SUBMISSIONS,
        metavar="TASK",
        help=f"write the file of a leaderboard: {', '.join(SUBMISSIONS)}",
    )
    predict.add_argument("--test", type=Path, metavar="FILE", help="its official test file")
    predict.add_argument("--output", type=Path, metavar="DIR", help="where its file goes")
    add_force(predict)
    predict.add_argument(
        "--windows",
        choices=("mean", "max", "central"),
        help="read all of a text that is longer than a row, in windows, and join their logits by "
        "mean or max; of tags: each word from the window in whose middle it is nearest",
    )
    predict.add_argument(
        "--stride",
        type=integer,
        metavar="N",
        help="tokens between the beginnings of two windows (default: half a window)",
    )
    predict.add_argument(
        "--max-answer-length", type=integer, metavar="N", help="of answers; known of a run"
    )
    predict.add_argument(
        "--no-answer-threshold",
        type=float,
        metavar="X",
        help="of answers: how far no answer may be above the best one; known of a run",
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
    add_case(command)
    add_root(command, program, "where manifests/ is")
