"""docs/structure.md describes the program as it is."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.test_imports import FLOORS

PAGE = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
PATHS = set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGE))
ROWS = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", PAGE.partition("## ")[0], re.M)[1:]


def test_the_rooms_are_in_their_order():
    for (name, contents, _), floor in zip(ROWS, FLOORS, strict=True):
        if name == "single files":
            assert re.findall(r"`(\w+)\.py`", contents) == list(floor)
        else:
            assert (name.strip("`/"),) == floor


@pytest.mark.parametrize("path", sorted(PATHS))
def test_a_named_file_or_folder_is_there(path):
    assert (ROOT / path).exists() or (ROOT / "tinybert" / path).exists()


def test_names_of_code_are_in_the_files_named_beside_them():
    named = re.findall(r"`([\w/]+\.py)`\s\((?:a )?`(\w+)`", PAGE)
    assert {"Batch", "StepResult", "LossWeights", "SoftDistill"} <= {name for _, name in named}
    for path, name in named:
        assert re.search(rf"\b{name}\b", (ROOT / "tinybert" / path).read_text()), name


def test_the_rooms_that_are_marked_import_no_framework():
    code = """
import importlib, pathlib, sys
for room in sys.argv[1:]:
    for path in sorted(pathlib.Path("tinybert", room).glob("*.py")):
        importlib.import_module(f"tinybert.{room}.{path.stem}")
assert "mindspore" not in sys.modules
"""
    assert {answer for *_, answer in ROWS} == {"yes", "no"}
    rooms = [name.strip("`/") for name, _, answer in ROWS if name[0] == "`" and answer == "no"]
    subprocess.run([sys.executable, "-c", code, *rooms], cwd=ROOT, check=True)
