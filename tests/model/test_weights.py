import json
import pickle

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.model.networks import tiny
from tinybert.errors import InputError
from tinybert.model.parameters import encoder_shapes, seeded
from tinybert.model.weights import read_weights

CONFIG = {
    "model_type": "bert",
    "vocab_size": 31,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
}


@pytest.fixture
def values():
    return seeded(encoder_shapes(tiny()), seed=1, std=0.02, prefix="")


POST = "bert_embedding_postprocessor"
SEED_NAMES = {
    "embeddings.word_embeddings.weight": "bert_embedding_lookup.embedding_table",
    "embeddings.position_embeddings.weight": f"{POST}.full_position_embedding.embedding_table",
    "embeddings.token_type_embeddings.weight": f"{POST}.token_type_embedding.embedding_table",
    "embeddings.LayerNorm": f"{POST}.LayerNorm",
    "encoder.layer": "bert_encoder.layers",
    "self.query": "attention.query_layer",
    "self.key": "attention.key_layer",
    "self.value": "attention.value_layer",
    "intermediate.dense": "intermediate",
    "pooler.dense": "dense",
    "LayerNorm.weight": "layernorm.gamma",
    "LayerNorm.bias": "layernorm.beta",
}


def mindspore_name(name: str) -> str:
    """Return the name of a parameter in the seed's checkpoints."""
    for ours, theirs in SEED_NAMES.items():
        name = name.replace(ours, theirs)
    return name


def save_checkpoint(values: dict, path) -> None:
    """Write a MindSpore checkpoint."""
    parameters = [{"name": name, "data": ms.Tensor(value)} for name, value in values.items()]
    ms.save_checkpoint(parameters, str(path))


def refusal(path, **changes) -> str:
    """Return the message with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_weights(path, tiny(**changes), "teacher.")
    return str(caught.value).replace(str(path.parent), "DIR").replace(str(path), "DIR")


def assert_equal(arrays: dict, values: dict) -> None:
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        f"teacher.{name}": value.tobytes() for name, value in values.items()
    }


def test_a_directory_of_hugging_face_is_read_and_its_files_named(tmp_path, values):
    extra = {"embeddings.position_ids": np.arange(10)}
    save_file(values | extra, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    loaded = read_weights(tmp_path, tiny(), "teacher.")
    assert_equal(loaded.arrays, values)
    assert loaded.dropped == ("embeddings.position_ids",)
    assert loaded.absent == ()
    assert loaded.files == (tmp_path / "model.safetensors", tmp_path / "config.json")


def test_a_checkpoint_of_a_run_is_read(tmp_path, values):
    run = {f"student.{name}": value for name, value in values.items()}
    run |= {f"adam_m.student.{name}": value for name, value in values.items()}
    run |= {"fit_dense.weight": np.ones((32, 16), np.float32), "loss_scale": np.float32(8)}
    save_file({k: np.asarray(v) for k, v in run.items()}, tmp_path / "step-1.safetensors")
    loaded = read_weights(tmp_path / "step-1.safetensors", tiny(), "teacher.")
    assert_equal(loaded.arrays, values)
    assert loaded.dropped[-2:] == ("fit_dense.weight", "loss_scale")
    assert len(loaded.dropped) == len(values) + 2


@pytest.mark.parametrize("prefix", ["bert.bert.", "bert.tiny", "bert.", ""])
def test_mindspore_checkpoints_are_read(tmp_path, values, prefix):
    theirs = {}
    for name, value in values.items():
        stem = mindspore_name(name)
        tiny_prefix = prefix.endswith("tiny") and not stem.startswith("bert_")
        theirs[prefix.removesuffix("tiny") + stem if tiny_prefix else prefix + stem] = value
    assert len(theirs) == len(values)
    save_checkpoint(theirs | {"dense_1.weight": np.ones((2, 16), np.float32)}, tmp_path / "a.ckpt")
    loaded = read_weights(tmp_path / "a.ckpt", tiny(), "teacher.")
    assert_equal(loaded.arrays, values)
    assert loaded.dropped == ("dense_1.weight",)


def test_a_pooler_may_be_absent_where_no_trained_head_reads_it(tmp_path, values):
    for name in ("pooler.dense.weight", "pooler.dense.bias"):
        del values[name]
    save_file(values, tmp_path / "a.safetensors")
    loaded = read_weights(tmp_path / "a.safetensors", tiny(), "teacher.")
    assert_equal(loaded.arrays, values)
    assert loaded.absent == ("teacher.pooler.dense.weight", "teacher.pooler.dense.bias")


def test_every_name_and_shape_that_does_not_fit_is_in_one_error(tmp_path, values):
    del values["embeddings.LayerNorm.bias"]
    values["encoder.layer.1.output.dense.weight"] = np.ones((16, 25), np.float32)
    values["encoder.layer.0.output.dense.bias"][3] = np.nan
    values["encoder.layer.1.output.dense.bias"] = np.ones(16, np.int32)
    values["encoder.layer.2.adapter.weight"] = np.ones(3, np.float32)
    save_file(values, tmp_path / "a.safetensors")
    assert refusal(tmp_path / "a.safetensors") == (
        "the weights do not fit the network:\n"
        "  missing: embeddings.LayerNorm.bias (16,)\n"
        "  value: encoder.layer.0.output.dense.bias has no finite float32 values\n"
        "  shape: encoder.layer.1.output.dense.weight is (16, 25), not (16, 24)\n"
        "  value: encoder.layer.1.output.dense.bias has no finite float32 values\n"
        "  unknown: encoder.layer.2.adapter.weight (3,)\n"
        "  --> DIR/a.safetensors\n"
        "help: make the sizes in the recipe those of the checkpoint, or name another one"
    )


def test_a_value_too_large_for_half_precision_is_refused_there_alone(tmp_path, values):
    values["embeddings.LayerNorm.bias"][0] = 1e5
    save_file(values, tmp_path / "a.safetensors")
    read_weights(tmp_path / "a.safetensors", tiny(), "teacher.")
    message = refusal(tmp_path / "a.safetensors", dtype="float16")
    assert "value: embeddings.LayerNorm.bias has no finite float16 values" in message


def test_a_network_of_relative_positions_drops_the_position_embedding(tmp_path, values):
    config = tiny(use_relative_positions=True)
    values = seeded(encoder_shapes(config), seed=1, std=0.02, prefix="")
    position = {"embeddings.position_embeddings.weight": np.ones((10, 16), np.float32)}
    save_file(values | position, tmp_path / "a.safetensors")
    loaded = read_weights(tmp_path / "a.safetensors", config, "teacher.")
    assert_equal(loaded.arrays, values)
    assert loaded.dropped == ("embeddings.position_embeddings.weight",)


def test_every_difference_of_the_description_is_in_one_error(tmp_path, values):
    save_file(values, tmp_path / "model.safetensors")
    described = CONFIG | {
        "hidden_size": 32,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-7,
        "position_embedding_type": "relative_key",
    }
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert refusal(tmp_path / "model.safetensors") == (
        "the checkpoint is of another network:\n"
        "  hidden_size is 32 there and 16 in the recipe\n"
        "  hidden_act is 'gelu_tanh' there and 'gelu' in the recipe\n"
        "  layer_norm_eps is 1e-07 there and 1e-12 in the recipe\n"
        "  position_embedding_type is not 'absolute' there\n"
        "  --> DIR/config.json\n"
        "help: make the recipe's network that of the checkpoint"
    )


@pytest.mark.parametrize("key", [key for key in CONFIG if key != "model_type"])
def test_every_key_of_the_description_is_compared(tmp_path, values, key):
    save_file(values, tmp_path / "model.safetensors")
    other = "relu" if key == "hidden_act" else CONFIG[key] * 2
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {key: other}))
    assert f"\n  {key} is {other!r} there and " in refusal(tmp_path / "model.safetensors")


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_damaged_description_is_an_input_error(tmp_path, values, text):
    save_file(values, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    assert refusal(tmp_path / "model.safetensors") == (
        "not a description of a network\n"
        "  --> DIR/config.json\n"
        "help: put back the config.json that belongs to the weights, or take it away"
    )


def test_a_missing_file_is_an_input_error(tmp_path):
    assert refusal(tmp_path / "a.ckpt") == (
        "no such checkpoint\n"
        "  --> DIR/a.ckpt\n"
        "help: name a .safetensors or .ckpt file, or a directory with model.safetensors"
    )
    with pytest.raises(InputError, match="no such checkpoint"):
        read_weights(tmp_path, tiny(), "teacher.")


def test_a_pickle_is_never_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert refusal(tmp_path / "pytorch_model.bin") == (
        "checkpoint of unknown kind `.bin`\n"
        "  --> DIR/pytorch_model.bin\n"
        "help: use .safetensors or MindSpore's .ckpt; pickled files are never read"
    )


def test_weights_of_another_kind_of_network_are_refused(tmp_path):
    save_file({"features.0.weight": np.ones(3, np.float32)}, tmp_path / "a.safetensors")
    assert refusal(tmp_path / "a.safetensors") == (
        "not the weights of one BERT network: no word embeddings of a known family of names\n"
        "  --> DIR/a.safetensors\n"
        "help: name a checkpoint of BERT or of a run of this program"
    )


def damaged(whole: bytes):
    """Return a file cut at many lengths, empty, and of random bytes."""
    cuts = [whole[:length] for length in range(0, len(whole), max(1, len(whole) // 40))]
    return [
        *cuts,
        whole[:-1],
        b"text " * 40,
        pickle.dumps([1, 2]),
        np.random.default_rng(0).bytes(300),
    ]


def test_no_damaged_safetensors_file_ends_in_anything_but_an_input_error(tmp_path, values):
    whole, path = tmp_path / "whole.safetensors", tmp_path / "a.safetensors"
    save_file(values, whole)
    for content in damaged(whole.read_bytes()):
        path.write_bytes(content)
        message = refusal(path)
        assert message.startswith("unreadable safetensors file: ")
        assert message.endswith(
            "\n  --> DIR/a.safetensors"
            "\nhelp: get the file again; its types must be float32, float16 or bfloat16"
        )


def test_no_damaged_checkpoint_file_ends_in_anything_but_an_input_error(tmp_path, values):
    whole, path = tmp_path / "whole.ckpt", tmp_path / "a.ckpt"
    save_checkpoint({f"bert.{mindspore_name(k)}": v for k, v in values.items()}, whole)
    for content in damaged(whole.read_bytes()):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        message = refusal(path)
        # A cut between two parameters is a whole file of fewer parameters.
        assert message.startswith("unreadable MindSpore checkpoint: ") or "  missing: " in message
