"""Equal recipes give equal bits, in processes of their own, on a machine that is busy."""

import json
import multiprocessing
import os

import pytest

RUNS = 10
STEPS = ("--set", "training.train_steps=60")
HALF = (
    "--set",
    'network.compute_type="float16"',
    "--set",
    "loss_scale.loss_scale_value=1099511627776",  # overflows until halved often enough
    "--set",
    "loss_scale.scale_window=5",
)


def spin():
    while True:
        pass


@pytest.fixture
def busy():
    """Load every core with a second program."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=spin, daemon=True) for _ in range(os.cpu_count())]
    for other in others:
        other.start()
    yield
    for other in others:
        other.terminate()
        other.join()


@pytest.mark.slow
def test_ten_packed_runs_end_in_one_digest(runner, busy, write_recipe):
    recipe = write_recipe("packed", "tiny_finetune")
    packed = ("--set", 'data.packing="blocks"', "--set", "data.block_length=64")
    paths = [runner.run(recipe, "--fresh", *packed) for _ in range(RUNS)]
    manifests = [json.loads(path.read_text()) for path in paths]
    assert manifests[0]["outcome"]["steps"] == 88
    assert len({manifest["digests"]["outcome"] for manifest in manifests}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("changes", [(), HALF], ids=["float32", "float16"])
def test_ten_runs_end_in_one_digest(runner, busy, changes):
    paths = [runner.run(runner.free, "--fresh", *STEPS, *changes) for _ in range(RUNS)]
    manifests = [json.loads(path.read_text()) for path in paths]
    outcomes = [manifest["outcome"] for manifest in manifests]
    assert outcomes[0]["steps"] == 60
    assert (outcomes[0]["overflows"] > 3) == bool(changes)
    assert len({manifest["digests"]["outcome"] for manifest in manifests}) == 1
