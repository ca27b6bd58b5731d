"""Keys and recipes that the pages on other programs name are those of this program."""

import re

import pytest

from tests.conftest import ROOT
from tinybert.recipe.keys import all_tables, dotted
from tinybert.recipe.model import STAGES

PAGES = {
    name: (ROOT / "docs" / f"{name}.md").read_text()
    for name in ("from_gd_config", "from_transformers")
}
FIELDS: dict[str, set[str]] = {}
for stage in STAGES.values():
    for path, table in all_tables(stage).items():
        FIELDS.setdefault(dotted(path), set()).update(table.model_fields)
KEYS = set().union(*FIELDS.values())


def rows(page):
    """Yield the first two cells of each row of a page's tables, as their code spans."""
    for line in PAGES[page].splitlines():
        cells = line.split(" | ")
        if line.startswith("| ") and len(cells) > 1:
            yield tuple(re.findall(r"`([^`]+)`", cell) for cell in cells[:2])


@pytest.mark.parametrize("page", PAGES)
def test_a_key_after_a_table_is_one_of_it(page):
    named = []
    for _, spans in rows(page):
        table = None
        for span in spans:
            if match := re.fullmatch(r"\[([a-z_.0-9]+)\]", span):
                table = match[1]
                assert table in FIELDS
            elif table and (match := re.match(r"([a-z_]+)(?: = .+)?$", span)) and match[1] in KEYS:
                assert match[1] in FIELDS[table], f"[{table}] {span}"
                named.append(match[1])
    assert len(named) > 15


@pytest.mark.parametrize(
    "recipe", sorted(set(re.findall(r"recipes/[\w/]+\.toml", "".join(PAGES.values()))))
)
def test_a_named_recipe_is_shipped(recipe):
    assert (ROOT / recipe).is_file()
