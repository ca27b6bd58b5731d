"""The schema of recipes, by which editors check them."""

import json
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


def edited(case):
    """Return the values of a bad recipe; None where it is no TOML."""
    text = (HERE / "bases" / f"{case['base']}.toml").read_text()
    for old, new in case["edits"]:
        assert old in text
        text = text.replace(old, new.strip("\n"), 1)
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError:
        return None


BAD = {case["name"]: values for case in CASES if (values := edited(case)) is not None}


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
        assert places(values) == [(*path, "unheard_of") if path[-1:] == ("metrics",) else path]


@pytest.mark.parametrize(
    ("table", "changes", "place"),
    [
        ("training", {"epoch_size": 3}, ("training",)),
        ("training", {"train_steps": None}, ("training",)),
        ("data", {"batch_size": 4}, ("data",)),
        ("data", {"schema_dir": None}, ("data",)),
        ("data", {"block_length": 32}, ("data",)),
        ("data", {"packing": "blocks", "block_length": 32}, ("data", "packing")),
        ("student", {"load_student_ckpt_path": "a"}, ("student",)),
        ("student", {"init": None, "load_student_ckpt_path": {"recipe": "a.json"}}, None),
        ("optimizer", {"betas": [0.9]}, ("optimizer", "betas")),
        ("optimizer", {"betas": [0.9, "x"]}, ("optimizer", "betas", 1)),
        ("distill", {"layer_map": "uniforn"}, ("distill", "layer_map")),
        ("distill", {"layer_map": [1, "2"]}, ("distill", "layer_map", 1)),
        ("topology", {"hosts": 2}, ("topology",)),
        ("runtime", {"teacher_cache_gib": 1.0}, ("runtime",)),
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
        assert definition["additionalProperties"] is False
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
