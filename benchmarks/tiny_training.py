"""The training of recipes/tiny.toml, with changes, as a run on a CPU builds it: for benchmarks."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from tinybert.device import prepare_environment, select

if TYPE_CHECKING:
    from tinybert.train.feed import Feed
    from tinybert.train.step import CompiledStep

ROOT = Path(__file__).resolve().parents[1]
ENDLESS = ("training.train_steps=1000000", "expect.steps=1000000")
"""Changes of the recipe: more steps than a benchmark does."""


def start(threads: int) -> None:
    """Get the CPU ready with portable arithmetic, before anything imports the framework."""
    prepare_environment(threads, {}, "portable")
    select("CPU", 0, threads)


def built(changes: Sequence[str]) -> tuple["CompiledStep", "Feed"]:
    """Return what trains, and what gives it the inputs of a step.

    Args:
        changes: Changes of the recipe, as arguments of `--set`.
    """
    from tinybert.plan.plan import make_plan
    from tinybert.recipe.load import load
    from tinybert.stages import build
    from tinybert.stages.layers import build_distiller, layer_training
    from tinybert.stages.training import build_compiled_step
    from tinybert.train.world import ALONE

    recipe = load(ROOT / "recipes" / "tiny.toml", [*ENDLESS, *changes])
    plan, problems = make_plan(recipe, ROOT)
    assert not problems, problems
    context = SimpleNamespace(plan=plan, stores=build.import_stores(plan, ALONE), world=ALONE)
    table, (phase,) = plan.resolved.recipe.distill, plan.phases
    training = layer_training(context, phase, table, build_distiller(plan, table, {}))
    return build_compiled_step(context, training), training.feed
