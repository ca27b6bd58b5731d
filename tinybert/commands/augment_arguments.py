"""The arguments of `prepare augment`."""

import argparse
from pathlib import Path

from tinybert.commands.argument_types import RUN_NAME, add_root, integer, seed

_EXAMPLES = """\
examples:
  as in the TinyBERT paper: a BERT with its head, and GloVe for words of several pieces
    prepare augment glue SST-2 train.tsv --vocab bert/vocab.txt --seq-length 64 --output aug \\
      --masked-lm bert --word-vectors glove.6B.300d.txt \\
      --keep-words recipes/augment/english_function_words.txt
  where there is no head: the nearest of an encoder's own word embeddings
    prepare augment table reviews.csv --text review --label stars --vocab model/vocab.txt \\
      --seq-length 128 --output aug --embeddings model --samples 10
"""


def add_augmentation(kind: argparse.ArgumentParser, program: Path) -> None:
    """Add where candidates come from, and how many rows are made of them."""
    kind.epilog = _EXAMPLES
    kind.formatter_class = argparse.RawDescriptionHelpFormatter
    sources = kind.add_argument_group("where words come from, one at least")
    sources.add_argument(
        "--masked-lm",
        type=Path,
        metavar="SOURCE",
        help="for words of one piece: predictions of this network's head of masked language "
        f"modelling; {RUN_NAME}, or a checkpoint",
    )
    sources.add_argument(
        "--embeddings",
        type=Path,
        metavar="SOURCE",
        help="for words of one piece: the nearest word embeddings of this network",
    )
    sources.add_argument(
        "--word-vectors",
        type=Path,
        metavar="FILE",
        help="for other words, without a network for all: the nearest of these vectors, in GloVe's "
        "text format",
    )
    sources.add_argument(
        "--recipe", type=Path, help="what describes a checkpoint without config.json"
    )
    sources.add_argument(
        "--network", dest="role", choices=("teacher", "student"), help="of the recipe"
    )
    add_root(kind, program, "where manifests/ is")
    rows = kind.add_argument_group("augmented rows")
    rows.add_argument(
        "--threshold",
        type=float,
        default=0.4,
        metavar="P",
        help="probability by which a word is replaced (default: 0.4)",
    )
    rows.add_argument(
        "--candidates",
        type=integer,
        default=15,
        metavar="M",
        help="most candidates for a word (default: 15)",
    )
    rows.add_argument(
        "--samples",
        type=integer,
        metavar="N",
        help="rows made of each row (default: for a task of GLUE, as TinyBERT's own program: 10, "
        "20 or 30)",
    )
    rows.add_argument("--seed", type=seed, default=1, metavar="N", help="(default: 1)")
    rows.add_argument(
        "--context",
        choices=("text", "text_and_original"),
        default="text",
        help="what the head reads: the text with a word masked, as in the paper's algorithm, or "
        "that and the text itself, as TinyBERT's own program has it (default: text)",
    )
    rows.add_argument(
        "--keep-words", type=Path, metavar="FILE", help="words that are never replaced"
    )
