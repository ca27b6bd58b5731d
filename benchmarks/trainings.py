"""Our side of a comparison: a training of a recipe, built as its stage builds it."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.measuring import ROOT as ROOT
from tinybert.device import prepare_environment, select
from tinybert.train.graph import GRAPHS, saving_environment

THREADS = 2
_GRAPHS = tempfile.TemporaryDirectory()
prepare_environment(THREADS, saving_environment(Path(_GRAPHS.name) / GRAPHS))

import numpy as np  # noqa: E402

from tinybert.manifest.built import TopologyFacts  # noqa: E402
from tinybert.manifest.identity import read_environment  # noqa: E402
from tinybert.plan.plan import make_plan, read_checkpoints  # noqa: E402
from tinybert.recipe.load import load  # noqa: E402
from tinybert.stages.build import import_stores  # noqa: E402
from tinybert.stages.context import RunContext, TrainingSetup  # noqa: E402
from tinybert.stages.training import build_compiled_step  # noqa: E402
from tinybert.train.loop import StepResult, ignore_activity, train  # noqa: E402
from tinybert.train.world import ALONE  # noqa: E402

DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")
TRANSFORMERS = {
    "bias_correction": True,
    "clip_by": "global_norm",
    "eps": 1e-8,
    "schedule.decay_from": "warmup_end",
}
"""Keys of [optimizer] that make it transformers', so that losses agree beyond the first step."""


@contextmanager
def edited(recipe: Path, texts: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Yield a copy of a recipe without expectations and with some texts replaced."""
    text = recipe.read_text(encoding="utf-8").partition("\n[expect]")[0] + "\n"
    for old, new in (texts or {}).items():
        text = text.replace(old, new)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / recipe.name
        copy.write_text(text, encoding="utf-8")
        yield copy


def run_context(recipe: Path, changes: Mapping[str, object], root: Path) -> RunContext:
    """Return what a stage is given to run a recipe.

    Args:
        recipe: Its file.
        changes: Values by key, as `--set` gives them.
        root: Takes what runs share: token stores, and outputs of teachers.
    """
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    plan, problems = make_plan(load(recipe, overrides), root)
    for problem in problems:
        raise problem
    determinism = ready()
    topology = TopologyFacts(device="CPU", hosts=1, processes=1)
    values: Any = {
        "plan": plan,
        "record": SimpleNamespace(directory=Path(_GRAPHS.name)),
        "stores": import_stores(plan, ALONE),
        "loaded": read_checkpoints(plan),
        "provenance": None,
        "on_step": ignore_activity,
        "stop_requested": lambda: False,
        "environment": read_environment(
            threads=THREADS, topology=topology, determinism=determinism
        ),
    }
    return RunContext(**values)


@cache
def ready() -> dict[str, bool | str]:
    """Get the device ready; return its settings."""
    return select("CPU", 0, THREADS)


class Training:
    """A training that goes on step by step."""

    def __init__(self, context: RunContext, setup: TrainingSetup) -> None:
        self.setup = setup
        self.store = context.stores["data"]
        self.step = build_compiled_step(context, setup)
        self._shapes: set[tuple[int, ...]] = set()
        self._done = 0

    def weights(self) -> dict[str, np.ndarray]:
        """Return all parameters by name."""
        groups = self.setup.groups.values()
        return {p.name: p.asnumpy().copy() for group in groups for p in group}

    def rows(self, step: int) -> np.ndarray:
        """Return which rows a step trains on."""
        return self.setup.phase.sampler.indices(step)

    def steps(self, count: int) -> tuple[list[float], float]:
        """Train on; return the losses, and rows a second of the steps that compiled nothing."""
        losses, times, shapes = [], [time.perf_counter()], []

        def feed(step: int) -> Any:
            inputs = self.setup.feed(step)
            shapes.append(inputs.parts[0].input_ids.shape)
            return inputs

        def after_step(result: StepResult) -> None:
            times.append(time.perf_counter())
            losses.append(result.loss)

        train(
            self.step,
            feed,  # type: ignore[arg-type]
            first_step=self._done,
            total_steps=self._done + count,
            after_step=after_step,
            stop_requested=lambda: False,
        )
        self._done += count
        seconds = []
        for shape, taken in zip(shapes, np.diff(times), strict=True):
            if shape in self._shapes:
                seconds.append(float(taken))
            self._shapes.add(shape)
        rate = self.setup.phase.global_batch_size * len(seconds) / sum(seconds) if seconds else 0.0
        return losses, rate
