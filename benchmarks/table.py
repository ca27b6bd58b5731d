"""The tables of docs/benchmarks.md."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.measuring import ROOT, Comparison

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"


def write(files: Sequence[Path]) -> None:
    """Write the measured tables of the page anew, from the files that there are."""
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    machine = found[0]["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    where = f"{machine['processor']}, {machine['cores']} cores; Python {machine['python']}"
    comparisons = [Comparison(**each) for one in found for each in one["comparisons"]]
    lines = [f"{where}, {versions}.", "", *_rows(comparisons)]
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2])


def _rows(comparisons: Iterable[Comparison]) -> Iterable[str]:
    yield "| work | ours | beside it | its rate | ours by its rate | lowest to highest |"
    yield "|---|---|---|---|---|---|"
    for comparison in comparisons:
        first, *_ = comparison.rates
        ours = [name for name in comparison.rates if name.startswith("tinybert")] or [first]
        for mine in ours:
            rate = f"{_number(comparison.rates[mine])} {comparison.unit}"
            kind = mine.removeprefix("tinybert") if mine.startswith("tinybert") else f": {mine}"
            for other in comparison.rates:
                if other in ours:
                    continue
                ratios = comparison.ratios(other, mine)
                yield (
                    f"| {comparison.work}{kind} | {rate} | {other} "
                    f"| {_number(comparison.rates[other])} | **{median(ratios):.2f}** "
                    f"| {min(ratios):.2f} to {max(ratios):.2f} |"
                )


def _number(rates: list[float]) -> str:
    rate = median(rates)
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
