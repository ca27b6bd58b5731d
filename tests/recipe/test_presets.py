"""The presets are those that `tools/make_presets.py` writes, with the published values."""

from pathlib import Path

import pytest
import tomli

from tests.conftest import ROOT, SHIPPED
from tests.stand_ins import option, prepare_commands
from tools.make_presets import presets

PRESETS = {Path(preset.path).stem: preset for preset in presets()}

# The MindSpore TinyBERT example: `research/nlp/tinybert` of the MindSpore models.
NETWORK = {
    "num_attention_heads": 12,
    "hidden_act": "gelu_tanh",
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "use_relative_positions": False,
    "dtype": "float32",
    "compute_type": "float16",
}
TEACHER = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
STUDENT = {"hidden_size": 384, "num_hidden_layers": 4, "intermediate_size": 1536}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
OPTIMIZER = {"optimizer": "AdamWeightDecay", "weight_decay": 1e-4, "eps": 1e-6, "clip_norm": 1.0}
NO_DECAY = ["layernorm", "bias"]
TRAININGS = {
    "gd": (32, 3, 5e-5, 1e-14, {"warmup_ratio": 0.1}, (65536, 2, 1000)),
    "phase1": (32, 10, 5e-5, 0.0, {"warmup_epoch_ratio": 0.1}, (256, 2, 50)),
    "phase2": (32, 3, 2e-5, 0.0, {"warmup_ratio": 0.1}, (65536, 2, 50)),
}
"""Batch, epochs, learning rate and where it ends, warmup, loss scale."""
TASKS = {
    "sst2": ("SST-2", "classification", 2, "accuracy"),
    "qnli": ("QNLI", "classification", 2, "accuracy"),
    "mnli": ("MNLI", "classification", 3, "accuracy"),
    "mrpc": ("MRPC", "classification", 2, "bf1"),
    "cola": ("CoLA", "classification", 2, "matthews"),
    "rte": ("RTE", "classification", 2, "accuracy"),
    "stsb": ("STS-B", "regression", 1, "pearson"),
    "qqp": ("QQP", "classification", 2, "bf1"),
    "tnews": ("TNEWS", "classification", 15, "accuracy"),
    "cluener": ("CLUENER", "ner", 21, "entity_f1"),
}
VOCABULARIES = {30522: "bert_base", 21128: "bert_base_chinese"}


def values(name):
    return tomli.loads(SHIPPED[name].read_text())


def vocab_size(task):
    return 21128 if task in ("tnews", "cluener") else 30522


def assert_holds(table, published):
    assert {key: table[key] for key in published} == published


def assert_trains(table, training, batch_size):
    batch, epochs, rate, end, warmup, (scale, factor, window) = training
    assert batch_size == batch
    assert table["training"] == {"epoch_size": epochs}
    schedule = {"learning_rate": rate, "end_learning_rate": end, "power": 1.0, **warmup}
    assert table["optimizer"].pop("schedule") == schedule
    assert_holds(table["optimizer"], OPTIMIZER | {"no_decay": NO_DECAY})
    loss_scale = {"loss_scale_value": scale, "scale_factor": factor, "scale_window": window}
    assert table["loss_scale"] == loss_scale


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_generator_writes(name):
    preset = PRESETS[name]
    assert SHIPPED[name] == ROOT / preset.path
    assert SHIPPED[name].read_text() == preset.text(), "run `make generated`"


def test_every_recipe_for_ascend_is_a_preset():
    ascend = {name for name in SHIPPED if values(name)["topology"]["device"] == "Ascend"}
    assert ascend == set(PRESETS)


@pytest.mark.parametrize(
    ("name", "devices", "vocabulary"),
    [
        ("gd_bert_base_8p", 8, 30522),
        ("gd_bert_base_1p", 1, 30522),
        ("gd_bert_base_chinese_8p", 8, 21128),
    ],
)
def test_a_general_distillation_has_the_published_values(name, devices, vocabulary):
    recipe = values(name)
    assert recipe["topology"]["devices_per_host"] == devices
    assert_holds(recipe["network"], NETWORK | {"vocab_size": vocabulary})
    assert_holds(recipe["teacher"], TEACHER)
    assert_holds(recipe["student"], STUDENT | DROPOUT)
    assert recipe["data"]["seq_length"] == 128
    assert_trains(recipe, TRAININGS["gd"], recipe["data"]["batch_size"])


@pytest.mark.parametrize("task", TASKS)
def test_a_task_distillation_has_the_published_values(task):
    recipe = values(f"td_{task}")
    assert_holds(recipe["network"], NETWORK | {"vocab_size": vocab_size(task)})
    assert_holds(recipe["teacher"], TEACHER)
    assert_holds(recipe["student"], STUDENT | DROPOUT | {"head": "relu_linear"})
    for phase in ("phase1", "phase2"):
        assert_trains(recipe[phase], TRAININGS[phase], recipe[phase]["batch_size"])
    assert recipe["phase2"]["distill"] == {"temperature": 1.0, "hard_label_weight": 0.0}


@pytest.mark.parametrize("task", TASKS)
def test_all_recipes_of_a_task_are_of_its_folder_and_have_its_labels_and_metric(task):
    evaluations = ("_matched", "_mismatched") if task == "mnli" else ("",)
    names = [f"finetune_{task}", f"td_{task}", *(f"evaluate_{task}{end}" for end in evaluations)]
    keys = ("task_name", "task_type", "num_labels", "assessment_method")
    for name in names:
        assert SHIPPED[name].parent.name == task
        recipe = values(name)
        assert [recipe["task"][key] for key in keys] == list(TASKS[task])
        assert_holds(recipe["network"], NETWORK | {"vocab_size": vocab_size(task)})
        dev = (
            name.removeprefix(f"evaluate_{task}") if name.startswith("evaluate") else evaluations[0]
        )
        assert recipe["data"]["eval_data_dir"] == f"data/{task}/dev{dev}"


@pytest.mark.parametrize("name", PRESETS)
def test_the_commands_of_a_preset_make_the_records_that_it_reads(name):
    recipe = values(name)
    data = recipe["data"]
    schemas = [data[key] for key in ("schema_dir", "eval_schema_dir") if key in data]
    commands = prepare_commands(SHIPPED[name].read_text())
    assert [option(command, "--output") + "/schema.json" for command in commands] == schemas
    for command in commands:
        assert option(command, "--seq-length") == str(data["seq_length"])
        vocabulary = f"checkpoints/{VOCABULARIES[recipe['network']['vocab_size']]}_vocab.txt"
        assert option(command, "--vocab") == vocabulary
        task = recipe.get("task", {"task_type": "corpus"})
        kind = {"corpus": "corpus", "ner": "ner"}.get(task["task_type"], "glue")
        assert command[1] == kind
        assert kind != "glue" or command[2] == task["task_name"]
