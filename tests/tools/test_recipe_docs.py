"""docs/recipe_reference.md has every key of every stage, as the program has it."""

import pytest

from tests.conftest import ROOT
from tinybert.recipe.keys import all_tables
from tinybert.recipe.model import STAGES
from tools.recipe_docs import PAGE, page, sections

TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
ROWS = {
    (name, row.key): row for section in sections() for name in section.names for row in section.rows
}


def test_the_page_is_current():
    assert page(TEXT) == TEXT, "run `python -m tools.recipe_docs`"


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_of_a_stage_is_in_the_section_of_its_table(stage):
    for path, table in all_tables(STAGES[stage]).items():
        shared = all_tables(STAGES[stage])[("network",)].model_fields
        for key in table.model_fields:
            if (*path, key) not in all_tables(STAGES[stage]) and not (
                path in (("teacher",), ("student",)) and key in shared
            ):
                assert (".".join(path), key) in ROWS


def test_every_row_is_complete():
    for (table, key), row in ROWS.items():
        assert row.allowed and row.absent and row.meaning, f"{table}.{key}"


@pytest.mark.parametrize(
    ("table", "key", "absent"),
    [
        ("optimizer", "clip_by", "`norm`"),
        ("topology", "device_ids", "0, 1 and so on"),
        ("data", "block_length", 'required with `packing = "blocks"`, refused without'),
        ("training", "epoch_size", "one of `epoch_size` and `train_steps` is required"),
        ("runtime", "teacher_cache_gib", "nothing is kept"),
        ("optimizer", "eps", "required"),
    ],
)
def test_what_holds_without_a_key_is_not_in_its_meaning(table, key, absent):
    row = ROWS[table, key]
    assert row.absent == absent
    assert "bsent" not in row.meaning
