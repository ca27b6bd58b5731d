"""The metrics that [expect] may name are those that runs measure."""

import pytest

from tinybert.distill.distiller import PARTS
from tinybert.metrics.metrics import metric_names
from tinybert.recipe.run_rules import LOSSES, MEASURED, SOFT_LOSSES
from tinybert.stages.task_distill import PARTS as TASK_PARTS


@pytest.mark.parametrize("task_type", MEASURED)
def test_they_are_those_of_the_task(task_type):
    assert set(MEASURED[task_type]) == set(metric_names(task_type, 2, tags=True))


def test_they_are_those_of_the_losses():
    assert LOSSES["general_distill"] == ("loss", *PARTS)
    assert SOFT_LOSSES == ("loss", *TASK_PARTS)
