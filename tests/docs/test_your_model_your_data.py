"""The commands of docs/your_model_your_data.md do what the page shows, on a tiny teacher."""

import csv
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.conftest import ROOT, SHIPPED
from tests.model.networks import random_weights
from tinybert.export.checkpoint import write_huggingface
from tinybert.export.network import TrainedNetwork
from tinybert.export.source import Source
from tinybert.model.description import TextKeys
from tinybert.recipe.load import load
from tinybert.recipe.network import network

PAGE = ROOT / "docs" / "your_model_your_data.md"
TINY = ROOT / "recipes" / "tiny"
SMALLER = {"3x312": "1x24"}
"""A student that compiles in seconds, instead of the page's."""
LABELS = {"indoors": "positive", "outdoors": "negative"}


def sessions(page):
    """Yield each command of a page as words, and the lines that it shows as printed."""
    text = re.sub(r"\\\n\s+", "", page.read_text(encoding="utf-8"))
    for block in re.findall(r"(?:^    .*\n)+", text, re.M):
        for each in re.split(r"^    \$ python runner\.py ", block, flags=re.M)[1:]:
            command, *lines = each.splitlines()
            yield shlex.split(command), [line[4:] for line in lines]


def shape(line):
    """Return a line without what differs from run to run: numbers, names of runs, labels, texts."""
    line = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}", "RUN", line)
    line = line.partition(" --root ")[0]
    line = re.sub(r"(positive|negative)\t.*", "LABEL", line)
    return re.sub(r"[\d.,]+", "N", re.sub(r" +[kMG]B|  +", " ", line)).strip()


@pytest.fixture
def root(tmp_path):
    """A directory with the page's teacher and table, both tiny."""
    config = network(load(SHIPPED["tiny_finetune"]).recipe, "teacher")
    config = replace(config, max_position_embeddings=128, num_hidden_layers=1)
    found = TrainedNetwork(config, None, None, random_weights(config), ())
    teacher = tmp_path / "checkpoints" / "minilm"
    teacher.mkdir(parents=True)
    texts = TextKeys(seq_length=128)
    source = Source(found, tmp_path / "x", None, TINY / "vocab.txt", texts, lowercase=True)
    write_huggingface(source, teacher)
    with (
        (TINY / "places" / "dev.tsv").open() as read,
        (tmp_path / "films.csv").open("w", newline="") as write,
    ):
        rows = csv.writer(write)
        rows.writerow(["review", "opinion"])
        rows.writerows(
            (row["sentence"], LABELS[row["label"]]) for row in csv.DictReader(read, delimiter="\t")
        )
    return tmp_path


@pytest.mark.slow
def test_the_commands_print_what_the_page_shows(root):
    shown = list(sessions(PAGE))
    assert [words[0] for words, _ in shown] == ["new", "run", "runs", "predict", "export"]
    for words, lines in shown:
        words = [SMALLER.get(word, word) for word in words]
        command = [sys.executable, str(ROOT / "runner.py"), *words, "--root", str(root)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed = {shape(line) for line in done.stdout.splitlines()}
        for line in lines:
            if not re.match(r"\.\.\.|\d of \d", line):  # the log
                assert shape(line) in printed, done.stdout
        for recipe in root.glob("recipes/films/*.toml"):  # one epoch is enough to see
            recipe.write_text(re.sub(r"epoch_size = \d+", "epoch_size = 1", recipe.read_text()))


def test_the_readme_has_the_commands_of_the_page():
    shown = [words for words, _ in sessions(PAGE)]
    readme = [words for words, _ in sessions(ROOT / "README.md")]
    for name in ("new", "run", "export"):
        (words,) = (each for each in readme if each[0] == name)
        assert words in shown
