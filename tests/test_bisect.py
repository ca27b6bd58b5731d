"""`git bisect run` with `rerun` finds the commit that changed an outcome."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import LONG, ROOT

CHANGES = (
    ("A comment", "tinybert/randomness.py", "\n", "\n# nothing\n"),
    ("Another message", "tinybert/run/execute.py", '"finished", **(', '"done", **('),
    ("The planted one", "tinybert/randomness.py", "dropout/{site}", "dropped/{site}"),
    ("A comment more", "tinybert/randomness.py", "\n", "\n# nothing either\n"),
)
"""Subject, file, and what is replaced in it the first time: the commits of a history."""


@pytest.fixture
def history(tmp_path):
    """A repository of the program with these commits, and the manifest of a run of the first."""
    root = tmp_path / "program"
    root.mkdir()
    for name in ("runner.py", "requirements.lock", ".gitignore"):
        shutil.copy(ROOT / name, root)
    for name in ("tinybert", "recipes"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    (root / "manifests").mkdir()
    text = (ROOT / "recipes" / "tiny.toml").read_text().partition("[expect]")[0]
    for old, new in {**LONG, "train_steps = 48": "train_steps = 6"}.items():
        text = text.replace(old, new)
    (root / "short.toml").write_text(text)
    git(root, "init", "-q")
    commit(root, "The program")
    done = program(root, "run", "short.toml")
    manifest = done.stdout.splitlines()[-1]
    for subject, file, old, new in CHANGES:
        path = root / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
        commit(root, subject)
    return root, manifest


def git(root, *arguments):
    settings = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    command = ["git", *settings, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def commit(root, subject):
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", subject)


def program(root, *arguments):
    command = [sys.executable, "runner.py", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_the_planted_commit_is_found(history):
    root, manifest = history
    first = git(root, "rev-list", "--max-parents=0", "HEAD").strip()
    git(root, "bisect", "start", "HEAD", first)
    out = git(root, "bisect", "run", sys.executable, "runner.py", "rerun", manifest)
    found = git(root, "show", "-s", "--format=%s", "refs/bisect/bad").strip()
    assert found == "The planted one"
    assert "is the first bad commit" in out
