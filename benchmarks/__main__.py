"""Every comparison with other programs, one after the other, each in a process of its own.

    python -m benchmarks --encoder DIR --sst2 train.tsv --work DIR [--only NAME...]

The measured rates go to `WORK/NAME.json`, the plot to `WORK/growth.png`; `--write` makes the tables
of docs/benchmarks.md of what is there.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.material import add_arguments
from benchmarks.measuring import ROOT
from benchmarks.table import write

NAMES = (
    "fine_tuning",
    "task_distillation",
    "general_distillation",
    "inference",
    "preparation",
    "memory",
    "start_up",
    "growth",
    "processes",
)
PLOT = ROOT / "docs" / "growth.png"
BEFORE = "e878eb1~1"
"""The commit that `start_up` compares with: before rows were packed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md anew")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    given = ["--encoder", arguments.encoder, "--sst2", arguments.sst2, "--work", arguments.work]
    for name in arguments.only:
        command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, given)]
        command += ["--rounds", str(arguments.rounds), "--json", str(_json(arguments.work, name))]
        command += ["--before", BEFORE] if name == "start_up" else []
        command += ["--plot", str(arguments.work / PLOT.name)] if name == "growth" else []
        subprocess.run(command, cwd=ROOT, check=True)
    if arguments.write:
        write([_json(arguments.work, name) for name in NAMES])
        if (plot := arguments.work / PLOT.name).exists():
            shutil.copyfile(plot, PLOT)


def _json(work: Path, name: str) -> Path:
    return work / f"{name}.json"


if __name__ == "__main__":
    main()
