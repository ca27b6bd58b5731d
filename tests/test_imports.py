"""Imports point one way, and what needs no framework does not import it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = [
    {"errors", "atomic", "randomness"},
    {"recipe", "manifest"},
    {"data"},
    {"tasks"},
    {"model"},
    {"distill"},
    {"train"},
    {"links"},
    {"agreement"},
    {"plan", "provenance"},
    {"launch"},
    {"export"},
    {"stages"},
    {"commands"},
]
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}
MODULES = sorted((ROOT / "tinybert").rglob("*.py"))


def imported_parts(path):
    """Return the parts of tinybert that a module imports, anywhere in it."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "tinybert" else []
            names += [f"tinybert.{alias.name}" for alias in node.names if node.module == "tinybert"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("tinybert.")}
    return parts


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    part = path.relative_to(ROOT / "tinybert").parts[0].removesuffix(".py")
    if part == "__init__":
        assert imported_parts(path) == set()
        return
    wrong = {
        other
        for other in imported_parts(path) - {part}
        if LEVEL[other] > LEVEL[part] or (LEVEL[other] == LEVEL[part] and LEVEL[part] > 0)
    }
    assert wrong == set()


def test_reading_back_does_not_know_the_recipe():
    for module in ("effective", "graph"):
        assert "recipe" not in imported_parts(ROOT / "tinybert" / "train" / f"{module}.py")


def test_commands_without_training_do_not_import_the_framework():
    code = (
        "import pkgutil, sys, importlib, runner, tinybert.recipe, tinybert.manifest\n"
        "for package in (tinybert.recipe, tinybert.manifest):\n"
        "    for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "assert 'mindspore' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
