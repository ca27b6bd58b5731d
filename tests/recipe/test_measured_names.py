"""The metrics that [expect] may name are those that runs measure."""

from pathlib import Path

import numpy as np
import pytest

from tinybert.distill.prediction import PredictionDistiller
from tinybert.errors import RecipeError
from tinybert.metrics.metrics import metric_names, task_metrics
from tinybert.recipe.load import load
from tinybert.recipe.run_rules import SOFT_LOSSES
from tinybert.recipe.task_types import TASK_KINDS

BITS = np.array([0, 1, 1, 0], np.int32)
LABELS = {
    "classification": BITS,
    "regression": BITS.astype(np.float32),
    "multi_label_classification": np.stack([BITS, 1 - BITS], axis=1),
    "ner": np.stack([BITS, 1 - BITS]),
}


@pytest.mark.parametrize("task_type", LABELS)
def test_they_are_those_of_the_task(task_type):
    labels, facts = LABELS[task_type], TASK_KINDS[task_type]
    for names in (None, ("O", "B-A")):
        found = task_metrics(
            task_type, facts.selecting[0], labels, labels, num_labels=2, label_names=names
        )
        assert list(found) == metric_names(task_type, 2, tags=names is not None)
    assert list(found) == list(facts.measured)
    assert set(facts.selecting) <= set(facts.measured)


def test_they_are_those_of_the_losses():
    assert SOFT_LOSSES == ("loss", *PredictionDistiller.part_names)


def test_they_are_those_of_the_losses_between_layers_that_a_recipe_has(tmp_path):
    text = (Path(__file__).parent / "bases" / "general_distill.toml").read_text()
    more = "cosine = 1.0 }\nrelations = { teacher_layer = 4, relation_heads = 2, weights = "
    more += "{ key_key = 1.0 } }"
    bounds = "".join(
        f"metrics.{prefix}{name}_loss.max = 1.0\n"
        for prefix in ("", "mean_")
        for name in ("attention", "hidden", "cosine", "key_key")
    )
    text = text.partition("[expect]")[0] + f"[expect]\n{bounds}"
    (tmp_path / "x.toml").write_text(text.replace("hidden = 1.0 }", f"hidden = 1.0, {more}"))
    assert len(load(tmp_path / "x.toml").recipe.expect.metrics) == 8
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "x.toml")
    assert str(caught.value).count("this run has no metric") == 4
