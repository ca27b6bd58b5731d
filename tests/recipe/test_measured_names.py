"""The metrics that [expect] may name are those that runs measure."""

import numpy as np
import pytest

from tinybert.distill.distiller import PARTS
from tinybert.metrics.metrics import metric_names, task_metrics
from tinybert.recipe.run_rules import LOSSES, SOFT_LOSSES
from tinybert.recipe.task_types import TASK_KINDS
from tinybert.stages.task_distill import PARTS as TASK_PARTS

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
    assert LOSSES["general_distill"] == ("loss", *PARTS)
    assert SOFT_LOSSES == ("loss", *TASK_PARTS)
