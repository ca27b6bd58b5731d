"""What a stage is given, outside of a run."""

from tests.fake_runs import ENVIRONMENT
from tinybert.plan.plan import read_checkpoints
from tinybert.plan.provenance import Provenance
from tinybert.stages.build import RunContext, import_stores
from tinybert.train.world import ALONE


def context_of(plan, record=None):
    """Return the context of a plan's stage, with its records and weights."""
    stores, loaded = import_stores(plan, ALONE), read_checkpoints(plan)
    provenance = Provenance(stores, loaded)
    return RunContext(
        plan, record, stores, loaded, provenance, lambda result: None, lambda: False, ENVIRONMENT
    )
