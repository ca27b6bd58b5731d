"""What tests of the whole program share: the command line, in processes of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["tests.fake_runs"]

ROOT = Path(__file__).parent.parent
SHIPPED = {path.stem: path for path in sorted((ROOT / "recipes").rglob("*.toml"))}
"""The shipped recipes, by name."""


class Runner:
    """Calls runner.py with runs/ and manifests/ in a folder of the test's own."""

    def __init__(self, root):
        self.root = root
        for name in ("recipes", "tinybert"):  # so that relative paths of recipes are found
            (root / name).symlink_to(ROOT / name)
        (root / "manifests").mkdir()
        shutil.copy(ROOT / "manifests" / "tiny.reference.json", root / "manifests")
        text = (ROOT / "recipes" / "tiny.toml").read_text().partition("[expect]")[0]
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

    def run(self, recipe, *arguments, **options):
        """Run a recipe that must finish; return its manifest's path."""
        code, out, err = self(recipe, "--root", self.root, *arguments, **options)
        assert code == 0, err
        return self.root / out.splitlines()[-1]


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("root"))
