"""Compare the time of masks from the host and from the graph, of one step a call and several.

    python benchmarks/masks.py [--rounds 15] [--steps 10] [--set KEY=VALUE ...]

The forms take turns, so that a busy machine slows all of them, and each round's ratios are of
neighbours in time. The step is that of recipes/tiny.toml, with changes. Batches are made
beforehand: in training, another thread makes them, and the masks of the host with them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tiny_training import built, start

if TYPE_CHECKING:
    from tinybert.train.step import CompiledStep, Parts


def forms(arguments: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name; each call does the work of `steps` steps."""
    import mindspore as ms

    count, changes = arguments.steps, arguments.changes
    sink = ["runtime.enable_data_sink=true", f"runtime.data_sink_steps={count}"]
    step, feed = built(changes)
    graph_step, graph_feed = built([*changes, 'runtime.dropout_masks="graph"'])
    sunk, _ = built([*changes, *sink, f"checkpoints.save_ckpt_step={count}"])
    masks = graph_feed.masks.graph_masks()
    assert masks is not None
    steps = [feed(i).parts for i in range(count)]
    graph_steps = [graph_feed(i).parts for i in range(count)]

    @ms.jit
    def alone(low: ms.Tensor, high: ms.Tensor) -> tuple[ms.Tensor | None, ...]:
        return masks(low, high)

    def host_masks() -> None:
        for i in range(count):
            feed.mask_digest(i)

    def graph_masks() -> None:
        for (batch,) in graph_steps:
            for mask in alone(*map(ms.Tensor, (batch.low_ordinals, batch.high_ordinals))):
                mask.asnumpy()

    def each(step: "CompiledStep", steps: "list[Parts]") -> Callable[[], None]:
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
    """Time the forms in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    arguments = parser.parse_args()
    start(arguments.threads)
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
