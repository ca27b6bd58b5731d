"""A trial of a recipe: the same run, cut to a few steps."""

from collections.abc import Iterator

from tinybert.errors import UsageError
from tinybert.recipe.load import ResolvedRecipe
from tinybert.recipe.model import Evaluate


def trial_overrides(recipe: ResolvedRecipe, steps: int) -> Iterator[str]:
    """Yield the `--set` arguments that make a trial: `steps` a training, no expectations.

    A training then saves, and evaluates where there is a dev set, at its end alone.

    Raises:
        UsageError: The recipe trains nothing, or no steps are asked for.
    """
    if isinstance(recipe.recipe, Evaluate):
        cure = "leave --try out, or try the recipe that it links to"
        raise UsageError("an evaluation has no steps to try", where=str(recipe.path), cure=cure)
    if steps < 1:
        raise UsageError(f"no trial of {steps} steps", cure="give 1 or more")
    values = recipe.values
    phases = {f"{name}.": values[name] for name in ("phase1", "phase2") if name in values}
    for prefix, tables in (phases or {"": values}).items():
        yield f"{prefix}training.train_steps={steps}"
        yield f"{prefix}checkpoints.save_ckpt_step={steps}"
        if tables["optimizer"]["schedule"].get("warmup_steps", 0) > steps:
            yield f"{prefix}optimizer.schedule.warmup_steps={steps}"
    if steps % recipe.recipe.runtime.data_sink_steps:
        yield "runtime.data_sink_steps=1"
    if recipe.recipe.expect is not None:
        yield "expect="
