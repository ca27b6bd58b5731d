"""What portable arithmetic pins, refuses and leaves out."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT, SHIPPED
from tinybert.arithmetic import pin, require_instruction_sets
from tinybert.errors import DeviceError
from tinybert.manifest.built import Processor
from tinybert.recipe.load import load

DISPATCHED = {
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "power", "float_power", "cbrt"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
    *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    *("dot", "vdot", "inner", "matmul", "einsum", "tensordot", "corrcoef", "cov", "linalg", "fft"),
}
"""What NumPy computes by code that it, or its BLAS, chooses by the processor."""
SHOWN = {
    "tinybert/export/reading.py": {"exp"},
    "tinybert/metrics/answers.py": {"exp"},
    "tinybert/metrics/assessment.py": {"exp", "log"},
}
"""Where it is for people to read, in no result of a run."""


def test_no_result_depends_on_code_that_numpy_chooses_by_the_processor():
    used = {}
    for path in sorted((ROOT / "tinybert").rglob("*.py")):
        names = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "np"
        }
        if found := names & DISPATCHED:
            used[path.relative_to(ROOT).as_posix()] = found
    assert used == SHOWN


def test_portable_pins_onednn_and_drops_what_overrides_it():
    variables = {"DNNL_MAX_CPU_ISA": "AVX512_CORE", "ONEDNN_DEFAULT_FPMATH_MODE": "ANY", "A": "b"}
    pin("portable", variables)
    assert variables == {"A": "b", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_native_changes_nothing():
    variables = {"ONEDNN_MAX_CPU_ISA": "SSE41"}
    pin("native", variables)
    assert variables == {"ONEDNN_MAX_CPU_ISA": "SSE41"}


@pytest.mark.parametrize(("flags", "missing"), [(["fma"], "AVX2"), (["avx2"], "FMA")])
def test_a_processor_that_cannot_is_refused_by_name(flags, missing):
    with pytest.raises(DeviceError) as caught:
        require_instruction_sets(flags)
    assert str(caught.value) == (
        f"portable arithmetic needs AVX2 and FMA; this processor has no {missing}\n"
        'help: write `arithmetic = "native"` in [runtime], which gives other bits'
    )
    require_instruction_sets(["avx", "avx2", "fma"])


def test_a_portable_recipe_is_refused_before_anything_is_built(monkeypatch):
    from tinybert.commands import run

    monkeypatch.setattr(run, "read_processor", lambda: Processor(model="old", flags=["avx"]))
    options = run.RunOptions("tiny", ROOT)
    with pytest.raises(DeviceError, match="this processor has no AVX2") as caught:
        run.checked_plan(load(SHIPPED["tiny"]), options)
    assert caught.value.exit_code == 4
    run.checked_plan(load(SHIPPED["tiny"], ['runtime.arithmetic="native"']), options)


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        ("AVX2", "AVX2"),
        ("AVX", "portable arithmetic needs AVX2; oneDNN uses AVX on this processor"),
    ],
)
def test_what_onednn_uses_is_read_back(limit, answer):
    code = (
        "import os; from tinybert.arithmetic import require_pinned\n"
        "from tinybert.errors import DeviceError\n"
        f"os.environ['ONEDNN_MAX_CPU_ISA'] = {limit!r}\n"
        "try: print(require_pinned('portable'))\n"
        "except DeviceError as error: print(error.message)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout == f"{answer}\n", out.stderr
