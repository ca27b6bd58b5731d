"""Shipped recipes that link to others describe the networks that those leave."""

from dataclasses import replace

import pytest

from tests.conftest import ROOT, SHIPPED
from tinybert.recipe.load import load
from tinybert.recipe.network import head, network
from tinybert.recipe.tables import RecipeLink


def links():
    """Yield (recipe, `teacher` or `student`, linked recipe) of all shipped recipes."""
    for path in SHIPPED.values():
        recipe = load(path).recipe
        for which in ("teacher", "student"):
            source = getattr(getattr(recipe, which, None), f"load_{which}_ckpt_path", None)
            if isinstance(source, RecipeLink):
                yield path, which, ROOT / source.recipe


LINKS = list(links())


def test_there_are_chains():
    stages = {load(path).recipe.stage for path, _, _ in LINKS}
    assert stages == {"task_distill", "evaluate"}


@pytest.mark.parametrize(
    ("path", "which", "linked"), LINKS, ids=[f"{path.stem}, {which}" for path, which, _ in LINKS]
)
def test_a_linked_network_is_described_as_in_its_own_recipe(path, which, linked):
    recipe, other = load(path).recipe, load(linked).recipe
    left = "teacher" if other.student is None else "student"
    loaded = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "embedding_initializer_range": None,
        "padding_idx": None,
    }
    ours, theirs = (
        replace(network(each, name), **loaded) for each, name in ((recipe, which), (other, left))
    )
    assert ours == theirs
    if other.stage != "general_distill":
        ours, theirs = (
            replace(head(each, name), classifier_dropout_prob=0.0)
            for each, name in ((recipe, which), (other, left))
        )
        assert ours == theirs
