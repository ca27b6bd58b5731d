"""Shipped recipes of one family differ where they should, and nowhere else."""

import copy

import pytest
import tomli

from tests.conftest import ROOT
from tests.stand_ins import option, prepare_commands

FAMILIES = ("finetune", "td", "evaluate")
OFTEN, SELDOM = (50, 50), (500, 100)
"""`save_ckpt_step` and `data_sink_steps` for short trainings, and for large dev sets."""
TASKS = {
    "sst2": ("SST-2", "classification", 2, "accuracy", (100, 100)),
    "qnli": ("QNLI", "classification", 2, "accuracy", SELDOM),
    "mnli": ("MNLI", "classification", 3, "accuracy", SELDOM),
    "mrpc": ("MRPC", "classification", 2, "bf1", OFTEN),
    "cola": ("CoLA", "classification", 2, "matthews", OFTEN),
    "rte": ("RTE", "classification", 2, "accuracy", OFTEN),
    "stsb": ("STS-B", "regression", 1, "pearson", OFTEN),
    "qqp": ("QQP", "classification", 2, "bf1", SELDOM),
    "tnews": ("TNEWS", "classification", 15, "accuracy", SELDOM),
    "cluener": ("CLUENER", "ner", 21, "entity_f1", (100, 100)),
}
CHINESE = ("tnews", "cluener")
DEV_SETS = {"mnli": ("dev_matched", "dev_mismatched")}
"""Names of a task's dev sets where there is not one alone."""


def text(name):
    return (ROOT / "recipes" / f"{name}.toml").read_text()


def values(name):
    return tomli.loads(text(name))


def dev_sets(task):
    return DEV_SETS.get(task, ("dev",))


def evaluations(task):
    """Return the names of the recipes that evaluate a task's student, by dev set."""
    return {dev: "_".join(["evaluate", task, *dev.split("_")[1:]]) for dev in dev_sets(task)}


def presets(family):
    """Return (task, dev set, recipe's name) of a family."""
    for task in TASKS:
        if family == "evaluate":
            yield from ((task, dev, name) for dev, name in evaluations(task).items())
        else:
            yield task, dev_sets(task)[0], f"{family}_{task}"


ALL = [(family, *preset) for family in FAMILIES for preset in presets(family)]


def as_for(task, dev, family, recipe):
    """Return SST-2's recipe of a family with all in which a task's may differ from it."""
    wanted = copy.deepcopy(recipe)
    name, kind, labels, metric, (save, sink) = TASKS[task]
    wanted["task"] = {
        "task_type": kind,
        "task_name": name,
        "num_labels": labels,
        "assessment_method": metric,
    }
    data = wanted["data"]
    data["eval_data_dir"] = f"data/{task}/{dev}"
    if family == "evaluate":
        data["schema_dir"] = f"data/{task}/{dev}/schema.json"
        wanted["student"]["load_student_ckpt_path"] = {"recipe": f"recipes/td_{task}.toml"}
    else:
        data["train_data_dir"] = f"data/{task}/train"
        data["schema_dir"] = f"data/{task}/train/schema.json"
        data["eval_schema_dir"] = f"data/{task}/{dev}/schema.json"
        wanted["runtime"]["data_sink_steps"] = sink
        for table in (wanted, wanted.get("phase1", {}), wanted.get("phase2", {})):
            if "checkpoints" in table:
                table["checkpoints"]["save_ckpt_step"] = save
    chinese = "_chinese" if task in CHINESE else ""
    wanted["network"]["vocab_size"] = 21128 if chinese else 30522
    if family == "finetune":
        wanted["teacher"]["load_teacher_ckpt_path"] = f"checkpoints/bert_base{chinese}.ckpt"
    if family == "td":
        wanted["teacher"]["load_teacher_ckpt_path"] = {"recipe": f"recipes/finetune_{task}.toml"}
        link = f"recipes/gd_bert_base{chinese}_8p.toml"
        wanted["student"]["load_student_ckpt_path"] = {"recipe": link}
    return wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_every_task_has_its_recipe_and_no_other_is_there(family):
    shipped = {path.stem for path in (ROOT / "recipes").glob(f"{family}_*.toml")}
    assert shipped == {name for _, _, name in presets(family)}


@pytest.mark.parametrize(("family", "task", "dev", "name"), ALL, ids=[name for *_, name in ALL])
def test_a_preset_differs_from_the_one_of_sst2_only_as_its_task_does(family, task, dev, name):
    assert values(name) == as_for(task, dev, family, values(f"{family}_sst2"))


@pytest.mark.parametrize(("family", "task", "dev", "name"), ALL, ids=[name for *_, name in ALL])
def test_the_commands_of_a_preset_make_the_records_that_it_reads(family, task, dev, name):
    data = values(name)["data"]
    keys = ("eval_data_dir",) if family == "evaluate" else ("train_data_dir", "eval_data_dir")
    commands = prepare_commands(text(name))
    assert [option(command, "--output") for command in commands] == [data[key] for key in keys]
    vocabulary = "bert_base_chinese_vocab.txt" if task in CHINESE else "bert_base_vocab.txt"
    for command in commands:
        assert command[1] == ("ner" if task == "cluener" else "glue")
        assert (TASKS[task][0] in command) == (task != "cluener")
        assert option(command, "--seq-length") == str(data["seq_length"])
        assert option(command, "--vocab") == f"checkpoints/{vocabulary}"


@pytest.mark.parametrize("task", TASKS)
def test_the_recipes_of_a_task_describe_the_same_networks(task):
    teach, distil = values(f"finetune_{task}"), values(f"td_{task}")
    sizes = ("hidden_size", "num_hidden_layers", "intermediate_size", "head")
    assert [teach["teacher"][key] for key in sizes] == [distil["teacher"][key] for key in sizes]
    assert teach["network"] == distil["network"]
    for name in evaluations(task).values():
        measured = values(name)
        assert {key: measured["student"][key] for key in sizes} == {
            key: distil["student"][key] for key in sizes
        }
        assert (measured["network"], measured["task"]) == (distil["network"], distil["task"])


@pytest.mark.parametrize("task", TASKS)
def test_a_student_begins_as_the_general_distillation_leaves_it(task):
    distil = values(f"td_{task}")
    link = distil["student"]["load_student_ckpt_path"]["recipe"]
    general = tomli.loads((ROOT / link).read_text())
    assert general["network"] == distil["network"]
    sizes = ("hidden_size", "num_hidden_layers", "intermediate_size")
    assert [general["student"][key] for key in sizes] == [distil["student"][key] for key in sizes]


def test_the_general_distillations_differ_in_devices_or_in_language():
    eight, one, chinese = (values(f"gd_bert_base_{name}") for name in ("8p", "1p", "chinese_8p"))
    assert (one["topology"].pop("devices_per_host"), eight["topology"]["devices_per_host"]) == (
        1,
        8,
    )
    assert one == {**eight, "topology": one["topology"]}
    other = {
        "network": eight["network"] | {"vocab_size": 21128},
        "teacher": eight["teacher"]
        | {"load_teacher_ckpt_path": "checkpoints/bert_base_chinese.ckpt"},
        "data": eight["data"]
        | {"data_dir": "data/wiki_zh/*.tfrecord", "schema_dir": "data/wiki_zh/schema.json"},
    }
    assert chinese == eight | other
    for name in ("8p", "1p", "chinese_8p"):
        (command,) = prepare_commands(text(f"gd_bert_base_{name}"))
        assert values(f"gd_bert_base_{name}")["data"]["schema_dir"] == (
            option(command, "--output") + "/schema.json"
        )
