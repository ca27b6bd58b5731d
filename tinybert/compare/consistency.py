"""Whether a manifest agrees with itself and with its trace: what can be computed is computed anew.

The digests of a manifest show that it is as it was sealed. Whoever changes it and seals it again
must change everything that follows, or is found here.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from tinybert.compare.measured import metric_problems
from tinybert.compare.traced import TracedRun, TracedTraining, differs, traced_losses
from tinybert.data.phases import TrainingPhase, training_phase, trainings
from tinybert.data.sampler import Sampler
from tinybert.errors import InputError, RecipeError
from tinybert.manifest.bit_relevance import bits_digest
from tinybert.manifest.built import (
    ArithmeticFacts,
    Effective,
    Environment,
    LossScaleFacts,
    OptimizerFacts,
    PackingFacts,
    TeacherCacheFacts,
    TrainingFacts,
)
from tinybert.manifest.canonical import digest
from tinybert.manifest.document import Run
from tinybert.manifest.model import Inputs, Manifest, Number
from tinybert.recipe.load import ResolvedRecipe, leaves, resolve
from tinybert.recipe.model import AnyRecipe, Evaluate, GeneralDistill, TaskDistill
from tinybert.recipe.network import networks, padding_indices
from tinybert.recipe.tables import Optimizer, block_length, device_count, global_batch_size

ENDED = ("finished", "interrupted")
"""States of a run that has written down all that it counted."""


@dataclass(frozen=True)
class Consistency:
    """Whether a manifest agrees with itself and with its trace."""

    problems: list[str]
    """What contradicts the rest."""
    notes: list[str]
    """What is not known."""
    committed: Collection[int]
    """Steps of the run after which the trace has the digest of the state."""


def consistency(run: Run, *, same_program: bool) -> Consistency:
    """Compare a manifest with itself and with its trace, which is read once.

    A program that is not the one that ran may have other defaults, or other recipes.
    """
    manifest = run.manifest
    problems = [*_inputs(manifest.inputs), *_outcome(manifest)]
    trained: list[TracedTraining] = []
    recipe: AnyRecipe | None = None
    notes = []
    try:
        resolved = _resolved(manifest.inputs)
        problems += _recipe(manifest.inputs, resolved, same_program)
        recipe = resolved.recipe
        if manifest.effective is not None:
            rows = manifest.effective.rows.get("data", 0)
            phases = [training_phase(recipe, tables, rows) for tables in trainings(recipe)]
            trained = [TracedTraining(phase) for phase in phases]
            problems += _built(manifest.effective, recipe, phases)
            problems += _counts(manifest, recipe, phases)
            problems += _arithmetic(manifest.environment, recipe)
    except InputError as error:
        problems.append(f"effective.rows: {error.message}")
    except RecipeError as error:
        if same_program:
            problems.append(f"inputs.recipe.text is not valid: {error.message.splitlines()[0]}")
        else:
            notes.append("the recipe is not one of this version: what follows was not computed")
    read = manifest.outcome.trace_digest is not None and run.folder.is_dir()
    trace = TracedRun(run, trained)
    different = [*trace.problems()] if read else []
    if recipe is not None and manifest.outcome.status in ENDED and not different:
        losses = traced_losses(manifest.inputs.stage, trained) if read or not trained else None
        different += metric_problems(run, recipe, losses)
    return Consistency([*problems, *different], notes, trace.commitments.keys())


def _resolved(inputs: Inputs) -> ResolvedRecipe:
    facts = inputs.recipe
    return resolve(facts.path, facts.text.encode(), *facts.arguments())


def _inputs(inputs: Inputs) -> Iterator[str]:
    recipe, code = inputs.recipe, inputs.code
    text_sha256 = hashlib.sha256(recipe.text.encode()).hexdigest()
    yield from differs("inputs.recipe.text_sha256", recipe.text_sha256, text_sha256, "the text")
    yield from differs(
        "inputs.recipe.digest", recipe.digest, digest(recipe.values), "inputs.recipe.values"
    )
    yield from differs("inputs.code.digest", code.digest, digest(code.files), "inputs.code.files")
    for name in code.files.keys() & code.untracked.keys():
        path = f"inputs.code.untracked.{name}"
        yield from differs(path, code.untracked[name], code.files[name], "inputs.code.files")


def _recipe(inputs: Inputs, resolved: ResolvedRecipe, same_program: bool) -> Iterator[str]:
    """Compare stage, seed and values with what the recipe's text says."""
    text = "the recipe's text"
    yield from differs("inputs.stage", inputs.stage, resolved.recipe.stage, text)
    yield from differs("inputs.seeds", inputs.seeds, {"seed": resolved.recipe.seed}, text)
    recorded, computed = (
        {".".join(path): value for path, value in leaves(values)}
        for values in (inputs.recipe.values, resolved.values)
    )
    for key in {**recorded, **computed} if same_program else recorded.keys() & computed.keys():
        yield from differs(
            f"inputs.recipe.values.{key}", recorded.get(key), computed.get(key), text
        )


def _built(effective: Effective, recipe: AnyRecipe, phases: list[TrainingPhase]) -> Iterator[str]:
    """Compare what was built with what the recipe asks for."""
    source, topology = "the recipe", recipe.topology
    for path, recorded, computed in (
        ("topology.device", effective.topology.device, topology.device),
        ("topology.processes", effective.topology.processes, device_count(topology)),
        ("runtime.micro_batches", effective.runtime.micro_batches, recipe.data.micro_batches),
    ):
        yield from differs(f"effective.{path}", recorded, computed, source)
    if isinstance(recipe, Evaluate):
        size = global_batch_size(recipe.data, topology)
        built = effective.global_batch_size
        yield from differs("effective.global_batch_size", built, size, source)
        yield from _packing("effective", effective, block_length(recipe.data))
    if isinstance(recipe, TaskDistill) and effective != effective.with_training(
        TrainingFacts(), None
    ):
        yield "effective has facts of a training outside its phases; the recipe has phases"
    for phase in phases:
        named = isinstance(recipe, TaskDistill)
        facts = effective.phases.get(phase.name) if named else effective
        if facts is not None:
            path = f"effective.phases.{phase.name}" if named else "effective"
            yield from _training(path, facts, recipe, phase)
            yield from _packing(path, facts, _block_length(recipe, phase.name))


def _arithmetic(environment: Environment | None, recipe: AnyRecipe) -> Iterator[str]:
    """Compare how numbers were rounded with what the recipe asks for."""
    if environment is not None and isinstance(environment.arithmetic, ArithmeticFacts):
        path, form = "environment.arithmetic.form", environment.arithmetic.form
        yield from differs(path, form, recipe.runtime.arithmetic or "native", "the recipe")


def _packing(path: str, facts: TrainingFacts, asked: int | None) -> Iterator[str]:
    """Compare the blocks that rows were packed in with the recipe's, if it asks for any."""
    built = facts.packing.block_length if isinstance(facts.packing, PackingFacts) else None
    yield from differs(f"{path}.packing.block_length", built, asked, "the recipe")


def _block_length(recipe: AnyRecipe, training: str) -> int | None:
    """Return the length of the blocks of a training; None: its rows are not packed."""
    distill = None
    if isinstance(recipe, GeneralDistill):
        distill = recipe.distill
    elif isinstance(recipe, TaskDistill) and recipe.phase1 is not None and training == "phase1":
        distill = recipe.phase1.distill
    if distill is not None and distill.padding == "include":
        return None  # a mean over padding needs it
    return block_length(recipe.data)


def _training(
    path: str, facts: TrainingFacts, recipe: AnyRecipe, phase: TrainingPhase
) -> Iterator[str]:
    source, schedule, configs = "the recipe", phase.schedule, networks(recipe)
    rates = {step: float(np.float32(schedule(int(step)))) for step in facts.learning_rates}
    pairs: list[tuple[str, object, object]] = [
        ("total_steps", facts.total_steps, phase.total_steps),
        ("warmup_steps", facts.warmup_steps, schedule.warmup_steps),
        ("decay_start", facts.decay_start, schedule.decay_start),
        ("global_batch_size", facts.global_batch_size, phase.global_batch_size),
        ("learning_rates", facts.learning_rates, rates),
        ("padding_idx", facts.padding_idx, padding_indices(configs)),
    ]
    if facts.num_attention_heads:  # older manifests do not have them
        heads = {role: config.num_attention_heads for role, config in configs.items()}
        if isinstance(facts.teacher_cache, TeacherCacheFacts) and facts.teacher_cache.digest:
            del heads["teacher"]  # its outputs were read, so that the graph has no teacher
        pairs.append(("num_attention_heads", facts.num_attention_heads, heads))
    if isinstance(facts.loss_scale, LossScaleFacts):
        table = phase.loss_scale
        scale = LossScaleFacts(
            loss_scale_value=float(np.float32(table.loss_scale_value)),
            scale_factor=table.scale_factor,
            scale_window=table.scale_window,
        )
        pairs.append(("loss_scale", facts.loss_scale, scale))
    for name, recorded, computed in pairs:
        yield from differs(f"{path}.{name}", recorded, computed, source)
    if isinstance(facts.optimizer, OptimizerFacts):
        yield from _optimizer(f"{path}.optimizer", facts.optimizer, phase.optimizer)


def _optimizer(path: str, built: OptimizerFacts, asked: Optimizer) -> Iterator[str]:
    """Compare an optimizer with the recipe's."""
    decays = {repr(asked.weight_decay), repr(0.0)}
    for name, recorded, computed in (
        ("optimizer", built.optimizer, asked.optimizer),
        ("betas", built.betas, list(asked.betas)),
        ("eps", built.eps, asked.eps),
        ("clip_norm", built.clip_norm, asked.clip_norm),
        ("clip_by", built.clip_by, asked.clip_by or "norm"),
        ("bias_correction", built.bias_correction, bool(asked.bias_correction)),
        ("decay_groups", set(built.decay_groups) - decays, set()),
    ):
        yield from differs(f"{path}.{name}", recorded, computed, "the recipe")


def _outcome(manifest: Manifest) -> Iterator[str]:
    """Compare the facts of the outcome with each other."""
    outcome, volatile = manifest.outcome, manifest.volatile
    for group, numbers in (("metrics", outcome.metrics), ("best_metrics", outcome.best_metrics)):
        for name, number in numbers.items():
            yield from _number(f"outcome.{group}.{name}", number)
    if (outcome.status == "failed") != (outcome.error is not None):
        error = "no error" if outcome.error is None else f"the error {outcome.error.type}"
        yield f"outcome.status is {outcome.status!r}; outcome.error has {error}"
    if outcome.status in ("running", *ENDED) and None in (manifest.effective, manifest.environment):
        yield f"outcome.status is {outcome.status!r}; effective or environment is None"
    steps = [checkpoint.step for checkpoint in outcome.checkpoints]
    yield from differs("outcome.checkpoints", steps, sorted(set(steps)), "their order")
    if outcome.status == "finished" and not steps:
        yield "outcome.checkpoints is []; a finished run keeps its last"
    if outcome.status in ENDED:
        updates = outcome.steps - outcome.overflows
        yield from differs(
            "outcome.optimizer_steps", outcome.optimizer_steps, updates, "steps less overflows"
        )
        if steps:
            yield from differs("outcome.steps", outcome.steps, steps[-1], "the last checkpoint")
    best = outcome.best_checkpoint
    if best is not None and outcome.best_step is not None:
        yield from differs("outcome.best_checkpoint", best.step, outcome.best_step, "best_step")
    if outcome.best_step is not None and outcome.best_step == outcome.steps:
        final = {name: outcome.metrics.get(name) for name in outcome.best_metrics}
        yield from differs("outcome.best_metrics", outcome.best_metrics, final, "outcome.metrics")
    environment = manifest.environment
    if environment is not None and environment.bits_digest is not None:
        computed = bits_digest(environment)
        path = "environment.bits_digest"
        yield from differs(path, environment.bits_digest, computed, "environment")
    if volatile.segments and environment is not None:
        path, recorded = "volatile.segments", volatile.segments[-1].environment_digest
        if recorded is not None:
            sealed = manifest.digests.environment
            yield from differs(f"{path}.environment_digest", recorded, sealed, "environment")


def _number(path: str, number: Number) -> Iterator[str]:
    try:
        exact = Number.of(float.fromhex(number.hex))
    except (ValueError, OverflowError):
        yield f"{path}.hex is {number.hex!r}, which is no number"
        return
    yield from differs(path, number.value, exact.value, f"hex {number.hex}")
    yield from differs(f"{path}.hex", number.hex, exact.hex, "its number")


def _counts(manifest: Manifest, recipe: AnyRecipe, phases: list[TrainingPhase]) -> Iterator[str]:
    """Compare steps and samples with what the recipe asks for."""
    outcome, effective = manifest.outcome, manifest.effective
    if outcome.status not in ENDED or effective is None:
        return
    if isinstance(recipe, TaskDistill) and outcome.status == "finished":
        built, names = list(effective.phases), [phase.name for phase in phases]
        yield from differs("effective.phases", built, names, "the recipe")
    if phases and outcome.trace_digest is None:
        yield "outcome.trace_digest is None; the recipe trains"
    planned = sum(phase.total_steps for phase in phases)
    if outcome.status == "finished" and (phases or isinstance(recipe, Evaluate)):
        yield from differs("outcome.steps", outcome.steps, planned, "the recipe")
    samples, left = 0, outcome.steps
    for phase in phases:
        done = min(left, phase.total_steps)
        samples, left = samples + phase.samples(done), left - done
    if isinstance(recipe, Evaluate) and "eval_data" in effective.rows:
        rows, size = effective.rows["eval_data"], global_batch_size(recipe.data, recipe.topology)
        sampler = Sampler(rows, size, recipe.seed, False, recipe.data.drop_remainder)
        samples = min(rows, sampler.batches_per_epoch * size)
        untrained = (outcome.overflows, outcome.nonfinite_losses, effective.total_steps)
        yield from differs("steps of an evaluation", untrained, (0, 0, None), "the recipe")
    if phases or isinstance(recipe, Evaluate):
        yield from differs("outcome.samples", outcome.samples, samples, "the recipe")
