"""Peak memory of a fine-tuning beside PyTorch's, each in a process of its own.

    python -m benchmarks.memory --encoder DIR --sst2 train.tsv --work DIR

PyTorch's process is a script of a user of transformers, and imports nothing of ours.
"""

import argparse
import resource
import subprocess
import sys

from benchmarks import measuring
from benchmarks.material import SEQ_LENGTH, add_arguments, material

STEPS = 30
SCRIPT = """
import csv, resource, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
encoder, texts, padding, length, steps = sys.argv[1:]
torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(encoder)
model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
rows = list(csv.reader(open(texts, encoding="utf-8"), delimiter="\\t", quoting=3))[1:]
for step in range(int(steps)):
    batch = rows[32 * step : 32 * step + 32]
    inputs = tokenizer(
        [row[0] for row in batch], padding=padding, truncation=True, max_length=int(length),
        return_tensors="pt",
    )
    loss = model(**inputs, labels=torch.tensor([int(row[1]) for row in batch])).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
SIDES = {"PyTorch, padded to the records' length": "max_length", "PyTorch, padded": "longest"}


def peak(arguments: argparse.Namespace) -> float:
    """Train some steps; return the peak resident size of this process, in GiB."""
    from benchmarks import fine_tuning

    fine_tuning.ours(material(arguments, fine_tuning.ROWS), 0.1).steps(STEPS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(arguments: argparse.Namespace) -> measuring.Comparison:
    """Return the peaks of all sides, in GiB."""
    given = material(arguments, 6400)
    script = [sys.executable, "-c", SCRIPT, str(given.encoder), str(given.texts)]
    commands = {
        measuring.OURS: [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:], "--peak"]
    } | {name: [*script, padding, str(SEQ_LENGTH), str(STEPS)] for name, padding in SIDES.items()}

    def run(command: list[str]) -> float:
        done = subprocess.run(
            command, cwd=measuring.ROOT, capture_output=True, text=True, check=True
        )
        return float(done.stdout.splitlines()[-1])

    found = measuring.in_turn(
        {name: lambda _, c=command: run(c) for name, command in commands.items()},
        arguments.rounds,
    )
    return measuring.Comparison("peak memory of fine-tuning 6 x 384, 32 rows", "GiB", found)


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak(arguments))
    else:
        measuring.report([measure(arguments)], arguments)


if __name__ == "__main__":
    main()
