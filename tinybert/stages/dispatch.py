"""Which function carries out which recipe."""

import shutil

from tinybert.manifest.record import RunRecord
from tinybert.plan.plan import Plan
from tinybert.recipe.model import Evaluate, Finetune, GeneralDistill
from tinybert.stages.build import RunContext, StageResult
from tinybert.stages.evaluate import evaluate
from tinybert.stages.finetune import finetune
from tinybert.stages.general_distill import general_distill
from tinybert.stages.task_distill import task_distill
from tinybert.train.graph import GRAPHS


def carry_out(plan: Plan, record: RunRecord, outside: RunContext) -> StageResult:
    """Carry out the plan's recipe."""
    recipe = plan.resolved.recipe
    if isinstance(recipe, GeneralDistill):
        result = general_distill(plan, recipe, record, outside)
    elif isinstance(recipe, Finetune):
        result = finetune(plan, recipe, record, outside)
    elif isinstance(recipe, Evaluate):
        result = evaluate(plan, recipe, record, outside)
    else:
        result = task_distill(plan, recipe, record, outside)
    shutil.rmtree(record.directory / GRAPHS, ignore_errors=True)  # of what was compiled late
    return result
