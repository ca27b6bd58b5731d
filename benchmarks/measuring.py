"""Programs that do the same work, timed in turn: rates, ratios, their spread, what they ran on."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
OURS = "tinybert"
TOLERANCE = 1e-4
"""Largest relative difference of losses without dropout."""
PACKAGES = ("mindspore", "numpy", "numba", "torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class Comparison:
    """What was measured of one piece of work."""

    work: str
    unit: str
    """Of the rates: how much a second."""
    rates: Mapping[str, list[float]]
    """A rate a round, by the name of the side."""
    loss_difference: float | None = None
    """Largest relative difference between the losses of two sides, without dropout."""

    def ratios(self, other: str, ours: str = OURS) -> list[float]:
        """Return our rate by another's, round by round."""
        pairs = zip(self.rates[ours], self.rates[other], strict=True)
        return [mine / theirs for mine, theirs in pairs]

    def show(self) -> None:
        """Print medians, ratios and spread."""
        print(self.work)
        if self.loss_difference is not None:
            print(f"  losses without dropout: off by at most {self.loss_difference:.1e}")
        for name, rates in self.rates.items():
            line = f"  {name:<44} {median(rates):9.2f} {self.unit}"
            if name != next(iter(self.rates)):
                ratios = self.ratios(name, next(iter(self.rates)))
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                line += f"   ours by this: {median(ratios):.2f} ({spread})"
            print(line)


class TimedTraining(Protocol):
    """A training that goes on step by step."""

    def steps(self, count: int) -> tuple[list[float], float]:
        """Train on; return the losses, and rows a second."""


def in_turn(sides: Mapping[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    """Return the rates of some rounds; in each, every side is called with the round's number.

    Every other round goes through the sides backwards, so that none is always the first.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(sides[name](number))
            rate = f"{found[name][-1]:9.2f}"
            print(f"  round {number + 1}  {name:<44} {rate}", file=sys.stderr, flush=True)
    return found


def step_rates(
    trainings: Mapping[str, TimedTraining], warm_up: int, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Return the rows a second of trainings by round, after steps that compile and warm up.

    Args:
        trainings: The trainings, by the name of their side.
        warm_up: Steps of each before the first round.
        steps: Steps of each in a round.
        rounds: Rounds.
    """
    for training in trainings.values():
        training.steps(warm_up)
    sides = {name: lambda _, side=side: side.steps(steps)[1] for name, side in trainings.items()}
    return in_turn(sides, rounds)


def largest_difference(ours: list[float], theirs: list[float]) -> float:
    """Return the largest relative difference of losses, or end the program if it is too large."""
    pairs = zip(ours, theirs, strict=True)
    difference = max(abs(a - b) / max(abs(b), 1e-30) for a, b in pairs)
    if not difference <= TOLERANCE:
        sys.exit(f"the two sides do not compute the same: losses are off by {difference:.1e}")
    return difference


def machine() -> dict[str, Any]:
    """Return processor, cores, and versions of what was compared."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all benchmarks have."""
    first_line = (description or "").partition("\n")[0]
    made = argparse.ArgumentParser(description=first_line)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--json", type=Path, help="where the measured rates go")
    return made


def report(comparisons: list[Comparison], arguments: argparse.Namespace) -> None:
    """Print comparisons, and write them where the command line says."""
    for comparison in comparisons:
        comparison.show()
    if arguments.json:
        found = {"machine": machine(), "comparisons": [asdict(c) for c in comparisons]}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def command(arguments: list[str], **options: Any) -> None:
    """Run a program; end this one with what it printed if it fails."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
