import pytest

from tests.conftest import ROOT, SHIPPED
from tinybert.commands import doctor, run
from tinybert.errors import UsageError


def test_a_machine_without_ascend_runs_recipes_on_its_cpu(runner):
    code, text, _ = runner("doctor", variables={"ASCEND_HOME_PATH": "/nowhere"})
    assert code == 0
    lines = text.splitlines()
    assert "ok  mindspore 2.10.0" in lines
    assert any(line.startswith("ok  code: commit ") for line in lines)
    assert any(line.startswith("ok  MindSpore computes on the CPU, ") for line in lines)
    assert any(
        line.startswith("--  Ascend: no CANN: ASCEND_HOME_PATH is /nowhere, ") for line in lines
    )
    assert lines[-2] == "recipes run on the CPU here"
    assert lines[-1].startswith("recipes for Ascend do not: ")


def test_what_is_missing_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("mindspore", "no-such-package"))
    text, code = doctor.doctor()
    assert code == 2
    assert "--  no-such-package is missing: `make setup` installs it" in text
    assert "recipes do not run here" in text


def test_code_without_a_commit_is_named_and_no_clean_code(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "PROGRAM", tmp_path)
    reason = "fatal: not a git repository (or any of the parent directories): .git"
    text, _ = doctor.doctor()
    assert f"--  code: no commit is known: {reason}\n" in text
    monkeypatch.setattr(run, "PROGRAM", tmp_path)
    with pytest.raises(UsageError) as caught:
        run.run([str(SHIPPED["tiny"])], False, root=ROOT, require_clean=True)
    assert str(caught.value) == (
        f"it is not known whether the code is that of a commit: {reason}\n"
        "help: run it in its repository, or leave out --require-clean"
    )
