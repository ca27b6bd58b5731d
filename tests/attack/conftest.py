"""A chain of finished runs with exports to attack, and the table of all answers."""

import json
import shutil

import pytest

from tests.attack.answers import Table
from tests.conftest import NARROW, ROOT, SHIPPED, Runner
from tests.export.conftest import VOCAB

SHORT = {
    **NARROW,
    "train_steps = 48": "train_steps = 12",
    "save_ckpt_step = 20": "save_ckpt_step = 5",
    "recipes/tiny/records": "rows",
}
ONE_EPOCH = {"epoch_size = 4": "epoch_size = 1", "epoch_size = 2": "epoch_size = 1"}
TABLE = Table()


def pytest_terminal_summary(terminalreporter):
    if TABLE.counts:
        terminalreporter.section("answers to attacks")
        terminalreporter.write_line(str(TABLE))


class Chain:
    """General distillation and fine-tuning, task distillation from both, and its exports.

    Everything that they read or left is below `root`, so that a test may damage it.
    """

    def __init__(self, runner):
        self.runner, self.root = runner, runner.root
        shutil.copytree(ROOT / "recipes" / "tiny" / "records", self.root / "rows")
        shutil.copytree(ROOT / "recipes" / "tiny" / "places", self.root / "places")
        self.vocab = shutil.copy(VOCAB, self.root / "vocab.txt")
        self.general_recipe = runner.free
        self.teacher_recipe = self._write("teach", "tiny_finetune", {})
        links = {"tiny/tiny_finetune": self.teacher_recipe, "tiny": self.general_recipe}
        self.task_recipe = self._write("task", "tiny_task_distill", links)
        self.general = runner.run(self.general_recipe)
        self.teacher = runner.run(self.teacher_recipe)
        self.task = runner.run(self.task_recipe)
        self.exported, self.onnx = self.root / "exported", self.root / "onnx"
        self.checkpoint = self.root / "student.ckpt"
        vocab = ("--vocab", self.vocab)
        self._call(
            "export", self.task, "--format", "huggingface", "--output", self.exported, *vocab
        )
        self._call("export", self.task, "--format", "onnx", "--output", self.onnx, *vocab)
        self._call("convert", self.task, "--to", "mindspore", "--output", self.checkpoint)
        self.mindrecord = self.root / "mindrecord"
        self._call(
            *("prepare", "table", self.root / "places" / "dev.tsv", "--text", "sentence"),
            *("--label", "label", "--lowercase", *vocab, "--seq-length", 32),
            *("--format", "mindrecord", "--output", self.mindrecord),
        )

    def _write(self, name, shipped, links):
        text = SHIPPED[shipped].read_text().partition("\n[expect]")[0]
        linked = {f'"recipes/{recipe}.toml"': json.dumps(str(to)) for recipe, to in links.items()}
        for old, new in (NARROW | ONE_EPOCH | linked).items():
            text = text.replace(old, new)
        path = self.root / f"{name}.toml"
        path.write_text(text.replace("recipes/tiny/places", "places"))
        return path

    def _call(self, *arguments):
        code, _, err = self.runner(*arguments)
        assert code == 0, err

    def folder(self, manifest):
        """Return the folder of a run."""
        return self.root / json.loads(manifest.read_text())["volatile"]["directory"]

    def best(self, manifest):
        """Return the checkpoint that links to a run mean, below its folder."""
        outcome = json.loads(manifest.read_text())["outcome"]
        return outcome["best_checkpoint"] or outcome["checkpoints"][-1]


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    return Chain(Runner(tmp_path_factory.mktemp("chain"), SHORT))


@pytest.fixture
def table():
    return TABLE
