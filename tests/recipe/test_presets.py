"""The presets are those that `tools/make_presets.py` writes, with the published values."""

from pathlib import Path

import pytest
import tomli

from tests.conftest import ROOT, SHIPPED
from tests.stand_ins import option, prepare_commands
from tools.make_presets import presets

PRESETS = {Path(preset.path).stem: preset for preset in presets()}

NETWORK = {
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "use_relative_positions": False,
    "dtype": "float32",
}
MINDSPORE = {"hidden_act": "gelu_tanh", "layer_norm_eps": 1e-7, "compute_type": "float16"}
PYTORCH = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "compute_type": "float32"}
TEACHER = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
SIZES = {
    "4x384": {"hidden_size": 384, "num_hidden_layers": 4, "intermediate_size": 1536},
    "4x312": {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200},
    "6x768": {"hidden_size": 768, "num_hidden_layers": 6, "intermediate_size": 3072},
}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
PADDING = {"padding_idx": 0}
"""Of what the authors' programs train."""
UPDATE = {
    "optimizer": "AdamWeightDecay",
    "eps": 1e-6,
    "betas": [0.9, 0.999],
    "clip_norm": 1.0,
    "no_decay": ["layernorm", "bias"],
}
FIXED_SCALE = (1, 2, 2147483647)
TASKS = {
    "sst2": ("SST-2", "classification", 2, "accuracy", 64),
    "qnli": ("QNLI", "classification", 2, "accuracy", 128),
    "mnli": ("MNLI", "classification", 3, "accuracy", 128),
    "mrpc": ("MRPC", "classification", 2, "bf1", 128),
    "cola": ("CoLA", "classification", 2, "matthews", 64),
    "rte": ("RTE", "classification", 2, "accuracy", 128),
    "stsb": ("STS-B", "regression", 1, "pearson", 128),
    "qqp": ("QQP", "classification", 2, "bf1", 128),
    "tnews": ("TNEWS", "classification", 15, "accuracy", 128),
    "cluener": ("CLUENER", "ner", 21, "entity_f1", 128),
}
"""Name, kind, labels, metric, length."""
CHINESE = ("tnews", "cluener")
WARMUP_LINEAR = {"warmup_ratio": 0.1, "decay_from": "warmup_end"}
"""Of the authors' programs; those of MindSpore's decay along the line from step 0."""
PAPER_EPOCHS = dict(sst2=20, qnli=10, mnli=10, mrpc=20, cola=50, rte=20, stsb=20, qqp=10)
"""Of phase 1."""
TEACHER_EPOCHS = dict(sst2=3, qnli=3, mnli=3, mrpc=3, cola=3, rte=5, stsb=3, qqp=3)
VOCABULARIES = {30522: "bert_base", 21128: "bert_base_chinese"}


def values(name):
    return tomli.loads(SHIPPED[name].read_text())


def vocab_size(task):
    return 21128 if task in CHINESE else 30522


def assert_holds(table, published):
    assert {key: table[key] for key in published} == published


def assert_trains(table, *, epochs, decay, rate, end, warmup, scale):
    """Compare length, update rule, schedule and loss scale of a training."""
    assert table["training"] == {"epoch_size": epochs}
    schedule = {"learning_rate": rate, "end_learning_rate": end, "power": 1.0, **warmup}
    assert table["optimizer"] == UPDATE | {"weight_decay": decay, "schedule": schedule}
    assert tuple(table["loss_scale"].values()) == scale
    assert list(table["loss_scale"]) == ["loss_scale_value", "scale_factor", "scale_window"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_generator_writes(name):
    preset = PRESETS[name]
    assert SHIPPED[name] == ROOT / preset.path
    assert SHIPPED[name].read_text() == preset.text(), "run `make generated`"


def test_only_recipes_of_the_paper_leave_padding_untrained():
    paper = {name for name in PRESETS if "padding_idx" in SHIPPED[name].read_text()}
    assert paper == {name for name in PRESETS if name.startswith("paper")}


def test_every_recipe_for_ascend_is_a_preset():
    ascend = {name for name in SHIPPED if values(name)["topology"]["device"] == "Ascend"}
    assert ascend == set(PRESETS)


def batches(devices):
    """Return 32 rows a card, as parts that are added in one order on any number of cards."""
    if devices == 1:
        return {"batch_size": 32}
    return {"global_batch_size": 32 * devices, "micro_batches": devices}


@pytest.mark.parametrize(
    ("name", "devices", "vocabulary"),
    [
        ("gd_bert_base_8p", 8, 30522),
        ("gd_bert_base_1p", 1, 30522),
        ("gd_bert_base_chinese_8p", 8, 21128),
    ],
)
def test_a_general_distillation_has_the_values_of_the_example(name, devices, vocabulary):
    recipe = values(name)
    assert recipe["topology"]["devices_per_host"] == devices
    assert_holds(recipe["network"], NETWORK | MINDSPORE | {"vocab_size": vocabulary})
    assert_holds(recipe["teacher"], TEACHER)
    published = SIZES["4x384"] | DROPOUT | {"embedding_initializer_range": 0.01}
    assert_holds(recipe["student"], published)
    assert_holds(recipe["data"], {"seq_length": 128, **batches(devices)})
    assert_trains(
        recipe,
        epochs=3,
        decay=1e-4,
        rate=5e-5,
        end=1e-14,
        warmup={"warmup_ratio": 0.1},
        scale=(65536, 2, 1000),
    )


@pytest.mark.parametrize("student", ["4x312", "6x768"])
def test_a_general_distillation_has_the_values_of_the_paper(student):
    recipe = values(f"paper_gd_{student}")
    assert_holds(recipe["network"], NETWORK | PYTORCH | {"vocab_size": 30522})
    assert_holds(recipe["teacher"], TEACHER)
    assert_holds(recipe["student"], SIZES[student] | DROPOUT | PADDING)
    assert_holds(recipe["data"], {"seq_length": 128, **batches(8)})
    assert_trains(
        recipe,
        epochs=3,
        decay=0.01,
        rate=5e-5,
        end=0.0,
        warmup=WARMUP_LINEAR,
        scale=FIXED_SCALE,
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_task_distillation_has_the_values_of_the_example(task):
    recipe = values(f"td_{task}")
    assert_holds(recipe["teacher"], TEACHER)
    head = {"head": "relu_linear", "classifier_dropout_prob": 0.0}
    assert_holds(recipe["student"], SIZES["4x384"] | DROPOUT | head)
    end = 1e-14 if task in CHINESE else 0.0
    warmups = {"warmup_epoch_ratio": 0.1}, {"warmup_ratio": 0.1}
    for phase, epochs, rate, warmup, scale in (
        ("phase1", 10, 5e-5, warmups[0], 256),
        ("phase2", 3, 2e-5, warmups[1], 65536),
    ):
        assert recipe[phase]["batch_size"] == 32
        scales = (scale, 2, 50)
        training = {"epochs": epochs, "rate": rate, "end": end, "warmup": warmup, "scale": scales}
        assert_trains(recipe[phase], decay=1e-4, **training)
    distill = {"temperature": 1.0, "hard_label_weight": float(task == "stsb")}
    assert recipe["phase2"]["distill"] == distill


@pytest.mark.parametrize("student", ["4x312", "6x768"])
@pytest.mark.parametrize("task", PAPER_EPOCHS)
def test_a_task_distillation_has_the_values_of_the_paper(task, student):
    recipe = values(f"paper_td_{task}_{student}")
    assert recipe["teacher"]["load_teacher_ckpt_path"] == {
        "recipe": f"recipes/{task}/paper_finetune_{task}.toml"
    }
    assert recipe["student"]["load_student_ckpt_path"] == {
        "recipe": f"recipes/gd/paper_gd_{student}.toml"
    }
    head = {"head": "relu_linear", "classifier_dropout_prob": 0.0}
    assert_holds(recipe["student"], SIZES[student] | DROPOUT | PADDING | head)
    training = {"decay": 0.01, "scale": FIXED_SCALE}
    constant = {"rate": 5e-5, "end": 5e-5, "warmup": {"warmup_steps": 0}}
    assert_trains(recipe["phase1"], epochs=PAPER_EPOCHS[task], **constant, **training)
    falling = {"rate": 3e-5, "end": 0.0, "warmup": WARMUP_LINEAR}
    assert_trains(recipe["phase2"], epochs=3, **falling, **training)
    assert {recipe[phase]["batch_size"] for phase in ("phase1", "phase2")} == {32}
    distill = {"temperature": 1.0, "hard_label_weight": float(task == "stsb")}
    assert recipe["phase2"]["distill"] == distill


@pytest.mark.parametrize("task", TASKS)
def test_the_teacher_of_an_example_is_trained_as_bert_recommends(task):
    recipe = values(f"finetune_{task}")
    head = {"head": "linear", "classifier_dropout_prob": 0.1}
    assert_holds(recipe["teacher"], TEACHER | DROPOUT | head)
    assert recipe["data"]["batch_size"] in (16, 32)
    rate = recipe["optimizer"]["schedule"]["learning_rate"]
    assert rate in (5e-5, 3e-5, 2e-5)
    warmup, scale = {"warmup_ratio": 0.1}, (65536, 2, 50)
    assert recipe["training"]["epoch_size"] in (2, 3, 4)
    assert_trains(recipe, epochs=3, decay=0.01, rate=rate, end=0.0, warmup=warmup, scale=scale)


@pytest.mark.parametrize("task", TEACHER_EPOCHS)
def test_the_teacher_of_the_paper_is_trained_as_by_its_authors(task):
    recipe = values(f"paper_finetune_{task}")
    head = {"head": "relu_linear", "classifier_dropout_prob": 0.0}
    assert_holds(recipe["teacher"], TEACHER | DROPOUT | PADDING | head)
    assert recipe["data"]["batch_size"] == 32
    training = {"decay": 0.01, "rate": 5e-5, "end": 0.0, "warmup": WARMUP_LINEAR}
    assert_trains(recipe, epochs=TEACHER_EPOCHS[task], scale=FIXED_SCALE, **training)


@pytest.mark.parametrize("task", TASKS)
def test_all_recipes_of_a_task_are_in_its_folder_with_its_labels_metric_and_length(task):
    evaluations = ("_matched", "_mismatched") if task == "mnli" else ("",)
    names = {f"finetune_{task}", f"td_{task}", *(f"evaluate_{task}{end}" for end in evaluations)}
    if task in PAPER_EPOCHS:
        names |= {f"paper_finetune_{task}"}
        names |= {f"paper_td_{task}_{student}" for student in ("4x312", "6x768")}
    assert names == {name for name in PRESETS if SHIPPED[name].parent.name == task}
    *keys, length = TASKS[task]
    for name in names:
        recipe = values(name)
        assert [
            recipe["task"][key]
            for key in ("task_name", "task_type", "num_labels", "assessment_method")
        ] == keys
        assert recipe["data"]["seq_length"] == length
        framework = PYTORCH if name.startswith("paper") else MINDSPORE
        published = NETWORK | framework | {"vocab_size": vocab_size(task)}
        assert_holds(recipe["network"], published)
        evaluates = name.startswith("evaluate")
        dev = name.removeprefix(f"evaluate_{task}") if evaluates else evaluations[0]
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
