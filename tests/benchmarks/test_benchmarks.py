"""Every benchmark finds what it measures."""

import importlib.util
import subprocess
import sys

from benchmarks.measuring import Comparison
from tests.conftest import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
WITH_TORCH = {"pytorch"}


def test_every_benchmark_imports_and_finds_the_functions_that_it_times():
    absent = set() if importlib.util.find_spec("torch") else WITH_TORCH
    imports = "".join(f"import benchmarks.{name}\n" for name in SCRIPTS if name not in absent)
    code = f"{imports}benchmarks.manifest_cost.put_clocks()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_ratios_are_those_of_rounds():
    found = Comparison("work", "rows/s", {"tinybert": [2.0, 9.0], "other": [1.0, 3.0]})
    assert found.ratios("other") == [2.0, 3.0]
