"""Compare two settings of a run on the same global batches: their speed, and their bits.

    python benchmarks/processes.py [processes|arithmetic] [--pairs 5] [--steps 40]

`processes`: one process of two threads, and two of one; `arithmetic`: native, and portable.
Runs the tiny recipe's data through networks of a useful size, each setting in turn, and prints
samples a second of every run, their medians and the ratio. The runs' bits are compared, too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
SIZES = {
    "network.num_attention_heads": 12,
    "teacher.hidden_size": 384,
    "teacher.num_hidden_layers": 6,
    "teacher.intermediate_size": 1536,
    "student.hidden_size": 312,
    "student.num_hidden_layers": 3,
    "student.intermediate_size": 1200,
    "data.global_batch_size": 32,
}
SETTINGS: dict[str, dict[str, dict[str, object]]] = {
    "processes": {
        "1 process x 2 threads": {"topology.devices_per_host": 1, "runtime.threads": 2},
        "2 processes x 1 thread": {"topology.devices_per_host": 2, "runtime.threads": 1},
    },
    "arithmetic": {
        name: {"runtime.arithmetic": f'"{name}"', "runtime.threads": 2}
        for name in ("native", "portable")
    },
}


def run(root: Path, recipe: Path, values: dict[str, object]) -> tuple[float, Path]:
    """Run the recipe with some values set; return samples a second, and the manifest."""
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, ROOT / "runner.py", recipe, "--root", root, "--fresh", *sets]
    done = subprocess.run(list(map(str, command)), cwd=root, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    path = root / done.stdout.splitlines()[-1]
    manifest = json.loads(path.read_text())
    return manifest["volatile"]["throughput"]["samples_per_second"], path


def main() -> None:
    """Run the settings in turn and print what they did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=SETTINGS, default="processes")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    settings = SETTINGS[options.what]
    found: dict[str, list[float]] = {name: [] for name in settings}
    last: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "recipes").symlink_to(ROOT / "recipes")
        recipe = root / "processes.toml"
        recipe.write_text((ROOT / "recipes" / "tiny.toml").read_text().partition("[expect]")[0])
        for pair in range(options.pairs):
            for name, setting in settings.items():
                values = {**SIZES, **setting, "training.train_steps": options.steps}
                rate, last[name] = run(root, recipe, values)
                found[name].append(rate)
                print(f"{pair + 1}  {name:<24} {rate:7.2f} samples/s", flush=True)
        command = [sys.executable, ROOT / "runner.py", "diff", "--across-topology", *last.values()]
        compared = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    middle = {name: median(rates) for name, rates in found.items()}
    for name, rate in middle.items():
        print(f"median  {name:<24} {rate:7.2f} samples/s")
    one, two = middle.values()
    print(f"ratio   second to first {two / one:.2f}")
    print(compared.stdout.partition("\n")[0])


if __name__ == "__main__":
    main()
