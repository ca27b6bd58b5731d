"""Support of the compiled graphs' operators on Ascend: checks it, and writes the page about it.

    make ascend-operators       compiles the graphs and writes docs/ascend.md anew

`docs/ascend_operators.toml` has an entry for each operator:

    answer      "supported", "unsupported" or "unknown"
    documented  an object of the framework whose docstring says on which platforms it runs
    plugin      what the wheel's own Ascend plugin has for it, see PLUGIN
    page        an official page about it
    why         a remark; required where the answer is "unknown"
    outside     where it is used, if that is in no compiled graph
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import tomli

from tinybert.train.graph import saving_environment

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "ascend_operators.toml"
PAGE = ROOT / "docs" / "ascend.md"
BEGIN, END = "<!-- operators: make ascend-operators -->\n", "<!-- end of operators -->\n"
PLUGIN = {
    "aclnn": "a kernel of its own, which calls CANN's `aclnn` function",
    "CANN": "an adapter to CANN's operator of the same meaning",
    "host": "a kernel on the host",
    "none": "nothing",
}

Operators = Mapping[str, Mapping[str, str]]
Graphs = Mapping[str, Sequence[str]]


def known_operators() -> dict[str, dict[str, str]]:
    """Return the entries of the data file, by operator."""
    with DATA.open("rb") as file:
        return tomli.load(file)


def compiled_operators(*names: str) -> dict[str, list[str]]:
    """Compile some graphs of `tools.ascend_graphs`, all without names; return their operators."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **saving_environment(Path(folder) / "graphs"), "GLOG_v": "3"}
        command = [sys.executable, "-m", "tools.ascend_graphs", *names]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def problems(graphs: Graphs, known: Operators) -> list[str]:
    """Return a problem for each operator that no graph may have, in the order of their names."""
    found = []
    for name in sorted(set().union(*graphs.values())):
        where = ", ".join(graph for graph, operators in graphs.items() if name in operators)
        entry = known.get(name)
        if entry is None:
            found.append(f"{name} ({where}) is not in {DATA.name}")
        elif entry["answer"] == "unsupported":
            found.append(f"{name} ({where}) is not supported on Ascend")
        elif entry["answer"] == "unknown" and not entry.get("why"):
            found.append(f"{name} ({where}) is unknown without a justification")
    return found


def unused(graphs: Graphs, known: Operators) -> list[str]:
    """Return the entries that no graph has, except those with another place of use."""
    compiled = set().union(*graphs.values())
    return [name for name, entry in known.items() if not (name in compiled or "outside" in entry)]


def rendered(graphs: Graphs, known: Operators) -> str:
    """Return the table of the page."""
    lines = ["| operator | in | on Ascend | source | remarks |", "|---|---|---|---|---|"]
    for name, entry in sorted(known.items()):
        where = entry.get("outside") or _where(name, graphs)
        cells = (f"`{name}`", where, entry["answer"], _source(entry), entry.get("why", ""))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _where(name: str, graphs: Graphs) -> str:
    """Return the stages whose graphs have an operator, with the variants if not all of them."""
    stages: dict[str, list[str]] = {}
    variants: dict[str, int] = {}
    for graph, operators in graphs.items():
        stage, _, variant = graph.partition(": ")
        variants[stage] = variants.get(stage, 0) + 1
        if name in operators:
            stages.setdefault(stage, []).append(variant)
    if all(len(stages.get(stage, ())) == count for stage, count in variants.items()):
        return "all"
    return "; ".join(
        stage if len(found) == variants[stage] else f"{stage} ({', '.join(found)})"
        for stage, found in stages.items()
    )


def _source(entry: Mapping[str, str]) -> str:
    parts = []
    if "documented" in entry:
        parts.append(f"`{entry['documented']}`")
    if "page" in entry:
        parts.append(f"<{entry['page']}>")
    if "plugin" in entry:
        parts.append(f"plugin: {entry['plugin']}")
    return "; ".join(parts)


def page(graphs: Graphs, known: Operators) -> str:
    """Return the page with the table as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rendered(graphs, known)}\n{END}{after}"


def main() -> int:
    """Write the page; return 1 if a graph has an operator that it must not have."""
    graphs, known = compiled_operators(), known_operators()
    PAGE.write_text(page(graphs, known), encoding="utf-8")
    found = problems(graphs, known) + [f"{name} is in no graph" for name in unused(graphs, known)]
    print("\n".join(found) or f"{len(known)} operators, written to {PAGE.relative_to(ROOT)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
