"""Imports point one way, no two files import each other, each name means one thing."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SINGLE_FILES = (
    *("errors", "atomic", "files", "prefetch", "strict_json", "terminal"),
    *("randomness", "arithmetic", "device", "signals"),
)
LAYERS = (
    ("kernels",),
    SINGLE_FILES,
    ("recipe",),
    ("manifest",),
    ("attest",),
    ("data",),
    ("metrics",),
    ("compare",),
    ("report",),
    ("prepare",),
    ("model",),
    ("distill",),
    ("train",),
    ("plan",),
    ("new",),
    ("audit",),
    ("stages",),
    ("export",),
    ("augment",),
    ("run",),
    ("launch",),
    ("commands",),
)
"""The packages of `tinybert/`, the lowest first: each imports from the packages before it alone, a
single file from other single files too."""
LAYER = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "tinybert").rglob("*.py"))
}


def imported_modules(path):
    """Return the modules of tinybert that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES and name != "tinybert"}


def package_of(module):
    return module.split(".")[1]


IMPORTS = {module: imported_modules(path) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    if module == "tinybert":
        assert IMPORTS[module] == set()
        return
    package = package_of(module)
    upwards = {
        other
        for other in IMPORTS[module]
        if package_of(other) != package
        and LAYER[package_of(other)] >= LAYER[package]
        and not {package, package_of(other)} <= set(SINGLE_FILES)
    }
    assert upwards == set()


def test_no_files_import_each_other_not_even_by_way_of_others():
    left = {module: set(others) for module, others in IMPORTS.items()}
    while leaves := [module for module, others in left.items() if not others & left.keys()]:
        for module in leaves:
            del left[module]
    assert left == {}


def test_each_public_name_stands_for_one_thing():
    places = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_":
                places[node.name].append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_reading_back_does_not_know_the_recipe():
    for module in ("tinybert.train.effective", "tinybert.train.graph"):
        assert "recipe" not in {package_of(other) for other in IMPORTS[module]}


def test_commands_without_training_do_not_import_the_framework():
    packages = ("recipe", "manifest", "compare", "report")
    modules = [module for module in MODULES if "." in module and package_of(module) in packages]
    code = (
        "import sys, importlib, runner\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        "assert 'mindspore' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
