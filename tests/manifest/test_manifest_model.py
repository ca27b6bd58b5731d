import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from tinybert.manifest.canonical import to_json
from tinybert.manifest.leaf import Comparator, iterate_facts
from tinybert.manifest.model import Digests, Manifest, Number
from tools.manifest_docs import END, START, field_table, fields, schema

ROOT = Path(__file__).parents[2]
FIELDS = list(fields(Manifest))
SECTIONS = [field.name for field in dataclasses.fields(Digests)]
KINDS = dict(zip(SECTIONS, ("input", "derived", "environment", "output", "volatile"), strict=True))


def leaves() -> list[Any]:
    names = [path for path, *_ in FIELDS]
    return [
        pytest.param(path, leaf, id=path)
        for path, _, leaf in FIELDS
        if leaf is not None
        or not any(re.match(rf"{re.escape(path)}(\[\]|{{}})?\.", n) for n in names)
    ]


@pytest.mark.parametrize(("path", "leaf"), leaves())
def test_every_leaf_has_the_class_of_its_section_and_a_comparator(path: str, leaf: Any) -> None:
    assert leaf is not None, f"{path} has no class"
    assert leaf.comparator in get_args(Comparator)
    section = path.removeprefix("digests.").split(".")[0]
    assert leaf.kind == KINDS.get(section, "volatile")
    assert leaf.kind != "volatile" or leaf.comparator == "ignored"


def test_every_field_is_explained_below_itself() -> None:
    assert [path for path, text, _ in FIELDS if not text] == []


def test_the_readme_has_the_table_of_fields() -> None:
    text = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")
    table = text.partition(START)[2].partition(END)[0]
    assert table == field_table(), "run `python -m tools.manifest_docs`"
    for path, *_ in FIELDS:
        assert f"| `{path}` |" in table


def test_the_schema_is_current() -> None:
    written = json.loads((ROOT / "manifests" / "manifest.schema.json").read_text(encoding="utf-8"))
    assert written == schema(), "run `python -m tools.manifest_docs`"


def test_the_schema_says_class_and_comparator() -> None:
    recipe = schema()["$defs"]["RecipeFacts"]["properties"]
    assert recipe["name"] == {
        "description": "The file's name without `.toml`.",
        "title": "Name",
        "type": "string",
        "x-class": "input",
        "x-comparator": "ignored",
    }


def test_a_number_is_readable_and_exact() -> None:
    assert to_json(Number.of(0.1)) == {"value": 0.1, "hex": "0x1.999999999999ap-4"}
    assert to_json(Number.of(float("-inf"))) == {"value": "float:-Infinity", "hex": "-inf"}
    assert float(Number.of(float("-inf"))) == float("-inf")


def test_open_tables_yield_a_fact_a_key(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        found = {fact.path: fact.value for fact in iterate_facts(record.manifest.inputs, "inputs")}
    assert found["inputs.recipe.values.optimizer.schedule.power"] == 1.0
    assert found["inputs.files.1.role"] == "teacher"
    assert found["inputs.recipe.origins.seed.place"] == "recipes/tiny.toml:12:8"
