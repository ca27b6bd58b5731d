"""Prepare SST-2 beside transformers' fast tokenizer, each a process of its own.

    python -m benchmarks.preparation --encoder DIR --sst2 train.tsv --work DIR

Ours checks the table, cuts rows into tokens, writes record files with checksums and digests. The
tokenizer takes batches of 1,000 texts and keeps the arrays.
"""

import argparse
import shutil
import sys
import time

from benchmarks import measuring
from benchmarks.material import SEQ_LENGTH, SST2, add_arguments, prepare_command

TOKENIZER = """
import csv, sys, numpy as np
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
rows = list(csv.reader(open(sys.argv[2], encoding="utf-8"), delimiter="\\t", quoting=3))[1:]
kept = []
for start in range(0, len(rows), 1000):
    texts = [row[0] for row in rows[start : start + 1000]]
    found = tokenizer(texts, padding="max_length", truncation=True, max_length=int(sys.argv[3]))
    kept.append({name: np.array(values, np.int32) for name, values in found.items()})
np.savez(sys.argv[4], **{name: np.concatenate([k[name] for k in kept]) for name in kept[0]})
"""


def measure(arguments: argparse.Namespace) -> measuring.Comparison:
    """Return rows a second of whole processes."""
    work, encoder, texts = arguments.work.resolve(), arguments.encoder, arguments.sst2
    rows = sum(1 for _ in texts.open(encoding="utf-8")) - 1
    output = work / "prepared"
    ours = prepare_command(encoder, texts, output, what=SST2)
    arrays = str(work / "tokens.npz")
    theirs = [sys.executable, "-c", TOKENIZER, str(encoder), str(texts), str(SEQ_LENGTH), arrays]

    def run(command: list[str]) -> float:
        shutil.rmtree(output, ignore_errors=True)
        began = time.perf_counter()
        measuring.command(command)
        return rows / (time.perf_counter() - began)

    found = measuring.in_turn(
        {
            measuring.OURS: lambda _: run(ours),
            "transformers' fast tokenizer": lambda _: run(theirs),
        },
        arguments.rounds,
    )
    return measuring.Comparison("prepare SST-2", "rows/s", found)


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    measuring.report([measure(arguments)], arguments)


if __name__ == "__main__":
    main()
