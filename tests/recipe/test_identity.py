"""Which changes of a recipe make it ask for another run."""

from tests.conftest import SHIPPED
from tinybert.recipe.identity import changes, identity
from tinybert.recipe.load import load

PARTS = "data.micro_batches=8"
EIGHT = "topology.devices_per_host=8"


def values(*overrides):
    return load(SHIPPED["tiny"], overrides).values


def test_the_number_of_processes_makes_another_run_unless_micro_batches_are_equal():
    whole, other = values(), values(EIGHT)
    assert identity(whole) != identity(other)
    assert [change.key for change in changes(whole, other)] == [
        "topology.devices_per_host",
        "topology.device_count",
        "data.batch_size",
    ]
    parts, other = values(PARTS), values(PARTS, EIGHT)
    assert identity(parts) == identity(other)
    assert list(changes(parts, other)) == []


def test_other_micro_batches_make_another_run():
    for before, now in ((values(), values(PARTS)), (values(PARTS), values("data.micro_batches=4"))):
        assert identity(before) != identity(now)
        assert [change.key for change in changes(before, now)] == ["data.micro_batches"]
