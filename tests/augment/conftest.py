"""A small vocabulary, and a network that has it, in Hugging Face's files."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

import runner
from tests.model.networks import random_weights, tiny
from tinybert.augment.words import WordReader
from tinybert.data.sidecar import TokenizerOptions
from tinybert.prepare.vocabulary import build_tokenizer, load_vocabulary

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] the a film movie is was good bad great not very it , . 3 "
    "##ly ##s un ##real 中 国 银 行 x"
).split()
IDS = {word: id for id, word in enumerate(WORDS)}
CONFIG = tiny(
    vocab_size=len(WORDS), max_position_embeddings=40, hidden_size=32, intermediate_size=48
)
ROWS = [
    ("the movie is very good", "1"),
    ("a bad film, not great.", "0"),
    ("unreal!", "1"),
    ("it was good", "1"),
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Let no command change the environment of other tests."""
    for name in ("OMP_NUM_THREADS", "GLOG_v", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        if not os.environ[name]:
            monkeypatch.delenv(name)


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return path


@pytest.fixture
def reader(vocab):
    """Make a reader of lower-cased texts."""

    def make(room=100, kept=()):
        vocabulary = load_vocabulary(vocab)
        tokenizer = build_tokenizer(vocabulary, TokenizerOptions(True, True))
        return WordReader(tokenizer, vocabulary, room, frozenset(kept))

    return make


def head_weights(config):
    """Return weights of the head of masked language modelling, all of which matter."""
    generator, hidden = np.random.default_rng(9), config.hidden_size
    shapes = {
        "transform.dense.weight": (hidden, hidden),
        "transform.dense.bias": (hidden,),
        "transform.LayerNorm.weight": (hidden,),
        "transform.LayerNorm.bias": (hidden,),
        "bias": (config.vocab_size,),
    }
    return {
        f"cls.predictions.{name}": generator.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def save_network(folder, config=CONFIG, *, head=True, words=WORDS):
    """Write a network's directory; returns it."""
    folder.mkdir()
    arrays = {  # as BertForMaskedLM saves them: without a pooler
        f"bert.{name}": array
        for name, array in random_weights(config).items()
        if not name.startswith("pooler.")
    }
    save_file(arrays | (head_weights(config) if head else {}), folder / "model.safetensors")
    keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    keys += ("intermediate_size", "hidden_act", "max_position_embeddings", "type_vocab_size")
    content = {key: getattr(config, key) for key in keys} | {"architectures": ["BertForMaskedLM"]}
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return folder


@pytest.fixture
def network(tmp_path):
    return save_network(tmp_path / "bert")


@pytest.fixture
def vectors(tmp_path):
    """A file of word vectors in which `movie` and `film`, `unreal` and `real` are near."""
    path = tmp_path / "vectors.txt"
    path.write_text(
        "the 1 0 0\nmovie 0 1 0\nfilm 0 2 0.1\nunreal 0 0.1 1\nreal 0 0 1\nu.s. 0 0 1\n3 0 0 1\n"
    )
    return path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "raw.tsv"
    path.write_text("t\tl\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))
    return path


def arguments(table, vocab, *more, output="out"):
    """Return the words of a command that augments a table."""
    words = ["prepare", "augment", "table", table, "--text", "t", "--label", "l", "--vocab", vocab]
    words += ["--lowercase"] * (not (vocab.parent / "tokenizer_config.json").exists())
    words += ["--seq-length", "32", "--output", table.with_name(output), "--samples", "3", *more]
    return list(map(str, words))


@pytest.fixture
def augment(table, vocab, tmp_path, capsys):
    """Augment the table in this process; returns the exit code and what was said."""

    def call(*more, table=table, vocab=vocab, output="out"):
        code = runner.main(arguments(table, vocab, *more, output=output))
        out, err = capsys.readouterr()
        return code, (out + err).replace(str(tmp_path), "DIR")

    return call
