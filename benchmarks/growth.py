"""How the rate of a fine-tuning grows with the length of rows and the size of batches.

    python -m benchmarks.growth --encoder DIR --sst2 train.tsv --work DIR [--plot FILE.png]

Beside PyTorch, in turn, on the same rows: rows that all have one length, in batches of 8; and rows
of SST-2 in batches of 8 to 128, which PyTorch pads to the longest of a batch.
"""

import argparse
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from benchmarks import fine_tuning, measuring
from benchmarks.material import SST2, Material, add_arguments, material, prepare_command

LENGTHS = (16, 32, 64, 128, 256, 512)
BATCHES = (8, 16, 32, 64, 128)
LENGTHS_BATCH = 8
ROWS = 160
"""Of one length."""
STEPS = 4
OVER = {"tokens a row, batches of 8": LENGTHS, "rows of SST-2 a batch": BATCHES}
"""What the rate is measured over, and where."""


def full_rows(given: Material, length: int) -> Material:
    """Return material whose rows all have one length: sentences joined, and cut."""
    folder = given.work / f"rows_of_{length}"
    texts, records = folder / "train.tsv", folder / "records"
    if not (records / "records.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = " ".join(
            row.rpartition("\t")[0] for row in given.texts.read_text(encoding="utf-8").splitlines()
        ).split()
        endless = cycle(words)
        rows = [list(islice(endless, length)) for _ in range(ROWS)]
        lines = [f"{' '.join(row)}\t{number % 2}\n" for number, row in enumerate(rows)]
        texts.write_text("".join(["sentence\tlabel\n", *lines]), encoding="utf-8")
        measuring.command(
            prepare_command(given.encoder, texts, records, what=SST2, seq_length=length)
        )
    return Material(given.encoder, texts, records, given.work)


def measure(over: str, size: int, arguments: argparse.Namespace) -> measuring.Comparison:
    """Return rows a second of both sides, at one length or size of batches."""
    from benchmarks.pytorch import LONGEST, FineTuning

    given = material(arguments, fine_tuning.ROWS)
    changes: dict[str, object] = {"data.global_batch_size": size}
    if over.startswith("tokens"):
        given = full_rows(given, size)
        changes = {
            "data.global_batch_size": LENGTHS_BATCH,
            "data.seq_length": size,
            "data.block_length": max(64, size),
        }
    ours = fine_tuning.ours(given, 0.1, **changes)
    sides = {measuring.OURS: ours, "PyTorch": FineTuning(ours, given.encoder, 0.1, LONGEST)}
    rates = measuring.step_rates(sides, STEPS, STEPS, arguments.rounds)
    return measuring.Comparison(f"{size} {over}", "rows/s", rates)


def draw(found: Sequence[measuring.Comparison], file: Path) -> None:
    """Draw both rates over each size."""
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, len(OVER), figsize=(9, 3.4), layout="constrained")
    for (over, sizes), plot in zip(OVER.items(), axes, strict=True):
        some = [comparison for comparison in found if comparison.work.endswith(over)]
        for name, look in {measuring.OURS: "o-", "PyTorch": "s--"}.items():
            plot.plot(sizes, [median(each.rates[name]) for each in some], look, label=name)
        plot.set(xscale="log", yscale="log", xlabel=over, ylabel="rows a second")
        plot.set_xticks(sizes, [str(size) for size in sizes], minor=False)
        plot.minorticks_off()
        plot.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
        plot.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        plot.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    parser.add_argument("--plot", type=Path, help="where the plot goes")
    arguments = parser.parse_args()
    found = [measure(over, size, arguments) for over, sizes in OVER.items() for size in sizes]
    measuring.report(found, arguments)
    if arguments.plot:
        draw(found, arguments.plot)


if __name__ == "__main__":
    main()
