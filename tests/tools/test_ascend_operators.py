"""Every operator of the compiled graphs is known for Ascend, with a source."""

import importlib
import inspect
import platform
import re
import shutil

import pytest

from tools import ascend_operators as operators
from tools.ascend_operators import PLUGIN, compiled_operators, known_operators, problems, unused
from tools.ascend_plugin import asked

KNOWN = known_operators()
SUPPORTED = {"answer": "supported", "documented": "mindspore.ops.cholesky"}


@pytest.fixture(scope="module")
def graphs():
    return compiled_operators()


@pytest.fixture(scope="module")
def planted():
    return compiled_operators("planted")


@pytest.mark.slow
def test_no_graph_has_an_operator_that_ascend_lacks_or_nobody_looked_up(graphs):
    assert problems(graphs, KNOWN) == []


@pytest.mark.slow
def test_every_entry_is_of_use(graphs):
    assert unused(graphs, KNOWN) == []


@pytest.mark.slow
def test_the_page_is_that_of_the_data(graphs):
    assert operators.PAGE.read_text(encoding="utf-8") == operators.page(graphs, KNOWN), (
        "run `make ascend-operators`"
    )


@pytest.mark.parametrize("name", ["README.md", "docs/ascend.md"])
def test_a_text_has_the_numbers_of_the_data(name):
    answers = [entry["answer"] for entry in KNOWN.values()]
    supported, unknown = answers.count("supported"), answers.count("unknown")
    text = (operators.ROOT / name).read_text(encoding="utf-8")
    assert f"{len(answers)} operators read from them" in text
    assert f"{supported} supported, {unknown} unknown and justified" in text


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (None, "Cholesky (planted) is not in ascend_operators.toml"),
        ({"answer": "unsupported"}, "Cholesky (planted) is not supported on Ascend"),
        ({"answer": "unknown"}, "Cholesky (planted) is unknown without a justification"),
    ],
)
def test_an_operator_that_enters_a_graph_is_found(planted, entry, problem):
    known = KNOWN if entry is None else {**KNOWN, "Cholesky": entry}
    assert problems(planted, known) == [problem]


def test_an_operator_with_source_or_justification_may_enter(planted):
    for entry in (SUPPORTED, {"answer": "unknown", "why": "a reason"}):
        assert problems(planted, {**KNOWN, "Cholesky": entry}) == []


@pytest.mark.slow
def test_an_entry_without_graph_is_found(graphs):
    assert unused(graphs, {**KNOWN, "Cholesky": SUPPORTED}) == ["Cholesky"]
    assert unused(graphs, {**KNOWN, "Cholesky": {**SUPPORTED, "outside": "a tool"}}) == []


def documented_for_ascend(path):
    """Return whether a docstring of the framework names Ascend among its platforms."""
    module, _, name = path.rpartition(".")
    docstring = inspect.getdoc(getattr(importlib.import_module(module), name)) or ""
    found = re.search(r"Supported Platforms:\s*\n\s*(.*)", docstring)
    return found is not None and "Ascend" in found[1]


def test_a_docstring_is_read_for_its_platforms():
    assert documented_for_ascend("mindspore.ops.erf")
    assert not documented_for_ascend("mindspore.ops.cholesky")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("g++") is None,
    reason="stand-ins for CANN's libraries need g++ for x86-64",
)
def test_the_plugin_has_what_the_table_says():
    stated = {name: entry["plugin"] for name, entry in KNOWN.items() if "plugin" in entry}
    assert asked([*stated, "Cholesky"]) == {**stated, "Cholesky": "none"}


@pytest.mark.parametrize("name", KNOWN)
def test_an_answer_has_its_source(name):
    entry = KNOWN[name]
    assert set(entry) <= {"answer", "documented", "page", "plugin", "why", "outside"}
    assert entry.get("plugin", "none") in PLUGIN
    if "documented" in entry:
        assert documented_for_ascend(entry["documented"])
    if entry["answer"] == "supported":
        assert "documented" in entry or "page" in entry or entry["plugin"] == "aclnn"
    else:
        assert entry["answer"] in ("unsupported", "unknown")
