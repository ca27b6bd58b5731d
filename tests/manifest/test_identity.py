import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from tinybert.manifest.built import Environment, ThreadFacts, TopologyFacts
from tinybert.manifest.canonical import digest, to_json
from tinybert.manifest.identity import (
    INSTRUCTION_SETS,
    code_identity,
    read_environment,
    why_unknown,
)
from tinybert.manifest.model import Code


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
    code, patch = code_identity(program)
    files = {"runner.py": sha256("import tinybert\n"), "tinybert/a.py": sha256("a = 1\n")}
    assert code == Code(digest=digest(files), files=files)
    assert patch == b""


def test_a_clean_tree(program: Path) -> None:
    outside, _ = code_identity(program)
    head = commit(program)
    code, patch = code_identity(program)
    assert code == replace(outside, commit=head, dirty=False, untracked={})
    assert patch == b""


def test_a_dirty_tree_has_a_patch_that_leads_to_it(program: Path, tmp_path: Path) -> None:
    commit(program)
    (program / "tinybert" / "a.py").write_text("a = 2\n")
    (program / "notes.txt").write_text("changed\n")
    code, patch = code_identity(program)
    assert code.dirty is True
    assert code.files["tinybert/a.py"] == sha256("a = 2\n")
    git(program, "checkout", "-q", "--", ".")
    subprocess.run(["git", "-C", str(program), "apply"], input=patch, check=True)
    assert (program / "tinybert" / "a.py").read_text() == "a = 2\n"
    assert (program / "notes.txt").read_text() == "no part of the program\n"


def test_an_untracked_module_makes_the_tree_dirty(program: Path) -> None:
    commit(program)
    (program / "tinybert" / "new file.py").write_text("b = 1\n")
    code, _ = code_identity(program)
    assert code.dirty is True
    assert code.untracked == {"tinybert/new file.py": sha256("b = 1\n")}
    assert code.files["tinybert/new file.py"] == sha256("b = 1\n")


def test_an_imported_file_beside_the_program_is_hashed(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(program)
    (program / "plugin_of_mine.py").write_text("c = 1\n")
    monkeypatch.syspath_prepend(str(program))
    import plugin_of_mine  # type: ignore[import-not-found]  # noqa: F401

    code, _ = code_identity(program)
    assert code.untracked == {"plugin_of_mine.py": sha256("c = 1\n")}
    assert "plugin_of_mine.py" not in code.files


def test_a_repository_that_is_not_the_programs_is_not_named(program: Path) -> None:
    (program / ".gitignore").write_text("*\n")
    git(program, "init", "-q")
    git(program, "add", "-f", "notes.txt")
    git(program, "commit", "-q", "-m", "other things")
    code, _ = code_identity(program)
    assert (code.commit, code.dirty) == (None, None)
    assert why_unknown(program) == "the Git repository here does not track this program"


def without_git(program: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setenv("PATH", "")
    return "git cannot be run: no such file or directory"


def of_another_owner(program: Path, patch: pytest.MonkeyPatch) -> str:
    """Git's own test switch, by a program that sets it, as this one takes its variables away."""
    folder = program.parent / "bin"
    folder.mkdir(exist_ok=True)
    wrapper = f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n'
    (folder / "git").write_text(wrapper)
    (folder / "git").chmod(0o755)
    patch.setenv("PATH", str(folder), prepend=os.pathsep)
    return f"fatal: detected dubious ownership in repository at '{program}'"


def unborn(program: Path, patch: pytest.MonkeyPatch) -> str:
    shutil.rmtree(program / ".git")
    git(program, "init", "-q")
    git(program, "add", "-A")
    return "fatal: ambiguous argument 'HEAD': unknown revision or path not in the working tree."


def overlooked(program: Path, patch: pytest.MonkeyPatch) -> str:
    git(program, "update-index", "--assume-unchanged", "tinybert/a.py")
    (program / "tinybert" / "a.py").write_text("a = 2\n")
    return "Git is told to overlook changes of some files (assume-unchanged or skip-worktree)"


def gone(program: Path, patch: pytest.MonkeyPatch) -> str:
    shutil.rmtree(program / ".git")
    return "fatal: not a git repository (or any of the parent directories): .git"


@pytest.mark.parametrize("change", [without_git, of_another_owner, unborn, overlooked, gone])
def test_what_git_cannot_say_is_unknown_and_not_clean(
    program: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    commit(program)
    reason = change(program, monkeypatch)
    code, patch = code_identity(program)
    assert code.dirty is None
    assert patch == b""
    assert why_unknown(program) == reason


def test_the_repository_of_a_hook_is_not_taken_for_the_programs(
    program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    head = commit(program)
    other = tmp_path_factory.mktemp("other")
    (other / "runner.py").touch()
    commit(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert code_identity(program)[0].commit == head


def test_environment_fits_the_manifest_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    topology = TopologyFacts(device="CPU", hosts=1, processes=1)
    facts = read_environment(threads=2, topology=topology, determinism={"a": True})
    again = read_environment(threads=2, topology=topology, determinism={"a": True})
    assert digest(facts) == digest(again)
    assert TypeAdapter(Environment).validate_json(json.dumps(to_json(facts))) == facts
    assert facts.variables["OMP_NUM_THREADS"] == "7"
    assert "SECRET_TOKEN" not in facts.variables
    assert facts.threads == ThreadFacts(operators=2, processors=os.cpu_count() or 1)
    assert facts.distributions["pydantic"].startswith("2.")
    assert facts.mindspore.version == facts.distributions["mindspore"]
    assert facts.mindspore.commit is not None
    assert re.fullmatch("[0-9a-f]+", facts.mindspore.commit)
    assert facts.cpu.model


@pytest.mark.parametrize("flag", ["avx2", "avx512f", "fma", "f16c", "amx_bf16", "asimd", "sve2"])
def test_instruction_sets_that_change_sums_are_recorded(flag: str) -> None:
    assert INSTRUCTION_SETS.fullmatch(flag)


@pytest.mark.parametrize("flag", ["smep", "aes", "rdrand", "ht", "md_clear"])
def test_other_flags_are_not(flag: str) -> None:
    assert not INSTRUCTION_SETS.fullmatch(flag)
