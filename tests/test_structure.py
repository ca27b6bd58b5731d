"""docs/structure.md describes the program as it is."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.test_imports import LAYERS

PAGE = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
PATHS = set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGE))
ROWS = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", PAGE.partition("## ")[0], re.M)[1:]


def test_the_packages_are_in_their_order():
    for (name, contents, _), layer in zip(ROWS, LAYERS, strict=True):
        if name == "single files":
            assert re.findall(r"`(\w+)\.py`", contents) == list(layer)
        else:
            assert (name.strip("`/"),) == layer


@pytest.mark.parametrize("path", sorted(PATHS))
def test_a_named_file_or_folder_is_there(path):
    assert (ROOT / path).exists() or (ROOT / "tinybert" / path).exists()


def test_names_of_code_are_in_the_files_named_beside_them():
    named = re.findall(r"`([\w/]+\.py)`\s\((?:a )?`(\w+)`", PAGE)
    assert {"Batch", "StepResult", "LossWeights", "SoftDistill"} <= {name for _, name in named}
    for path, name in named:
        assert re.search(rf"\b{name}\b", (ROOT / "tinybert" / path).read_text()), name


def test_the_packages_that_are_marked_import_no_framework():
    code = """
import importlib, pathlib, sys
for package in sys.argv[1:]:
    for path in sorted(pathlib.Path("tinybert", package).glob("*.py")):
        importlib.import_module(f"tinybert.{package}.{path.stem}")
assert "mindspore" not in sys.modules
"""
    assert {answer for *_, answer in ROWS} == {"yes", "no"}
    packages = [name.strip("`/") for name, _, answer in ROWS if name[0] == "`" and answer == "no"]
    subprocess.run([sys.executable, "-c", code, *packages], cwd=ROOT, check=True)
