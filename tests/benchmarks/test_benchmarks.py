"""Every benchmark finds what it measures."""

import subprocess
import sys

from tests.conftest import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


def test_every_benchmark_imports_and_finds_the_functions_that_it_times():
    imports = "".join(f"import benchmarks.{name}\n" for name in SCRIPTS)
    code = f"{imports}benchmarks.manifest_cost.put_clocks()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
