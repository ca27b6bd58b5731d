"""What `validate` and `explain` print."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tomli

from tests.conftest import ROOT, SHIPPED
from tinybert.errors import RecipeError, UsageError
from tinybert.recipe.explain import explain, field_texts
from tinybert.recipe.keys import all_tables
from tinybert.recipe.model import STAGES
from tinybert.recipe.validate import validate

BASES = Path(__file__).parent / "bases"
GOOD = (BASES / "general_distill.toml").read_text()


@pytest.fixture(autouse=True)
def recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("good.toml").write_text(GOOD)
    bad = GOOD.replace("power = 1.0", "pover = 1.0").replace("seed = 1\n", "")
    Path("bad, or: not.toml").write_text(bad)


def test_validate_prints_all_problems_then_a_line_a_recipe():
    assert validate(["good.toml", "bad, or: not.toml"]) == (
        """\
error: unknown key `pover` in [optimizer.schedule]
  --> bad, or: not.toml:58:1
   |
58 | pover = 1.0
   | ^^^^^
help: use `power`

error: missing key `seed` at the top level
  --> bad, or: not.toml
help: for example `seed = 1`

good.toml: valid
bad, or: not.toml: 2 problems""",
        1,
    )
    assert validate(["good.toml"]) == ("good.toml: valid", 0)


def test_validate_answers_2_if_a_recipe_is_unreadable():
    text, code = validate(["none.toml", "bad, or: not.toml", "good.toml"])
    assert code == 2
    assert text.startswith("error: no such recipe\n  --> none.toml\n\nerror: unknown key `pover`")
    assert text.endswith(
        "\n\nnone.toml: 1 problem\nbad, or: not.toml: 2 problems\ngood.toml: valid"
    )


def test_validate_applies_overrides():
    assert validate(["good.toml"], "text", ["seed=2"]) == ("good.toml: valid", 0)
    text, code = validate(["good.toml"], "text", ["seed=x"])
    assert code == 1
    assert "  --> --set seed=x" in text


def test_validate_prints_json():
    text, code = validate(["good.toml", "bad, or: not.toml", "none.toml"], "json")
    assert code == 2
    assert json.loads(text) == {
        "recipes": [
            {"path": "good.toml", "valid": True, "problems": []},
            {
                "path": "bad, or: not.toml",
                "valid": False,
                "problems": [
                    {
                        "message": "unknown key `pover` in [optimizer.schedule]",
                        "place": "bad, or: not.toml",
                        "line": 58,
                        "column": 1,
                        "length": 5,
                        "help": "use `power`",
                    },
                    {
                        "message": "missing key `seed` at the top level",
                        "place": "bad, or: not.toml",
                        "line": 0,
                        "column": 0,
                        "length": 0,
                        "help": "for example `seed = 1`",
                    },
                ],
            },
            {
                "path": "none.toml",
                "valid": False,
                "problems": [
                    {
                        "message": "no such recipe",
                        "place": "none.toml",
                        "line": 0,
                        "column": 0,
                        "length": 0,
                        "help": "",
                    }
                ],
            },
        ]
    }


def test_validate_prints_github_annotations():
    assert validate(["good.toml", "bad, or: not.toml"], "github", ["seed=3%"]) == (
        """\
::error file=good.toml::expected integer for `seed`, got string (--set seed=3%25)
::error file=bad%2C or%3A not.toml,line=58,col=1,endColumn=6::unknown key `pover` in \
[optimizer.schedule]%0Ahelp: use `power`
::error file=bad%2C or%3A not.toml::expected integer for `seed`, got string (--set seed=3%25)""",
        1,
    )
    assert validate(["good.toml"], "github") == ("", 0)


def test_explain_names_value_origin_and_meaning_of_one_key():
    assert explain("good.toml", "optimizer.schedule.power", ["seed=2"]) == (
        "[optimizer.schedule]\npower = 1.0  good.toml:59:9\n"
        "    Exponent of the decay; 1 is linear. Allowed: a number above 0.",
        0,
    )
    assert explain("good.toml", "seed", ["seed=2"]) == (
        "seed = 2  --set seed=2\n"
        "    Every random choice derives from it. Allowed: an integer from 0.",
        0,
    )
    assert explain("good.toml", "topology.device", (), "Ascend") == (
        '[topology]\ndevice = "Ascend"  --device Ascend\n'
        '    Kind of device. Allowed: "Ascend" or "CPU".',
        0,
    )


def test_explain_lists_a_table():
    assert explain("good.toml", "topology") == (
        """\
[topology]
device = "CPU"        good.toml:71:10
    Kind of device. Allowed: "Ascend" or "CPU".
hosts = 1             good.toml:72:9
    Number of machines. Allowed: an integer from 1 to 4096.
devices_per_host = 1  good.toml:73:20
    Processes a host, one a device. Allowed: an integer from 1 to 64.
device_count = 1      derived hosts * devices_per_host
    Processes of the whole run.""",
        0,
    )


@pytest.mark.parametrize("name", ["minilm_sst2_evaluate_student", "finetune_tnews"])
def test_explain_has_lines_of_100_columns_also_where_paths_are_long(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    text, _ = explain(str(SHIPPED[name].relative_to(ROOT)))
    assert max(map(len, text.splitlines())) <= 100


def test_explain_lists_every_value_once():
    text, code = explain("good.toml")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "good.toml: general_distill"
    assert lines[1].startswith("digest ")
    assert max(map(len, lines)) <= 100
    headers = [line for line in lines if line.startswith("[")]
    assert len(headers) == len(set(headers)) == 14
    assert any(
        line.startswith("hidden_dropout_prob = 0.0 ") and "default" in line for line in lines
    )
    written = [line.split("  ")[0] for line in lines[3:] if not line.startswith("    ")]
    assert tomli.loads("\n".join(written))["seed"] == 1


def test_explain_gives_the_meaning_of_a_key_that_is_left_out():
    assert explain("good.toml", "training.epoch_size") == (
        "training.epoch_size is not written\n"
        "    Passes over the training rows. Allowed: an integer from 1.",
        0,
    )
    assert explain("good.toml", "expect.metrics.total_loss.max") == (
        "expect.metrics.total_loss.max is not written\n"
        "    Largest value that is accepted. Absent: any. Allowed: a number.",
        0,
    )


def test_explain_gives_the_meaning_of_a_link():
    Path("task.toml").write_text((BASES / "task_distill.toml").read_text())
    text, _ = explain("task.toml", "student.load_student_ckpt_path")
    assert text == (
        "[student.load_student_ckpt_path]\n"
        'recipe = "recipes/gd_bert_base_8p.toml"  task.toml:25:37\n'
        "    Weights to start from: Hugging Face safetensors, MindSpore .ckpt, or a link to a run."
    )


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("optimizer.learning_rate", "it belongs under [optimizer.schedule]"),
        ("training.step", "use `train_steps`"),
        ("training.verbose", "known here: `epoch_size` and `train_steps`"),
        ("trainin", "use [training]"),
        ("a.b.c", ""),
        ("seed.x", ""),
    ],
)
def test_explain_refuses_an_unknown_key(key, answer):
    with pytest.raises(UsageError) as caught:
        explain("good.toml", key)
    assert caught.value.message == f"unknown key `{key}`"
    assert caught.value.cure == answer


def test_explain_refuses_a_bad_recipe():
    with pytest.raises(RecipeError, match="unknown key `pover`"):
        explain("bad, or: not.toml")


def test_every_key_of_every_table_has_a_meaning():
    for stage in STAGES.values():
        for table in all_tables(stage).values():
            assert list(table.model_fields) == [
                key for key in table.model_fields if field_texts(table).get(key)
            ]


@pytest.mark.parametrize("module", ["validate", "explain", "network"])
def test_no_framework_is_imported(module):
    code = f"import tinybert.recipe.{module}, sys; sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
