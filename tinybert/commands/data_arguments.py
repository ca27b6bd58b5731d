"""The arguments of `prepare`."""

import argparse
from pathlib import Path

from tinybert.commands.argument_types import (
    Commands,
    Parser,
    add_force,
    integer,
    seed,
)
from tinybert.commands.augment_arguments import add_augmentation
from tinybert.prepare.glue import GLUE_TASKS
from tinybert.recipe.task_types import ANSWER_TASKS


def add_prepare(commands: Commands, program: Path) -> None:
    """Add `prepare` and its kinds."""
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
    _records(corpus)
    _glue(kinds)
    ner = kinds.add_parser("ner", help="CLUENER's JSON lines, or CoNLL columns")
    ner.add_argument("--input-format", choices=("cluener", "conll"), required=True)
    _labels(ner)
    _task(ner)
    _questions(kinds)
    _table(kinds)
    augment = kinds.add_parser(
        "augment", help="the rows of a GLUE task or a table, and more that are made of them"
    )
    augmented = augment.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind in (_glue(augmented), _table(augmented)):
        add_augmentation(kind, program)


def _glue(kinds: Commands) -> Parser:
    glue = kinds.add_parser("glue", help="a GLUE task's official file, or TNEWS")
    glue.add_argument("task", choices=GLUE_TASKS, metavar="TASK", help=", ".join(GLUE_TASKS))
    glue.add_argument(
        "--label-names",
        nargs="+",
        metavar="LABEL=NAME",
        help="other names for labels, such as 0=negative 1=positive; their ids stay",
    )
    _unlabelled(glue)
    _task(glue)
    return glue


def _questions(kinds: Commands) -> None:
    qa = kinds.add_parser("qa", help="questions about contexts, in the JSON of SQuAD and CMRC 2018")
    qa.add_argument("task", choices=ANSWER_TASKS, metavar="TASK", help=", ".join(ANSWER_TASKS))
    qa.add_argument(
        "--stride",
        type=integer,
        metavar="N",
        help="tokens between the beginnings of two windows over a long context "
        "(default: a third of --seq-length, as BERT's 128 of 384)",
    )
    qa.add_argument(
        "--max-question-length",
        type=integer,
        default=64,
        metavar="N",
        help="tokens of a question that are read (default: 64)",
    )
    _unlabelled(qa)
    _task(qa)


def _unlabelled(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        "--unlabelled",
        action="store_true",
        help="a test set without labels or answers, which can only be predicted",
    )


def _table(kinds: Commands) -> Parser:
    table = kinds.add_parser("table", help="any TSV, CSV or JSON lines, by column names")
    table.add_argument("--text", required=True, metavar="COLUMN")
    table.add_argument("--text-pair", metavar="COLUMN")
    table.add_argument(
        "--label", metavar="COLUMN", help="without: rows of a test set, which can only be predicted"
    )
    add_label_kind(table)
    table.add_argument("--input-format", choices=("tsv", "csv", "jsonl"), help="else by its ending")
    _labels(table)
    _task(table)
    return table


def _labels(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--labels", nargs="+", metavar="NAME", help="the labels, in order")
    kind.add_argument("--labels-from", type=Path, metavar="DIR", help="the order of records")


def _task(kind: argparse.ArgumentParser) -> None:
    """Add the arguments of labelled rows."""
    kind.add_argument("inputs", nargs="+", type=Path, metavar="FILE")
    kind.add_argument(
        "--part",
        choices=("train", "dev"),
        help="where there is no dev set: dev is every tenth row, train the others",
    )
    _records(kind)


def _records(kind: argparse.ArgumentParser) -> None:
    """Add the arguments of all records."""
    kind.add_argument("--vocab", type=Path, required=True, metavar="VOCAB_TXT")
    kind.add_argument("--output", type=Path, required=True, metavar="DIR")
    kind.add_argument("--seq-length", type=integer, required=True, metavar="N")
    kind.add_argument("--format", choices=("tfrecord", "mindrecord"), default="tfrecord")
    kind.add_argument("--rows-per-file", type=integer, default=100_000, metavar="N")
    _text(kind)


def add_label_kind(command: argparse.ArgumentParser) -> None:
    """Add what the labels of a table are."""
    command.add_argument(
        "--label-kind",
        choices=("class", "number", "classes"),
        default="class",
        help="one label a row, a number, or any number of labels a row (default: class)",
    )
    command.add_argument(
        "--label-separator",
        metavar="TEXT",
        help="between the labels of a row with --label-kind classes, such as `,`; else a JSON list",
    )


def add_case(command: argparse.ArgumentParser) -> None:
    """Add the options that say whether texts are lower-cased."""
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
    add_case(kind)
    for option, what in (
        ("strip-accents", "remove accents, or not (default: with --lowercase)"),
        ("tokenize-chinese-chars", "every Chinese character is a word (default: yes)"),
    ):
        kind.add_argument(f"--{option}", action=argparse.BooleanOptionalAction, help=what)
    add_force(kind)
