import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from tinybert.manifest.canonical import digest
from tinybert.manifest.identity import INSTRUCTION_SETS, code_identity, environment
from tinybert.manifest.model import Code, Environment


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "tinybert" / "__pycache__").mkdir(parents=True)
    (tmp_path / "tinybert" / "__pycache__" / "a.cpython-311.pyc").write_text("x")
    (tmp_path / "tinybert" / "a.py").write_text("a = 1\n")
    (tmp_path / "runner.py").write_text("import tinybert\n")
    (tmp_path / "notes.txt").write_text("no part of the program\n")
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path) -> str:
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "begin")
    return git(root, "rev-parse", "HEAD")


def test_outside_a_repository(program: Path) -> None:
    found = code_identity(program)
    files = {"runner.py": sha256("import tinybert\n"), "tinybert/a.py": sha256("a = 1\n")}
    assert found.facts == {"digest": digest(files), "files": files}
    assert found.patch == b""
    Code.model_validate(found.facts)


def test_a_clean_tree(program: Path) -> None:
    outside = code_identity(program)
    head = commit(program)
    found = code_identity(program)
    assert found.facts == {**outside.facts, "commit": head, "dirty": False, "untracked": {}}
    assert found.patch == b""


def test_a_dirty_tree_has_a_patch_that_leads_to_it(program: Path, tmp_path: Path) -> None:
    commit(program)
    (program / "tinybert" / "a.py").write_text("a = 2\n")
    (program / "notes.txt").write_text("changed\n")
    found = code_identity(program)
    assert found.facts["dirty"] is True
    assert found.facts["files"]["tinybert/a.py"] == sha256("a = 2\n")
    git(program, "checkout", "-q", "--", ".")
    subprocess.run(["git", "-C", str(program), "apply"], input=found.patch, check=True)
    assert (program / "tinybert" / "a.py").read_text() == "a = 2\n"
    assert (program / "notes.txt").read_text() == "no part of the program\n"


def test_an_untracked_module_makes_the_tree_dirty(program: Path) -> None:
    commit(program)
    (program / "tinybert" / "new file.py").write_text("b = 1\n")
    found = code_identity(program)
    assert found.facts["dirty"] is True
    assert found.facts["untracked"] == {"tinybert/new file.py": sha256("b = 1\n")}
    assert found.facts["files"]["tinybert/new file.py"] == sha256("b = 1\n")


def test_an_imported_file_beside_the_program_is_hashed(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(program)
    (program / "plugin_of_mine.py").write_text("c = 1\n")
    monkeypatch.syspath_prepend(str(program))
    import plugin_of_mine  # type: ignore[import-not-found]  # noqa: F401

    found = code_identity(program)
    assert found.facts["untracked"] == {"plugin_of_mine.py": sha256("c = 1\n")}
    assert "plugin_of_mine.py" not in found.facts["files"]


def test_a_repository_that_is_not_the_programs_is_not_named(program: Path) -> None:
    (program / ".gitignore").write_text("*\n")
    git(program, "init", "-q")
    git(program, "add", "-f", "notes.txt")
    git(program, "commit", "-q", "-m", "other things")
    assert "commit" not in code_identity(program).facts


def test_without_git(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(program)
    monkeypatch.setenv("PATH", "")
    assert "commit" not in code_identity(program).facts


def test_environment_fits_the_manifest_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    facts = environment(threads={"operators": 2}, topology={"hosts": 1}, determinism={"a": True})
    again = environment(threads={"operators": 2}, topology={"hosts": 1}, determinism={"a": True})
    assert digest(facts) == digest(again)
    read = Environment.model_validate(facts)
    assert read.variables["OMP_NUM_THREADS"] == "7"
    assert "SECRET_TOKEN" not in read.variables
    assert read.threads == {"operators": 2, "processors": os.cpu_count()}
    assert read.distributions["pydantic"].startswith("2.")
    assert read.mindspore.version == read.distributions["mindspore"]
    assert read.mindspore.commit is not None
    assert re.fullmatch("[0-9a-f]+", read.mindspore.commit)
    assert read.cpu.model


@pytest.mark.parametrize("flag", ["avx2", "avx512f", "fma", "f16c", "amx_bf16", "asimd", "sve2"])
def test_instruction_sets_that_change_sums_are_recorded(flag: str) -> None:
    assert INSTRUCTION_SETS.fullmatch(flag)


@pytest.mark.parametrize("flag", ["smep", "aes", "rdrand", "ht", "md_clear"])
def test_other_flags_are_not(flag: str) -> None:
    assert not INSTRUCTION_SETS.fullmatch(flag)
