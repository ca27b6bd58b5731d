"""Compare the time of masks from the host and from the graph, of one step a call and several.

    python benchmarks/masks.py [--rounds 15] [--steps 10] [--set KEY=VALUE ...]

The forms take turns, so that a busy machine slows all of them, and each round's ratios are of
neighbours in time. The step is that of recipes/tiny.toml, with changes. Batches are made
beforehand: in training, another thread makes them, and the masks of the host with them.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("GLOG_v", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mindspore as ms

from tinybert.device import select
from tinybert.model.graph_masks import GraphMasks, MaskedNetwork
from tinybert.model.layers import Cell
from tinybert.plan.plan import Plan, make_plan
from tinybert.recipe.load import load
from tinybert.stages import build
from tinybert.stages.layers import build_distiller, layer_training
from tinybert.train.feed import Feed
from tinybert.train.step import MultiStep, Parts, TrainingStep
from tinybert.train.world import ALONE

ROOT = Path(__file__).resolve().parents[1]


class Alone(Cell):
    """The masks in a graph of their own."""

    def __init__(self, masks: GraphMasks) -> None:
        super().__init__()
        self.masks = masks

    @ms.jit
    def construct(self, low: ms.Tensor, high: ms.Tensor) -> tuple[ms.Tensor | None, ...]:
        """Return the masks."""
        return self.masks(low, high)


def prepared(changes: list[str]) -> tuple[Plan, TrainingStep, Feed, GraphMasks | None]:
    """Return the plan, the step, its inputs, and what makes masks in its graph."""
    plan, problems = make_plan(load(ROOT / "recipes" / "tiny.toml", changes), ROOT)
    assert not problems, problems
    recipe, (phase,) = plan.resolved.recipe, plan.phases
    context = SimpleNamespace(plan=plan, stores=build.import_stores(plan, ALONE), world=ALONE)
    distiller = build_distiller(plan, recipe.distill, {})
    training = layer_training(context, phase, recipe.distill, distiller)
    masks, network = training.feed.masks_in_graph(), training.network
    if masks is not None:
        network = MaskedNetwork(network, masks)
    step = build.training_step(network, phase, ALONE)
    return plan, step, training.feed, masks


def forms(arguments: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name; each call does the work of `steps` steps."""
    count = arguments.steps
    changes = [*arguments.changes, "training.train_steps=1000000", "expect.steps=1000000"]
    _, step, feed, _ = prepared(changes)
    _, graph_step, graph_feed, masks = prepared([*changes, 'runtime.dropout_masks="graph"'])
    assert masks is not None
    alone = Alone(masks)
    _, inner, _, _ = prepared(changes)
    sunk = MultiStep(inner, steps=count, outputs=3)
    steps = [feed(i).parts for i in range(count)]
    graph_steps = [graph_feed(i).parts for i in range(count)]

    def host_masks() -> None:
        for i in range(count):
            feed.mask_digest(i)

    def graph_masks() -> None:
        for (batch,) in graph_steps:
            for mask in alone(*map(ms.Tensor, (batch.low_ordinals, batch.high_ordinals))):
                mask.asnumpy()

    def each(step: TrainingStep, steps: list[Parts]) -> Callable[[], None]:
        def run() -> None:
            for parts in steps:
                step.call([parts], stop=False)

        return run

    return {
        "masks of a step on the host": host_masks,
        "masks of a step in a graph": graph_masks,
        "step, masks given": each(step, steps),
        "step, masks in its graph": each(graph_step, graph_steps),
        f"step of {count} in one call": lambda: sunk.call(steps, stop=False),
    }


PAIRS = ((1, 0), (3, 2), (4, 2))
"""Which form is compared with which."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    arguments = parser.parse_args()
    select("CPU", 0, arguments.threads)
    calls = forms(arguments)
    for call in calls.values():
        call()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append((time.perf_counter() - began) / arguments.steps)
    names = list(calls)
    for name in names:
        print(f"{name:<32} {1e3 * statistics.median(seconds[name]):8.2f} ms")
    for a, b in PAIRS:
        ratios = [x / y for x, y in zip(seconds[names[a]], seconds[names[b]], strict=True)]
        print(f"{names[a]} / {names[b]}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
