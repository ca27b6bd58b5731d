"""What a stage is given, outside of a run."""

from tests.fake_runs import ENVIRONMENT
from tinybert.plan.plan import read_checkpoints
from tinybert.plan.provenance import Provenance
from tinybert.stages.build import import_stores
from tinybert.stages.context import RunContext
from tinybert.train.world import ALONE


def context_of(plan, record=None):
    """Return the context of a plan's stage, with its records and weights."""
    stores, loaded = import_stores(plan, ALONE), read_checkpoints(plan)
    return RunContext(
        plan=plan,
        record=record,
        stores=stores,
        loaded=loaded,
        provenance=Provenance(stores, loaded),
        on_step=lambda result: None,
        stop_requested=lambda: False,
        environment=ENVIRONMENT,
    )
