"""Compare the time of a step of micro-batches with that of as many steps of a micro-batch's rows.

    python benchmarks/micro_batches.py [--parts 8] [--rows 8] [--rounds 9] [--set KEY=VALUE ...]

The forms take turns, so that a busy machine slows all of them, and each round's ratios are of
neighbours in time. The networks are MiniLM and a student of half its layers, on the records of
recipes/tiny.toml. Batches are made beforehand: in training, another thread makes them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tiny_training import built, start

SIZES = (
    "network.vocab_size=30522",
    "network.num_attention_heads=12",
    "teacher.hidden_size=384",
    "teacher.num_hidden_layers=6",
    "teacher.intermediate_size=1536",
    "student.hidden_size=384",
    "student.num_hidden_layers=3",
    "student.intermediate_size=1536",
)


def prepared(*changes: str) -> Callable[[], None]:
    """Return what trains on the first batch of the tiny recipe with changes."""
    compiled_step, feed = built(changes)
    parts = feed(0).parts
    return lambda: compiled_step.call([parts], stop=False)


def main() -> None:
    """Time the forms in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--rows", type=int, default=8, help="rows of a part")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    options = parser.parse_args()
    start(options.threads)
    shared, rows, count = (*SIZES, *options.changes), options.rows, options.parts
    whole = prepared(*shared, f"data.global_batch_size={rows}")
    one = prepared(*shared, f"data.global_batch_size={rows}", "data.micro_batches=1")
    parts = prepared(
        *shared, f"data.global_batch_size={rows * count}", f"data.micro_batches={count}"
    )
    forms: dict[str, tuple[Callable[[], None], int]] = {
        f"{count} steps of {rows} rows": (whole, count),
        f"{count} steps of a part of {rows} rows": (one, count),
        f"a step of {count} parts of {rows} rows": (parts, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(options.rounds + 1):
        for name, (call, times) in forms.items():
            began = time.perf_counter()
            for _ in range(times):
                call()
            if turn:  # the first compiles
                seconds[name].append(time.perf_counter() - began)
    first, *others = forms
    for name in forms:
        print(f"{name:<32} {1e3 * statistics.median(seconds[name]):8.1f} ms")
    for name in others:
        ratios = [x / y for x, y in zip(seconds[name], seconds[first], strict=True)]
        print(f"{name} / {first}: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
