"""Acceptance test on an Ascend host: nothing may claim to run there before it has passed.

    make ascend-acceptance      on a host with cards: everything that its cards allow

Runs the tiny recipe in every way that differs on a card, compares the runs with each other, and
prints a table. Each run leaves its manifest in manifests/, each command its output in
runs/acceptance/. Exit code 0: all passed or lacked cards; 1: something failed; 4: no card here.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinybert.device import ascend_problems

ROOT = Path(__file__).parents[1]
RECIPE = "recipes/tiny.toml"
RUN = ("run", RECIPE, "--device", "Ascend")
FRESH = (*RUN, "--fresh")
EIGHT = (*FRESH, "--set", "topology.devices_per_host=8")
PARTS = ("--set", "data.micro_batches=8")
NO_DEVICE = 4


@dataclass(frozen=True)
class Check:
    """One command, which must end well."""

    name: str
    arguments: tuple[str, ...]
    """Of runner.py; `{name}` stands for the manifest of that run."""
    shows: str = ""
    """What passing shows; empty for a run that others are compared with."""
    cards: int = 1
    killed: bool = False
    """The run is killed in the middle, and must end so."""
    codes: tuple[int, ...] = (0,)
    """Exit codes that pass."""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> list[str]:
        """Names of the runs whose manifests it takes."""
        return [text[1:-1] for text in self.arguments if text.startswith("{")]


def plan() -> list[Check]:
    """Return what is run, in order."""
    half = (*FRESH, "--set", 'network.compute_type="float16"')
    sink = (*FRESH, "--set", "runtime.enable_data_sink=true", "--set", "runtime.data_sink_steps=10")
    return [
        Check("doctor", ("doctor",), "the machine has what a run needs"),
        Check("cpu", ("run", RECIPE, "--device", "CPU", "--fresh"), "the CPU of this host"),
        Check("one", FRESH, "a run on one card; its [expect] compares it with the CPU reference"),
        Check("again", FRESH),
        _same("one", "again", "two runs on a card are bitwise equal"),
        Check(
            "near",
            ("diff", "--require", "tolerance", "{cpu}", "{one}"),
            "losses of CPU and card are within tolerance",
        ),
        Check("host-masks", (*FRESH, "--set", 'runtime.dropout_masks="host"')),
        Check("graph-masks", (*FRESH, "--set", 'runtime.dropout_masks="graph"')),
        _same("host-masks", "graph-masks", "masks of the graph are those of the host"),
        Check("sink", sink, "data sink, with a last call that is shorter"),
        _same("one", "sink", "data sink changes no bit"),
        Check("float16", half, "float16 compute; the loss scale works"),
        Check("float16-again", half),
        _same("float16", "float16-again", "two float16 runs are bitwise equal"),
        Check("killed", FRESH, "a run that is killed in the middle", killed=True),
        Check("resumed", RUN, "the same command goes on with it"),
        _same("one", "resumed", "a kill and a resume change no bit"),
        Check("profile", (*FRESH, "--profile", "3"), "three steps profiled, in the run's folder"),
        _same("one", "profile", "profiling changes no bit"),
        Check(
            "simulation",
            FRESH,
            "the step compiles by CANN alone; what it then computes is nothing",
            variables={"MS_SIMULATION_LEVEL": "1"},
            codes=(0, 1, 3),
        ),
        Check("eight", EIGHT, "a run on eight cards", cards=8),
        Check("eight-again", EIGHT, cards=8),
        _same("eight", "eight-again", "two runs on eight cards are bitwise equal", cards=8),
        Check(
            "across",
            ("diff", "--across-topology", "{one}", "{eight}"),
            "eight cards train as one does",
            cards=8,
        ),
        Check("one-parts", (*FRESH, *PARTS), "micro-batches on one card"),
        Check("eight-parts", (*EIGHT, *PARTS), "a micro-batch on each of eight cards", cards=8),
        _same(
            "one-parts", "eight-parts", "with micro-batches eight cards end in one's bits", cards=8
        ),
    ]


def _same(a: str, b: str, shows: str, cards: int = 1) -> Check:
    return Check(f"{a} = {b}", ("diff", f"{{{a}}}", f"{{{b}}}"), shows, cards)


@dataclass(frozen=True)
class Result:
    """The result of a check."""

    check: Check
    passed: bool | None
    """None: it was not run."""
    answer: str
    """The manifest, the verdict, or why it was not run."""
    seconds: float = 0.0


def carry_out(checks: Sequence[Check], cards: int, logs: Path) -> list[Result]:
    """Run the checks that the cards allow and whose runs there are."""
    results: list[Result] = []
    manifests: dict[str, str] = {}
    for check in checks:
        missing = [name for name in check.needs if name not in manifests]
        if check.cards > cards:
            results.append(Result(check, None, f"{check.cards} cards are needed, {cards} are here"))
        elif missing:
            results.append(Result(check, None, f"there is no run `{missing[0]}`"))
        else:
            result = _run(check, manifests, logs)
            if result.passed and check.arguments[0] == "run":
                manifests[check.name] = result.answer
            results.append(result)
        print(_line(results[-1]), flush=True)
    return results


def _run(check: Check, manifests: Mapping[str, str], logs: Path) -> Result:
    """Run one command, its output in a file."""
    arguments = [
        manifests[text[1:-1]] if text.startswith("{") else text for text in check.arguments
    ]
    killer = ("tools/kill_run.py", "step", "30", "0", "--") if check.killed else ("runner.py",)
    environment = {**os.environ, **check.variables, "NO_COLOR": "1"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *killer, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.monotonic() - began
    (logs / f"{check.name.replace(' = ', '-')}.log").write_text(done.stdout)
    codes = (-signal.SIGKILL,) if check.killed else check.codes
    lines = done.stdout.strip().splitlines() or [""]
    answer = lines[0] if check.arguments[0] == "diff" else lines[-1]
    return Result(check, done.returncode in codes, answer, seconds)


def _line(result: Result) -> str:
    outcome = {True: "passed", False: "FAILED", None: "not run"}[result.passed]
    shows = result.check.shows or "a run to compare another with"
    return f"| {result.check.name} | {shows} | {outcome} | {result.seconds:.0f} | {result.answer} |"


def main() -> int:
    """Run everything that the cards allow and write the table; return the exit code."""
    if problems := ascend_problems():
        print(
            "error: no Ascend card can be used here, so nothing was run:"
            + "".join(f"\n  - {problem}" for problem in problems)
            + "\nhelp: install what is missing; `python runner.py doctor` looks for more",
            file=sys.stderr,
        )
        return NO_DEVICE
    logs = ROOT / "runs" / "acceptance" / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    logs.mkdir(parents=True)
    head = "| check | shows | result | seconds | manifest or verdict |\n|---|---|---|---|---|"
    print(head, flush=True)
    cards = len(list(Path("/dev").glob("davinci[0-9]*")))
    results = carry_out(plan(), cards, logs)
    table = "\n".join([head, *map(_line, results)]) + "\n"
    (logs / "table.md").write_text(table)
    print(f"\nthe table and all output: {logs.relative_to(ROOT)}")
    return 1 if any(result.passed is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
