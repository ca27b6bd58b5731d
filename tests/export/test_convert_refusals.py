"""What `convert` refuses: each reason in full, and nothing is changed."""

import json

import numpy as np
import pytest

from tests.export.conftest import (
    TINY,
    VOCAB,
    finished_run,
    student_weights,
    task_recipe,
    task_weights,
)
from tests.export.test_convert import with_head
from tinybert.errors import InputError
from tinybert.export.checkpoint import encode_description
from tinybert.files import digest_file
from tinybert.model.checkpoint_files import encode_ckpt
from tinybert.model.description import TextKeys, describe_network


def refused_outputs(tmp_path, student_run):
    """Yield command lines whose output is refused, and the whole answer to each."""
    ckpt, taken = tmp_path / "b.ckpt", tmp_path / "taken"
    ckpt.write_bytes(b"mine")
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    yield (
        (student_run, "--to", "mindspore", "--output", tmp_path / "new"),
        "error: a MindSpore checkpoint is a file that ends in .ckpt\n  --> DIR/new\n",
    )
    yield (
        (student_run, "--to", "mindspore", "--output", ckpt),
        "error: the output exists\n  --> DIR/b.ckpt\n"
        "help: name another, or replace it with --force\n",
    )
    yield (
        (student_run, "--to", "huggingface", "--output", ckpt, "--force"),
        "error: the output must be a directory and is a file\n  --> DIR/b.ckpt\n",
    )
    yield (
        (student_run, "--to", "huggingface", "--output", taken, "--force"),
        "error: the directory holds files that are not of an export, such as notes.txt, "
        "and is not replaced\n  --> DIR/taken\nhelp: name another, or remove it yourself\n",
    )


def refused_descriptions(tmp_path, student_run):
    """Yield command lines that describe the network wrongly, and the whole answer to each."""
    ckpt, recipe = tmp_path / "a.ckpt", task_recipe(tmp_path)
    ckpt.write_bytes(b"".join(encode_ckpt({"x": np.ones(2, np.float32)})))
    folder = ("--to", "huggingface", "--output", tmp_path / "new")
    yield (
        (ckpt, *folder),
        "error: nothing describes the network of this checkpoint\n  --> DIR/a.ckpt\n"
        "help: name a recipe that does: --recipe RECIPE --network student; "
        "or name the run's manifest instead of its checkpoint\n",
    )
    yield (
        (ckpt, *folder, "--recipe", TINY),
        "error: the recipe describes two networks\n  --> ROOT/recipes/tiny.toml\n"
        "help: choose: --network teacher, or --network student\n",
    )
    yield (
        (ckpt, *folder, "--recipe", recipe, "--network", "student"),
        "error: the recipe describes no student\n  --> DIR/task.toml\n",
    )
    yield (
        (ckpt, *folder, "--recipe", recipe),
        "error: not the weights of one BERT network: no word embeddings of a known family of "
        "names\n  --> DIR/a.ckpt\nhelp: name a checkpoint of BERT or of a run of this program\n",
    )
    yield (
        (student_run, *folder, "--recipe", recipe),
        "error: --recipe describes a checkpoint; a run has its own recipe\n",
    )
    yield (
        (recipe, *folder),
        "error: the linked recipe has no finished run\n  --> DIR/task.toml\n"
        "help: run it first: `python runner.py DIR/task.toml`\n",
    )


def refused_vocabularies(tmp_path, student_run):
    """Yield command lines whose vocabulary is refused, and the whole answer to each."""
    ckpt = tmp_path / "plain" / "a.ckpt"
    ckpt.parent.mkdir()
    ckpt.write_bytes(b"".join(encode_ckpt(student_weights())))
    given = (ckpt, "--recipe", TINY, "--network", "student", "--to", "huggingface")
    given += ("--output", tmp_path / "new")
    yield (
        given,
        "error: the vocabulary is not known\nhelp: name it: --vocab VOCAB_TXT\n",
    )
    yield (
        (*given, "--vocab", VOCAB),
        "error: it is not known whether texts are lower-cased for this network\n"
        "help: say so: --lowercase, or --cased\n",
    )
    yield (
        (student_run, "--to", "huggingface", "--output", tmp_path / "new", "--cased"),
        "error: --cased is not how the network's training read texts\n",
    )
    long, other = tmp_path / "long.txt", tmp_path / "other.txt"
    long.write_text(VOCAB.read_text() + "extra\n")
    other.write_text(VOCAB.read_text().replace("\nthe\n", "\nzthe\n"))
    folder = ("--to", "huggingface", "--output", tmp_path / "new")
    yield (
        (student_run, "--to", "mindspore", "--output", tmp_path / "new.ckpt", "--vocab", VOCAB),
        "error: --vocab is for --to huggingface: a .ckpt file holds no vocabulary\n",
    )
    yield (
        (student_run, *folder, "--vocab", long),
        "error: the vocabulary has 801 tokens, the network 800\n  --> DIR/long.txt\n",
    )
    yield (
        (student_run, *folder, "--vocab", other),
        "error: the vocabulary is not the one that the run's records were made with\n"
        f"  --> DIR/other.txt\nhelp: name the file with SHA-256 {digest_file(VOCAB).sha256}\n",
    )


def test_every_refusal_says_why_and_leaves_everything(call, tmp_path, student_run):
    kinds = (refused_outputs, refused_descriptions, refused_vocabularies)
    cases = [case for refused in kinds for case in refused(tmp_path, student_run)]
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for arguments, answer in cases:
        assert call("convert", *arguments) == (2, answer)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_transformers_cannot_express_is_refused(call, tmp_path):
    recipe = task_recipe(tmp_path, head='"relu_linear"')
    weights = task_weights(recipe, 2)
    run = finished_run(tmp_path, recipe, {f"teacher.{n}": a for n, a in weights.items()})
    output = tmp_path / "out"
    answer = (
        "error: transformers' BERT has no ReLU before its classifier (head = `relu_linear`)\n"
        'help: export to onnx or mindir, or train with head = "linear"\n'
    )
    assert call("convert", run, "--to", "huggingface", "--output", output) == (2, answer)
    assert call("export", run, "--format", "huggingface", "--output", output) == (2, answer)
    recipe = task_recipe(tmp_path, use_relative_positions="true")
    weights = task_weights(recipe, 2)
    run = finished_run(tmp_path, recipe, {f"teacher.{n}": a for n, a in weights.items()})
    answer = (
        "error: transformers' BERT has no such relative positions (use_relative_positions)\n"
        "help: export to onnx or mindir, or convert to mindspore\n"
    )
    assert call("convert", run, "--to", "huggingface", "--output", output) == (2, answer)
    assert not output.exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"layer_norm_eps": True}, "layer_norm_eps is True"),
        ({"hidden_act": "silu"}, "hidden_act is 'silu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"num_attention_heads": 5}, "num_attention_heads does not divide hidden_size"),
    ],
)
def test_a_description_of_something_else_is_refused(tmp_path, change, problem):
    network = with_head()
    described = json.loads(encode_description(network, TextKeys(seq_length=10))) | change
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError) as caught:
        describe_network(tmp_path / "config.json", network.arrays)
    assert str(caught.value) == (
        f"not the description of a BERT that this program has:\n  - {problem}\n"
        f"  --> {tmp_path / 'config.json'}\n"
        "help: describe the network by a recipe: --recipe RECIPE --network student"
    )
