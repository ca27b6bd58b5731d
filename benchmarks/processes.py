"""Settings of one run beside each other: processes and threads, arithmetic.

    python -m benchmarks.processes --encoder DIR --sst2 train.tsv --work DIR

One process of two threads and two of one, with two micro-batches; two processes with them and
without; native arithmetic and portable. Each side is a whole general distillation of MiniLM's sizes
on the tiny recipe's data; the rate is that of its steps. The outcome must not depend on the number
of processes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import measuring
from benchmarks.material import add_arguments
from benchmarks.measuring import ROOT

SIZES = {
    "network.num_attention_heads": 12,
    "teacher.hidden_size": 384,
    "teacher.num_hidden_layers": 6,
    "teacher.intermediate_size": 1536,
    "student.hidden_size": 312,
    "student.num_hidden_layers": 3,
    "student.intermediate_size": 1200,
    "data.global_batch_size": 32,
    "data.micro_batches": 2,
    "training.train_steps": 40,
}
PROCESSES: dict[str, dict[str, object]] = {
    "1 process of 2 threads": {"topology.devices_per_host": 1, "runtime.threads": 2},
    "2 processes of 1 thread": {"topology.devices_per_host": 2, "runtime.threads": 1},
}
TREE: dict[str, dict[str, object]] = {
    "with micro-batches": PROCESSES["2 processes of 1 thread"],
    "without": PROCESSES["2 processes of 1 thread"] | {"data.micro_batches": None},
}
ARITHMETIC: dict[str, dict[str, object]] = {
    name: {"runtime.arithmetic": f'"{name}"', "runtime.threads": 2}
    for name in ("native", "portable")
}

WORK = {"processes": PROCESSES, "two processes": TREE, "arithmetic": ARITHMETIC}


def run(root: Path, values: dict[str, object]) -> tuple[float, str]:
    """Run with some values set; return samples a second, and the outcome's digest."""
    changes = {key: value for key, value in values.items() if value is not None}
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    recipe = root / "processes.toml"
    command = [sys.executable, ROOT / "runner.py", recipe, "--root", root, "--fresh", *sets]
    done = subprocess.run(list(map(str, command)), cwd=root, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    manifest = json.loads((root / done.stdout.splitlines()[-1]).read_text())
    rate = manifest["volatile"]["throughput"]["samples_per_second"]
    return rate, manifest["digests"]["outcome"]


def measure(arguments: argparse.Namespace) -> list[measuring.Comparison]:
    """Return the rates of all settings."""
    root = arguments.work / "processes"
    root.mkdir(parents=True, exist_ok=True)
    recipes = root / "recipes"
    if not recipes.exists():
        recipes.symlink_to(ROOT / "recipes")
    text = (ROOT / "recipes" / "tiny.toml").read_text().partition("[expect]")[0]
    (root / "processes.toml").write_text(text)
    outcomes: dict[str, str] = {}

    def rate(name: str, setting: dict[str, object]) -> float:
        found, outcomes[name] = run(root, SIZES | setting)
        return found

    comparisons = []
    for work, settings in WORK.items():
        rates = measuring.in_turn(
            {name: lambda _, n=name, s=setting: rate(n, s) for name, setting in settings.items()},
            arguments.rounds,
        )
        comparisons.append(measuring.Comparison(work, "samples/s", rates))
    if len({outcomes[name] for name in PROCESSES}) > 1:
        sys.exit(f"outcomes differ: {outcomes}")
    return comparisons


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    measuring.report(measure(arguments), arguments)


if __name__ == "__main__":
    main()
