"""Conversion between the families of checkpoints."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.export.conftest import (
    TINY,
    VOCAB,
    finished_run,
    student_weights,
    task_recipe,
    task_weights,
)
from tests.model.networks import random_weights, tiny
from tinybert.errors import InputError
from tinybert.export.checkpoint import encode_description, write_checkpoint
from tinybert.export.network import TrainedNetwork, assemble
from tinybert.export.source import Source, SourceRequest, find_network
from tinybert.model.checkpoint_files import read_arrays
from tinybert.model.description import TextKeys, describe_network
from tinybert.model.names import names_in
from tinybert.recipe.network import HeadConfig

MINDSPORE = ("mindspore", "mindspore-older", "mindspore-student")
HEAD = HeadConfig("classification", 3, "linear", 0.1)


def same_bits(found, wanted):
    assert {n: (a.dtype, a.tobytes()) for n, a in found.items()} == {
        n: (a.dtype, a.tobytes()) for n, a in wanted.items()
    }


def with_head(**changes):
    """Return a tiny network with a head of three classes."""
    config = tiny(**changes)
    generator = np.random.default_rng(8)
    head = {
        "classifier.weight": generator.standard_normal((3, 16)).astype(np.float32),
        "classifier.bias": generator.standard_normal(3).astype(np.float32),
    }
    return TrainedNetwork(config, HEAD, ("a", "b", "c"), random_weights(config) | head, ())


def write(network, family, output):
    """Write a network that comes from no run."""
    texts = TextKeys(seq_length=10)
    source = Source(network, output.parent / "none", None, VOCAB, texts, lowercase=True)
    write_checkpoint(source, family, output)


@pytest.mark.parametrize("family", MINDSPORE)
def test_a_student_goes_to_mindspore_and_back_bit_for_bit(family, call, student_run, tmp_path):
    there, back = tmp_path / "a.ckpt", tmp_path / "back"
    assert call("convert", student_run, "--to", family, "--output", there) == (
        0,
        "DIR/a.ckpt: 2 x 24, 39 tensors\nleft out: fit_dense.weight\n",
    )
    weights = student_weights()
    names = names_in(family, weights)
    arrays = read_arrays(there).arrays
    same_bits(arrays, {names[n]: array for n, array in weights.items()})
    given = ("--recipe", TINY, "--network", "student", "--vocab", VOCAB, "--lowercase")
    assert call("convert", there, "--to", "huggingface", "--output", back, *given) == (
        0,
        "DIR/back: 2 x 24, 39 tensors\n",
    )
    same_bits(load_file(back / "model.safetensors"), weights)
    again = tmp_path / "again.ckpt"
    assert call("convert", back, "--to", family, "--output", again)[0] == 0
    assert again.read_bytes() == there.read_bytes()


def test_a_directory_for_transformers_describes_itself(call, student_run, tmp_path):
    output = tmp_path / "model"
    assert call("convert", student_run, "--to", "huggingface", "--output", output)[0] == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert (output / "vocab.txt").read_bytes() == VOCAB.read_bytes()
    assert json.loads((output / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": 32,
    }
    assert json.loads((output / "config.json").read_text()) == {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu_pytorch_tanh",
        "vocab_size": 800,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 32,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-7,
        "initializer_range": 0.02,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
        "dtype": "float32",
        "tinybert": {"seq_length": 32, "characters": None, "pairs": None},
    }


def test_the_labels_of_a_run_go_with_its_head(call, tmp_path):
    recipe = task_recipe(tmp_path)
    weights = task_weights(recipe, 2)
    arrays = {f"teacher.{name}": array for name, array in weights.items()}
    run = finished_run(tmp_path, recipe, arrays, ["negative", "positive"])
    output = tmp_path / "model"
    assert call("convert", run, "--to", "huggingface", "--output", output) == (
        0,
        "DIR/model: 2 x 24, classification with 2 labels, 41 tensors\n",
    )
    described = json.loads((output / "config.json").read_text())
    assert described["architectures"] == ["BertForSequenceClassification"]
    assert described["id2label"] == {"0": "negative", "1": "positive"}
    assert described["label2id"] == {"negative": 0, "positive": 1}
    assert described["problem_type"] == "single_label_classification"
    assert described["classifier_dropout"] == 0.1
    names = {n: n if n.startswith("classifier.") else f"bert.{n}" for n in weights}
    same_bits(
        load_file(output / "model.safetensors"), {names[n]: array for n, array in weights.items()}
    )
    again = find_network(SourceRequest(output, tmp_path, None, None, None, None))
    assert again.network.head == HeadConfig("classification", 2, "linear", 0.1)
    assert again.network.labels == ("negative", "positive")


@pytest.mark.parametrize("family", ["mindspore", "mindspore-older", "huggingface"])
def test_a_head_goes_with_its_encoder(family, tmp_path):
    network = with_head()
    output = tmp_path / ("a" if family == "huggingface" else "a.ckpt")
    write(network, family, output)
    arrays = read_arrays(output).arrays
    again = assemble(arrays, network.config, HEAD, labels=None, where=str(output))
    same_bits(again.arrays, network.arrays)
    assert again.left == ()


def test_a_description_read_back_is_the_network(tmp_path):
    changes = {"hidden_act": "relu", "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.25}
    for task_type, width in (("ner", 3), ("classification", 3), ("regression", 1)):
        network = with_head(**changes, enable_fused_layernorm=False)
        head = HeadConfig(task_type, width, "linear", 0.5)
        arrays = network.arrays | {"classifier.bias": np.ones(width, np.float32)}
        (tmp_path / "config.json").write_bytes(
            encode_description(
                TrainedNetwork(network.config, head, None, arrays, ()), TextKeys(seq_length=7)
            )
        )
        described = describe_network(tmp_path / "config.json", arrays)
        assert described == (network.config, head, TextKeys(seq_length=7))


def test_pretraining_heads_are_kept_and_a_tied_decoder_is_written_once(call, tmp_path):
    weights = {f"bert.{name}": array for name, array in random_weights(tiny()).items()}
    words = weights["bert.embeddings.word_embeddings.weight"]
    generator = np.random.default_rng(9)
    shapes = {
        "cls.predictions.transform.dense.weight": (16, 16),
        "cls.predictions.transform.dense.bias": (16,),
        "cls.predictions.transform.LayerNorm.gamma": (16,),
        "cls.predictions.transform.LayerNorm.beta": (16,),
        "cls.predictions.bias": (31,),
        "cls.seq_relationship.weight": (2, 16),
        "cls.seq_relationship.bias": (2,),
    }
    heads = {n: generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    heads["cls.predictions.decoder.weight"] = words
    save_file(weights | heads, tmp_path / "model.safetensors")
    plain = TrainedNetwork(tiny(), None, None, random_weights(tiny()), ())
    (tmp_path / "config.json").write_bytes(encode_description(plain, TextKeys(seq_length=10)))
    output = tmp_path / "a.ckpt"
    assert call("convert", tmp_path, "--to", "mindspore", "--output", output) == (
        0,
        "DIR/a.ckpt: 2 x 16, 46 tensors\n",
    )
    arrays = read_arrays(output).arrays
    assert arrays["bert.cls1.output_bias"].tobytes() == heads["cls.predictions.bias"].tobytes()
    back = tmp_path / "back"
    network = assemble(arrays, tiny(), None, labels=None, where="a.ckpt")
    write(network, "huggingface", back)
    assert json.loads((back / "config.json").read_text())["architectures"] == ["BertForPreTraining"]
    del heads["cls.predictions.decoder.weight"]
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        name = "cls.predictions.transform.LayerNorm."
        heads[name + new] = heads.pop(name + old)
    same_bits(load_file(back / "model.safetensors"), weights | heads)


def test_a_decoder_of_its_own_is_refused():
    arrays = random_weights(tiny())
    arrays["cls.predictions.decoder.weight"] = np.ones((31, 16), np.float32)
    with pytest.raises(InputError) as caught:
        assemble(arrays, tiny(), None, labels=None, where="a.safetensors")
    assert "  unknown: cls.predictions.decoder.weight (31, 16)\n" in str(caught.value)


def test_half_precision_stays_half(tmp_path):
    network = with_head(dtype="float16")
    halves = {name: array.astype(np.float16) for name, array in network.arrays.items()}
    half = TrainedNetwork(network.config, HEAD, None, halves, ())
    write(half, "mindspore", tmp_path / "a.ckpt")
    arrays = read_arrays(tmp_path / "a.ckpt").arrays
    same_bits(assemble(arrays, half.config, HEAD, labels=None, where="a").arrays, halves)


def test_a_network_of_tags_may_lack_its_pooler(tmp_path):
    network = with_head()
    arrays = {n: a for n, a in network.arrays.items() if not n.startswith("pooler.")}
    tags = HeadConfig("ner", 3, "linear", 0.1)
    assembled = assemble(arrays, network.config, tags, labels=None, where="a").arrays
    assert not any(name.startswith("pooler.") for name in assembled)
    with pytest.raises(InputError) as caught:
        assemble(arrays, network.config, HEAD, labels=None, where="a")
    assert str(caught.value) == (
        "the weights do not fit the network:\n"
        "  missing: pooler.dense.weight (16, 16)\n"
        "  missing: pooler.dense.bias (16,)\n"
        "  --> a\n"
        "help: make the sizes in the recipe those of the checkpoint, or name another one"
    )


def test_force_replaces_an_earlier_result(call, student_run, tmp_path):
    for family, name in (("huggingface", "a"), ("mindspore", "a.ckpt")):
        arguments = ("convert", student_run, "--to", family, "--output", tmp_path / name)
        assert call(*arguments)[0] == 0
        assert call(*arguments)[0] == 2
        assert call(*arguments, "--force")[0] == 0
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
