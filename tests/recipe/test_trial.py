"""`--try`: a recipe cut to a few steps."""

import pytest

from tests.conftest import SHIPPED
from tinybert.errors import UsageError
from tinybert.recipe.load import load
from tinybert.recipe.trial import trial_overrides


@pytest.mark.parametrize("name", [n for n in SHIPPED if "evaluate" not in n])
def test_every_recipe_that_trains_can_be_tried(name):
    recipe = load(SHIPPED[name])
    tried = load(SHIPPED[name], [*trial_overrides(recipe, 5)])
    assert "expect" not in tried.values
    phases = [tried.values[key] for key in ("phase1", "phase2") if key in tried.values]
    for table in phases or [tried.values]:
        assert table["training"] == {"train_steps": 5}
        assert table["checkpoints"]["save_ckpt_step"] == 5
        assert table["optimizer"]["schedule"].get("warmup_steps", 0) <= 5


def test_what_cannot_be_tried_is_refused():
    with pytest.raises(UsageError, match="no steps to try"):
        list(trial_overrides(load(SHIPPED["tiny_evaluate"]), 5))
    with pytest.raises(UsageError, match="no trial of 0 steps"):
        list(trial_overrides(load(SHIPPED["tiny"]), 0))
