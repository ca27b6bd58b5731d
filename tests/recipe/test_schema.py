"""The schema of recipes, by which editors check them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tomli

from tests.conftest import ROOT, SHIPPED
from tests.recipe.draft_7 import ANNOTATIONS, KEYWORDS, errors, subschemas
from tinybert.recipe.model import STAGES
from tinybert.recipe.schema import DRAFT, schema

HERE = Path(__file__).parent
RULES = json.loads(schema())
CASES = tomli.loads((HERE / "bad_recipes.toml").read_text())["case"]
SHARE = 0.75
"""Of the bad recipes, how many an editor marks at least; `validate` finds all."""


def places(values):
    return list(errors(RULES, values, RULES))


def parsed(text):
    """Return the values of a recipe; None where it is no TOML."""
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError:
        return None


def edited(case):
    """Return the text of a bad recipe."""
    text = (HERE / "bases" / f"{case['base']}.toml").read_text()
    for old, new in case["edits"]:
        assert old in text
        text = text.replace(old, new.strip("\n"), 1)
    return text


TEXTS = {case["name"]: text for case in CASES if parsed(text := edited(case)) is not None}
BAD = {name: tomli.loads(text) for name, text in TEXTS.items()}
OF_THE_LANGUAGE = {"integer as float", "string as date"}
"""Bad recipes whose values have another type in TOML, and not in JSON, as Taplo reads them."""


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED)
def test_every_shipped_recipe_is_accepted(path):
    assert places(tomli.loads(path.read_text())) == []


@pytest.mark.parametrize("base", sorted(HERE.glob("bases/*.toml")), ids=lambda path: path.stem)
def test_every_base_of_the_bad_ones_is_accepted(base):
    assert places(tomli.loads(base.read_text())) == []


def test_most_bad_recipes_are_marked():
    assert len(BAD) >= 40
    marked = [name for name, values in BAD.items() if places(values)]
    assert len(marked) / len(BAD) >= SHARE


@pytest.mark.skipif(not shutil.which("taplo"), reason="needs taplo: npm install -g @taplo/cli")
def test_taplo_accepts_and_marks_the_same(tmp_path):
    (tmp_path / "schema.json").write_text(schema())
    for name, path in SHIPPED.items():
        shutil.copy(path, tmp_path / f"good {name}.toml")
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.toml").write_text(text)
    command = ["taplo", "check", "--schema", (tmp_path / "schema.json").as_uri(), "*.toml"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    marked = {Path(path).stem for path in re.findall(r'invalid file .*path="(.*)"', checked.stderr)}
    expected = {name for name, values in BAD.items() if places(values)}
    assert marked == expected - OF_THE_LANGUAGE, checked.stderr[-2000:]


def tables(values, path=()):
    """Yield the path of every table, the top included."""
    yield path
    for key, value in values.items():
        if isinstance(value, dict):
            yield from tables(value, (*path, key))


@pytest.mark.parametrize("name", ["tiny", "tiny_finetune", "tiny_task_distill", "tiny_evaluate"])
def test_a_key_that_is_unknown_has_one_mark_in_its_own_table(name):
    for path in tables(tomli.loads(SHIPPED[name].read_text())):
        values = tomli.loads(SHIPPED[name].read_text())
        table = values
        for key in path:
            table = table[key]
        table["unheard_of"] = {} if path == ("expect", "metrics") else 1
        assert places(values) == [(*path, "unheard_of")]


@pytest.mark.parametrize(
    ("table", "changes", "place"),
    [
        ("training", {"epoch_size": 3}, ("training", "train_steps")),
        ("training", {"train_steps": None}, ("training",)),
        ("data", {"batch_size": 4}, ("data", "global_batch_size")),
        ("data", {"schema_dir": None}, ("data",)),
        ("data", {"block_length": 32}, ("data", "block_length")),
        ("data", {"packing": "blocks", "block_length": 32}, ("data", "packing")),
        ("student", {"load_student_ckpt_path": "a"}, ("student", "load_student_ckpt_path")),
        ("student", {"init": None, "load_student_ckpt_path": {"recipe": "a.json"}}, None),
        ("optimizer", {"betas": [0.9]}, ("optimizer", "betas")),
        ("optimizer", {"betas": [0.9, "x"]}, ("optimizer", "betas", 1)),
        ("distill", {"layer_map": "uniforn"}, ("distill", "layer_map")),
        ("distill", {"layer_map": [1, "2"]}, ("distill", "layer_map", 1)),
        ("topology", {"hosts": 2}, ("topology",)),
        ("runtime", {"teacher_cache_gib": 1.0}, ("runtime", "teacher_cache_gib")),
    ],
)
def test_a_mistake_has_its_own_place(table, changes, place):
    values = tomli.loads(SHIPPED["tiny"].read_text())
    for key, value in changes.items():
        if value is None:
            del values[table][key]
        else:
            values[table][key] = value
    place = place or ("student", "load_student_ckpt_path", "recipe")
    assert set(places(values)) == {place}


def test_another_stage_has_other_tables():
    values = tomli.loads(SHIPPED["tiny"].read_text())
    assert places(values | {"stage": "generl_distill"}) == [("stage",)]
    assert () in places(values | {"stage": "finetune"})


def test_no_keyword_is_used_that_editors_ignore():
    assert RULES["$schema"] == DRAFT
    used = {keyword for each in subschemas(RULES) for keyword in each}
    assert used <= KEYWORDS | ANNOTATIONS
    assert "oneOf" not in schema()


def test_every_key_is_described_and_completed():
    assert RULES["properties"]["stage"]["enum"] == list(STAGES)
    for definition in RULES["definitions"].values():
        assert definition["description"]
        assert definition["additionalProperties"] == {"not": {"title": "unknown key"}}
        for field in definition["properties"].values():
            assert field["description"]
    data = RULES["properties"]["data"]["properties"]
    assert {"data_dir", "train_data_dir", "eval_data_dir"} <= data.keys()
    assert data["dataset_type"] == {
        "description": "Format of the record files.",
        "enum": ["tfrecord", "mindrecord"],
        "examples": ["tfrecord"],
    }
    rate = RULES["properties"]["optimizer"]["properties"]["schedule"]["properties"]["power"]
    assert rate["description"] == "Exponent of the decay; 1 is linear."
    assert "null" not in schema()


def test_the_schema_beside_the_recipes_is_the_program_s_own():
    written = (ROOT / "recipes" / "recipe.schema.json").read_text()
    assert written == schema() + "\n", "run `make generated`"
