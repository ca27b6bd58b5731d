"""What tests of the whole program share: the command line, in processes of their own."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

import runner as program

pytest_plugins = ["tests.fake_runs"]
hypothesis_settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis_settings.load_profile("any machine")

ROOT = Path(__file__).parent.parent
SHIPPED = {path.stem: path for path in sorted((ROOT / "recipes").rglob("*.toml"))}
"""The shipped recipes, by name."""
NARROW = {
    "hidden_size = 48\nnum_hidden_layers = 4\nintermediate_size = 96": (
        "hidden_size = 16\nnum_hidden_layers = 2\nintermediate_size = 24"
    ),
    "hidden_size = 24\nnum_hidden_layers = 2\nintermediate_size = 48": (
        "hidden_size = 8\nnum_hidden_layers = 1\nintermediate_size = 16"
    ),
}
"""Changes of the tiny recipes' text, to networks that compile in a few seconds."""
LONG = {**NARROW, "train_steps = 48": "train_steps = 200"}
"""Changes of `tiny.toml`: steps enough that a signal or a kill comes before the last."""


def read_json(path):
    """Return a manifest, or another file of JSON."""
    return json.loads(path.read_text())


def folder(path):
    """Return the folder of a run, by its manifest."""
    return path.parents[1] / read_json(path)["volatile"]["directory"]


def settings(*changes):
    """Return the arguments that change a recipe."""
    return [part for change in changes for part in ("--set", change)]


class Runner:
    """Calls runner.py with runs/ and manifests/ in a folder of the test's own.

    A call is a process of its own, as a user's; `ask` is the quick way to all but training.

    `changes` are made in the text of the tiny recipe that the tests run.
    """

    def __init__(self, root, changes=()):
        root.mkdir(exist_ok=True)
        self.root = root
        for name in ("recipes", "tinybert"):  # so that relative paths of recipes are found
            (root / name).symlink_to(ROOT / name)
        (root / "manifests").mkdir()
        shutil.copy(ROOT / "manifests" / "tiny.reference.json", root / "manifests")
        text = SHIPPED["tiny"].read_text().partition("[expect]")[0]
        for old, new in dict(changes).items():
            assert old in text, old
            text = text.replace(old, new)
        self.free = root / "free.toml"
        """The tiny recipe without expectations, for tests that change it."""
        self.free.write_text(text)

    def start(self, *arguments, **options):
        command = [sys.executable, str(ROOT / "runner.py"), *map(str, arguments)]
        environment = {**os.environ, "NO_COLOR": "1", **options.pop("variables", {})}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.root, env=environment, stdout=pipe, stderr=pipe, text=True, **options
        )

    def __call__(self, *arguments, **options):
        """Return exit code, standard output and standard error."""
        process = self.start(*arguments, **options)
        out, err = process.communicate()
        return process.returncode, out, err

    def ask(self, *arguments):
        """Carry out a command that trains nothing in this process; returns as a call does."""
        out, err = io.StringIO(), io.StringIO()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            with (
                pytest.MonkeyPatch.context() as here,
                patch.dict(os.environ, NO_COLOR="1"),
                redirect_stdout(out),
                redirect_stderr(err),
            ):
                here.chdir(self.root)
                code = program.main([str(argument) for argument in arguments])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return code, out.getvalue(), err.getvalue()

    def run(self, recipe, *arguments, **options):
        """Run a recipe that must finish; return its manifest's path."""
        code, out, err = self(recipe, "--root", self.root, *arguments, **options)
        assert code == 0, err
        return self.root / out.splitlines()[-1]


def pytest_collection_finish():
    """Let operators that tests call one by one run at once, where the framework is imported.

    Its queue between the threads of a call costs eight times the operators of tiny networks.
    """
    if "mindspore" in sys.modules:
        sys.modules["mindspore"].runtime.launch_blocking()


def pytest_collection_modifyitems(items):
    """Put the tests that run the program first: of two processes, neither ends long before."""
    running = {"runner", "narrow", "distillation"}
    items.sort(key=lambda item: not running & set(item.fixturenames))


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="session")
def narrow(tmp_path_factory):
    """A runner whose recipe has narrow networks, and steps enough to stop it."""
    return Runner(tmp_path_factory.mktemp("narrow"), LONG)


@pytest.fixture(scope="session")
def straight(narrow):
    """The manifest of a run of the narrow recipe that nothing stopped."""
    return narrow.run(narrow.free, "--fresh")


@pytest.fixture(scope="session")
def write_recipe(runner):
    """Write a variant of a shipped recipe with narrow networks; returns its path."""

    def write(name, shipped, changes=(), tail=""):
        text = SHIPPED[shipped].read_text().partition("\n[expect]")[0]
        for old, new in (*NARROW.items(), *dict(changes).items()):
            assert old in text or old in NARROW, old
            text = text.replace(old, new)
        path = runner.root / f"{name}.toml"
        path.write_text(text + tail)
        return path

    return write
