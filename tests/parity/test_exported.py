"""What is exported for transformers computes the same there, loaded as it is."""

import mindspore as ms
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers

from tests.export.conftest import VOCAB
from tests.model.networks import random_batch, random_weights, tiny
from tests.parity.ours import GATES
from tinybert.export.checkpoint import write_huggingface
from tinybert.export.network import TrainedNetwork, assemble, inference_cell
from tinybert.export.source import Source
from tinybert.model.checkpoint_files import read_arrays
from tinybert.model.description import TextKeys, describe_network
from tinybert.prepare.tokenizer_files import TOKENIZER_CONFIG, StatedTokenizer
from tinybert.recipe.network import HeadConfig

pytestmark = pytest.mark.parity

HEADS = {
    "BertModel": None,
    "BertForSequenceClassification": HeadConfig("classification", 3, "linear", 0.1),
    "BertForTokenClassification": HeadConfig("ner", 3, "linear", 0.1),
}
LABELS = ("low", "middle", "high")


def network_of(architecture: str, hidden_act: str) -> TrainedNetwork:
    config = tiny(hidden_act=hidden_act)
    arrays = random_weights(config)
    head = HEADS[architecture]
    if head is not None:
        generator = np.random.default_rng(8)
        arrays["classifier.weight"] = generator.standard_normal((3, 16)).astype(np.float32)
        arrays["classifier.bias"] = generator.standard_normal(3).astype(np.float32)
    if architecture == "BertForTokenClassification":
        arrays = {n: a for n, a in arrays.items() if not n.startswith("pooler.")}
    return TrainedNetwork(config, head, LABELS if head else None, arrays, ())


def write(network: TrainedNetwork, directory, *, lowercase: bool) -> None:
    directory.mkdir()
    checkpoint = directory.with_name("from") / "model.safetensors"
    checkpoint.parent.mkdir(exist_ok=True)
    tokenizer = StatedTokenizer(lowercase=lowercase)
    (checkpoint.parent / TOKENIZER_CONFIG).write_bytes(tokenizer.encode(10))
    write_huggingface(Source(network, checkpoint, None, VOCAB, TextKeys(seq_length=10)), directory)


def loaded(directory, architecture: str):
    """Return transformers' model, every tensor of which is from the file."""
    kind = getattr(transformers, architecture)
    options = {"add_pooling_layer": True} if architecture == "BertModel" else {}
    model, report = kind.from_pretrained(directory, output_loading_info=True, **options)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[problem], (problem, report[problem])
    return model.eval()


def theirs(model, batch) -> dict[str, np.ndarray]:
    ids, segments, mask = (torch.from_numpy(array.astype(np.int64)) for array in batch)
    with torch.no_grad():
        return model(ids, token_type_ids=segments, attention_mask=mask)


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_tanh", "relu"])
@pytest.mark.parametrize("architecture", HEADS)
def test_transformers_computes_the_same(architecture, hidden_act, tmp_path):
    network = network_of(architecture, hidden_act)
    write(network, tmp_path / "model", lowercase=True)
    model = loaded(tmp_path / "model", architecture)
    batch = random_batch(network.config)
    outputs = inference_cell(network)(*map(ms.Tensor, batch))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    wanted = theirs(model, batch)
    gates = {"last_hidden_state": "hidden", "pooler_output": "pooled", "logits": "pooled"}
    for name, output in zip(network.output_names, outputs, strict=True):
        reference = wanted[name].numpy()
        difference = np.abs(output.asnumpy() - reference).max()
        assert difference <= GATES[gates[name]] * max(1, np.abs(reference).max())
    if network.head is not None:
        assert tuple(model.config.id2label.values()) == LABELS


def test_the_tokenizer_is_loaded_as_it_is(tmp_path):
    network = network_of("BertModel", "gelu")
    for lowercase, pieces in ((True, ["the"]), (False, ["[UNK]"])):
        directory = tmp_path / str(lowercase)
        write(network, directory, lowercase=lowercase)
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        assert tokenizer.tokenize("The") == pieces


def stacked(outputs):
    """Return the logits of transformers' answers as this program has them."""
    return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1).numpy()


def test_a_network_of_answers_goes_to_transformers_and_back(tmp_path):
    config = tiny()
    arrays = {n: a for n, a in random_weights(config).items() if not n.startswith("pooler.")}
    generator = np.random.default_rng(8)
    arrays["qa_outputs.weight"] = generator.standard_normal((2, 16)).astype(np.float32)
    arrays["qa_outputs.bias"] = generator.standard_normal(2).astype(np.float32)
    head = HeadConfig("question_answering", 2, "linear", 0.0)
    network = TrainedNetwork(config, head, None, arrays, ())
    write(network, tmp_path / "model", lowercase=True)
    model = loaded(tmp_path / "model", "BertForQuestionAnswering")
    batch = random_batch(config)
    reference = stacked(theirs(model, batch))
    ours = inference_cell(network)(*map(ms.Tensor, batch)).asnumpy()
    assert np.abs(ours - reference).max() <= GATES["pooled"] * np.abs(reference).max()
    model.save_pretrained(tmp_path / "again")
    stored = read_arrays(tmp_path / "again").arrays
    names = {name.removeprefix("bert."): array for name, array in stored.items()}
    described, found, _ = describe_network(tmp_path / "again" / "config.json", names)
    again = assemble(stored, described, found, labels=None, where=str(tmp_path))
    assert (found.task_type, again.left) == ("question_answering", ())
    for name, array in arrays.items():
        assert np.array_equal(again.arrays[name], array), name


def test_sets_of_labels_go_to_transformers_and_back(tmp_path):
    network = network_of("BertForSequenceClassification", "gelu")
    head = HeadConfig("multi_label_classification", 3, "linear", 0.1)
    network = TrainedNetwork(network.config, head, LABELS, network.arrays, ())
    write(network, tmp_path / "model", lowercase=True)
    model = loaded(tmp_path / "model", "BertForSequenceClassification")
    assert model.config.problem_type == "multi_label_classification"
    batch = random_batch(network.config)
    ours = inference_cell(network)(*map(ms.Tensor, batch)).asnumpy()
    assert np.abs(ours - theirs(model, batch).logits.numpy()).max() <= GATES["pooled"]
    model.save_pretrained(tmp_path / "again")
    stored = read_arrays(tmp_path / "again").arrays
    names = {name.removeprefix("bert."): array for name, array in stored.items()}
    _, found, _ = describe_network(tmp_path / "again" / "config.json", names)
    assert found == head


@pytest.mark.parametrize("architecture", ["BertForPreTraining", *HEADS])
def test_what_transformers_saves_is_read(architecture, tmp_path):
    config = transformers.BertConfig(
        vocab_size=31,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=10,
        num_labels=3,
    )
    model = getattr(transformers, architecture)(config).eval()
    model.save_pretrained(tmp_path)
    arrays = read_arrays(tmp_path).arrays
    names = {name.removeprefix("bert."): array for name, array in arrays.items()}
    described, head, _ = describe_network(tmp_path / "config.json", names)
    network = assemble(arrays, described, head, labels=None, where=str(tmp_path))
    assert network.left == ()
    if head is not None:
        assert (head.num_labels, head.head) == (3, "linear")
        assert (head.task_type == "ner") == (architecture == "BertForTokenClassification")
    batch = random_batch(described)
    outputs = inference_cell(network)(*map(ms.Tensor, batch))
    if architecture == "BertForPreTraining":
        model, name = model.bert, "last_hidden_state"
    else:
        name = network.output_names[0]
    output = outputs[0] if isinstance(outputs, tuple) else outputs
    reference = theirs(model, batch)[name].numpy()
    assert np.abs(output.asnumpy() - reference).max() <= GATES["hidden"]
