"""From the shell to the manifest, beside an earlier commit: a tiny run, and 6 layers' compilation.

python -m benchmarks.start_up --encoder DIR --sst2 train.tsv --work DIR --before COMMIT
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import fine_tuning, measuring
from benchmarks.material import add_arguments, material
from benchmarks.measuring import ROOT

EVALUATED = 32
"""Rows after the only step."""


def checkout(commit: str, work: Path) -> Path:
    """Return the files of a commit."""
    folder = work / f"at_{commit}"
    if not folder.exists():
        folder.mkdir(parents=True)
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def copied(recipe: Path, folder: Path) -> Path:
    """Return a copy of a recipe that expects nothing; of a fine-tuning, of one step."""
    text = recipe.read_text(encoding="utf-8").partition("\n[expect]")[0] + "\n"
    text = text.replace("epoch_size = 1", "train_steps = 1")
    (folder / recipe.name).write_text(text, encoding="utf-8")
    return folder / recipe.name


def measure(arguments: argparse.Namespace) -> list[measuring.Comparison]:
    """Return runs a second, of a tiny run and of one step of a fine-tuning."""
    given, evaluated = material(arguments, fine_tuning.ROWS), material(arguments, EVALUATED)
    before = checkout(arguments.before, given.work)
    sides = {measuring.OURS: ROOT, f"at {arguments.before}": before}
    tiny, fine_tune = (
        copied(before / recipe, given.work)  # which both sides understand
        for recipe in ("recipes/tiny.toml", fine_tuning.RECIPE.relative_to(ROOT))
    )
    values = given.changes
    for key in ("data.eval_data_dir", "data.eval_schema_dir"):
        values[key] = evaluated.changes[key]
    values |= {"teacher.load_teacher_ckpt_path": str(given.encoder)}
    changes = [f"--set={key}={value}" for key, value in values.items()]

    def run(folder: Path, arguments: list[str]) -> float:
        began = time.perf_counter()
        command = [sys.executable, str(folder / "runner.py"), *arguments, "--fresh"]
        measuring.command(command, cwd=folder)
        return 1 / (time.perf_counter() - began)

    found = []
    works = {"tiny.toml": [str(tiny)], "one step of 6 x 384": [str(fine_tune), *changes]}
    for work, command in works.items():
        rates = measuring.in_turn(
            {name: lambda _, f=folder, c=command: run(f, c) for name, folder in sides.items()},
            arguments.rounds,
        )
        found.append(measuring.Comparison(f"{work}, shell to manifest", "runs/s", rates))
    return found


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    parser.add_argument("--before", required=True, help="an earlier commit")
    arguments = parser.parse_args()
    measuring.report(measure(arguments), arguments)


if __name__ == "__main__":
    main()
