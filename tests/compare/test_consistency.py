"""A manifest that was changed and sealed again is found by what follows from the rest of it."""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fake_runs import BATCH, STEPS
from tinybert.compare.verify import verify
from tinybert.errors import ManifestError
from tinybert.manifest.built import (
    ArithmeticFacts,
    LossScaleFacts,
    OptimizerFacts,
    PackingFacts,
    RuntimeFacts,
)
from tinybert.manifest.canonical import digest
from tinybert.manifest.document import encode_manifest, read_manifest
from tinybert.manifest.model import Manifest, Number, Outcome, RecipeFacts, replace_sections
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import TraceWriter, final_losses, read_trace


def with_outcome(**changes: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace_sections(manifest, outcome=replace(manifest.outcome, **changes))


def with_loss(value: float | str, hexadecimal: str) -> Callable[[Manifest], Manifest]:
    return with_metrics(loss=Number(value=value, hex=hexadecimal))


def with_metrics(**changes: Number | None) -> Callable[[Manifest], Manifest]:
    """Other metrics; None takes one away."""

    def changed(manifest: Manifest) -> Manifest:
        metrics = {**manifest.outcome.metrics, **changes}
        kept = {name: number for name, number in metrics.items() if number is not None}
        return with_outcome(metrics=kept)(manifest)

    return changed


def with_recipe(change: Callable[[RecipeFacts], RecipeFacts]) -> Callable[[Manifest], Manifest]:
    def changed(manifest: Manifest) -> Manifest:
        recipe = change(manifest.inputs.recipe)
        return replace_sections(manifest, inputs=replace(manifest.inputs, recipe=recipe))

    return changed


def with_values(recipe: RecipeFacts) -> RecipeFacts:
    """Another weight decay, with the digest that belongs to it."""
    values = {**recipe.values, "optimizer": {**recipe.values["optimizer"], "weight_decay": 0.5}}
    return replace(recipe, values=values, digest=digest(values))


def with_inputs(**changes: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace_sections(manifest, inputs=replace(manifest.inputs, **changes))


def with_code(manifest: Manifest) -> Manifest:
    code = replace(manifest.inputs.code, files={"runner.py": "2" * 64})
    return replace_sections(manifest, inputs=replace(manifest.inputs, code=code))


def with_effective(**changes: Any) -> Callable[[Manifest], Manifest]:
    def changed(manifest: Manifest) -> Manifest:
        assert manifest.effective is not None
        return replace_sections(manifest, effective=replace(manifest.effective, **changes))

    return changed


def with_checkpoint_step(manifest: Manifest) -> Manifest:
    first, last = manifest.outcome.checkpoints
    kept = [replace(first, step=12), replace(last, step=12)]
    return replace_sections(manifest, outcome=replace(manifest.outcome, checkpoints=kept))


def with_trace_digest(manifest: Manifest) -> Manifest:
    files = {
        name: replace(file, trace_digest="0" * 64)
        for name, file in manifest.volatile.checkpoint_files.items()
    }
    return replace_sections(manifest, volatile=replace(manifest.volatile, checkpoint_files=files))


def with_other_processor(manifest: Manifest) -> Manifest:
    environment = replace(manifest.environment, bits_digest="0" * 64)
    return replace_sections(manifest, environment=environment)


def with_native_arithmetic(manifest: Manifest) -> Manifest:
    facts = ArithmeticFacts(form="native", instruction_set="AVX2")
    environment = replace(manifest.environment, arithmetic=facts)
    last = replace(manifest.volatile.segments[-1], environment_digest=digest(environment))
    volatile = manifest.volatile.with_last_segment(last)
    return replace_sections(manifest, environment=environment, volatile=volatile)


SCALE = LossScaleFacts(loss_scale_value=2.0, scale_factor=2.0, scale_window=1000)
OPTIMIZER = OptimizerFacts(
    optimizer="AdamWeightDecay",
    betas=[0.9, 0.999],
    eps=1e-6,
    clip_norm=1.0,
    decay_groups={"0.0": ["bias"], "0.0001": ["weight"]},
)
FORGED: dict[str, tuple[Callable[[Manifest], Manifest], str]] = {
    "steps": (
        with_outcome(steps=13, optimizer_steps=13),
        "outcome.steps is 13; the last checkpoint gives 12",
    ),
    "samples": (with_outcome(samples=47), "outcome.samples is 47; the recipe gives 48"),
    "overflows": (
        with_outcome(overflows=1, optimizer_steps=11),
        "outcome.overflows is 1; the trace gives 0",
    ),
    "updates": (
        with_outcome(optimizer_steps=11),
        "outcome.optimizer_steps is 11; steps less overflows gives 12",
    ),
    "losses": (
        with_outcome(nonfinite_losses=1),
        "outcome.nonfinite_losses is 1; the trace gives 0",
    ),
    "a metric beside its bits": (
        with_loss(1.0, "0x1.f5504816f0069p+3"),
        "outcome.metrics.loss is 1.0; hex 0x1.f5504816f0069p+3 gives 15.66605",
    ),
    "bits of no number": (with_loss(1.0, "one"), "outcome.metrics.loss.hex is 'one', which is no"),
    "bits in another form": (
        with_loss(1.0, "0x2.0p-1"),
        "outcome.metrics.loss.hex is '0x2.0p-1'; its number gives '0x1.0000000000000p+0'",
    ),
    "a metric beside the trace": (
        with_loss(1.0, "0x1.0000000000000p+0"),
        "outcome.metrics.loss is '0x1.0000000000000p+0'; the trace gives '0x1.f5504816f0069p+3'",
    ),
    "a metric that was taken away": (
        with_metrics(mean_loss=None),
        "outcome.metrics.mean_loss is missing; the recipe has it",
    ),
    "a metric that was added": (
        with_metrics(accuracy=Number.of(0.5)),
        "outcome.metrics.accuracy is there; the recipe has no such metric",
    ),
    "no checkpoints": (
        with_outcome(checkpoints=[]),
        "outcome.checkpoints is []; a finished run keeps its last",
    ),
    "a best step": (
        with_outcome(best_step=6, best_metrics={"accuracy": Number.of(0.5)}),
        "outcome.best_metrics.accuracy is there; the recipe has no such metric",
    ),
    "a failure": (
        with_outcome(status="failed"),
        "outcome.status is 'failed'; outcome.error has no error",
    ),
    "checkpoints": (
        with_checkpoint_step,
        "outcome.checkpoints is [12, 12]; their order gives [12]",
    ),
    "the best step": (
        with_outcome(best_step=12, best_metrics={"loss": Number.of(1.0)}),
        "outcome.best_metrics is ",
    ),
    "what results depend on": (with_other_processor, "environment.bits_digest is '0000"),
    "the arithmetic": (
        with_native_arithmetic,
        "environment.arithmetic.form is 'native'; the recipe gives 'portable'",
    ),
    "the trace at a checkpoint": (with_trace_digest, "volatile.checkpoint_files."),
    "the recipe's text": (
        with_recipe(lambda recipe: replace(recipe, text=recipe.text + "#")),
        "inputs.recipe.text_sha256 is ",
    ),
    "the recipe's digest": (
        with_recipe(lambda recipe: replace(recipe, digest="0" * 64)),
        "inputs.recipe.digest is ",
    ),
    "a value": (
        with_recipe(with_values),
        "inputs.recipe.values.optimizer.weight_decay is 0.5; the recipe's text gives 0.0001",
    ),
    "the stage": (
        with_inputs(stage="finetune"),
        "inputs.stage is 'finetune'; the recipe's text gives",
    ),
    "the seed": (
        with_inputs(seeds={"seed": 2}),
        "inputs.seeds is {'seed': 2}; the recipe's text gives",
    ),
    "the program": (with_code, "inputs.code.digest is "),
    "the rates": (
        with_effective(learning_rates={"0": 0.0, "1": 0.5}),
        "effective.learning_rates is {'0': 0.0, '1': 0.5}; the recipe gives",
    ),
    "the built steps": (
        with_effective(total_steps=13),
        "effective.total_steps is 13; the recipe gives 12",
    ),
    "the start of the decay": (
        with_effective(decay_start=12),
        "effective.decay_start is 12; the recipe gives 0",
    ),
    "the heads": (
        with_effective(num_attention_heads={"teacher": 4, "student": 2}),
        "effective.num_attention_heads is {'teacher': 4, 'student': 2}; the recipe gives "
        "{'teacher': 4, 'student': 4}",
    ),
    "the padding": (
        with_effective(padding_idx={"student": 0}),
        "effective.padding_idx is {'student': 0}; the recipe gives {}",
    ),
    "the built batch": (
        with_effective(global_batch_size=8),
        "effective.global_batch_size is 8; the recipe gives 4",
    ),
    "the micro-batches": (
        with_effective(runtime=RuntimeFacts(mode="graph", enable_data_sink=False, micro_batches=4)),
        "effective.runtime.micro_batches is 4; the recipe gives None",
    ),
    "the blocks": (
        with_effective(packing=PackingFacts(block_length=64, block_counts=[4], fill=0.5)),
        "effective.packing.block_length is 64; the recipe gives None",
    ),
    "the clipping": (
        with_effective(optimizer=replace(OPTIMIZER, clip_by="global_norm")),
        "effective.optimizer.clip_by is 'global_norm'; the recipe gives 'norm'",
    ),
    "the bias correction": (
        with_effective(optimizer=replace(OPTIMIZER, bias_correction=True)),
        "effective.optimizer.bias_correction is True; the recipe gives False",
    ),
    "the built loss scale": (
        with_effective(loss_scale=SCALE),
        "effective.loss_scale is LossScaleFacts(loss_scale_value=2.0",
    ),
}


@pytest.mark.parametrize(("forge", "expected"), FORGED.values(), ids=FORGED)
def test_a_contradiction_is_named(
    pretend: Any, forge: Callable[[Manifest], Manifest], expected: str
) -> None:
    path = pretend("a").run()
    path.write_bytes(encode_manifest(forge(read_manifest(path))))
    text, code = verify(path)
    assert code == 1
    assert text.startswith(f"different: {expected}"), text


def test_a_checkpoint_with_other_weights_than_the_trace_has_is_named(pretend: Any) -> None:
    """Checkpoint, tensor table and manifest are sealed anew; the trace has the old digest."""
    run = pretend("a")
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        run.train(record)
        run.noise = 1.0
        run.save(record, STEPS)
        metrics = final_losses(read_trace(record.directory / TRACE))
        record.finish(optimizer_steps=STEPS, samples=STEPS * BATCH, metrics=metrics)
    text, code = verify(record.path, rehash=True)
    assert text.startswith("different: outcome.checkpoints, step 12: tensor_digest is '")
    assert "; the trace gives '" in text.splitlines()[0]
    assert code == 1


def test_an_honest_manifest_has_none(pretend: Any) -> None:
    for name, facts in (("a", {}), ("b", {"noise": float("inf")}), ("c", {"seed": 3})):
        text, code = verify(pretend(name, **facts).run())
        assert (text.splitlines()[0], code) == ("same: every file is what it was", 0)


TRACES: dict[str, tuple[dict[str, Any], str]] = {
    "a rate": (
        {"learning_rate": 0.25},
        "trace.jsonl, line 6: learning_rate is 0.25; the recipe gives 0.004999999888241291",
    ),
    "a loss scale": (
        {"loss_scale": 2.0},
        "trace.jsonl, line 6: loss_scale is 2.0; the recipe gives 1.0",
    ),
    "an update": (
        {"optimizer_step": 4},
        "trace.jsonl, line 6: optimizer_step is 4; the recipe gives 5",
    ),
    "a step": ({"global_step": 6}, "trace.jsonl, line 6: global_step is 6; its place gives 5"),
}


@pytest.mark.parametrize(("change", "expected"), TRACES.values(), ids=TRACES)
def test_a_trace_that_was_written_anew_is_compared_with_the_recipe(
    pretend: Any, change: dict[str, Any], expected: str
) -> None:
    path = pretend("a").run()
    manifest = read_manifest(path)
    trace = path.parents[1] / manifest.volatile.directory / "trace.jsonl"
    records = list(read_trace(trace))
    trace.unlink()
    writer = TraceWriter(trace)
    for record in records:
        step = replace(record, **change) if record.global_step == 5 else record
        writer.append(step, record.checkpoint)
    writer.close()
    changed: Outcome = replace(manifest.outcome, trace_digest=writer.digest)
    path.write_bytes(encode_manifest(replace_sections(manifest, outcome=changed)))
    text, code = verify(path)
    assert code == 1
    assert text.startswith(f"different: {expected}\n"), text


def test_a_recipe_of_another_version_is_named_and_the_rest_is_compared(pretend: Any) -> None:
    path: Path = pretend("a").run()
    manifest = read_manifest(path)
    recipe = manifest.inputs.recipe
    text = recipe.text.replace("warmup_steps", "warmup_in_some_other_unit")
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    facts = replace(recipe, text=text, text_sha256=sha256)
    sealed = replace_sections(manifest, inputs=replace(manifest.inputs, recipe=facts))
    path.write_bytes(encode_manifest(sealed))
    text, code = verify(path)
    note = "note: the recipe is not one of this version: what follows was not computed\n"
    assert code == 0
    assert note in text
    forged = replace_sections(sealed, outcome=replace(sealed.outcome, overflows=1))
    path.write_bytes(encode_manifest(forged))
    assert verify(path)[1] == 1


FREE = re.compile(
    r"inputs\.(recipe\.(name|path|origins|overrides)|code\.(commit|dirty|patch)|files\.\d+\.role)"
    r"|effective\.(rows|runtime|optimizer|parameters|initial_weights|masks|matrix_products"
    r"|graph_digest|deviations|phases)"
    r"|outcome\.(best_|error|checkpoints\.\d+\.step)"
    r"|volatile\.(run_id|created|ended|root|directory|command|segments|modified|hashing|through"
    r"|memory|ranks|checkpoint_files)"
    r"|digests|format_version"
)
"""What nothing else in a manifest of this run tells, or what is told by files that are not read."""


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list):
            yield from leaves(item, (*path, key))
        else:
            yield (*path, key)


def changed(value: Any, dice: random.Random) -> Any:
    """Return another value, mostly of the same type."""
    others = [None, True, -1, 2**60, 1.5, "float:NaN", "x", [], {}]
    if isinstance(value, bool):
        others += [not value] * 12
    elif isinstance(value, int | float):
        others += [value + 1, value * 2 + 1, -value - 1] * 4
    elif isinstance(value, str):
        others += [value + "0", value[:-1], value[::-1] + "1", value.upper() + "\x00"] * 3
    return dice.choice([other for other in others if other != value])


def forge(path: Path, whole: bytes, dice: random.Random) -> tuple[str, Any]:
    """Change one fact, and seal the manifest again; returns what was changed to what."""
    document = json.loads(whole)
    *above, last = dice.choice(list(leaves(document)))
    table = document
    for key in above:
        table = table[key]
    table[last] = changed(table[last], dice)
    with suppress(ValueError):  # beyond what JSON holds: then the old seal stays
        for name in document["digests"] if above and above[0] != "digests" else ():
            document["digests"][name] = digest(document[name])
    path.write_text(json.dumps(document))
    return ".".join(map(str, (*above, last))), table[last]


@pytest.mark.parametrize("trials", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_no_resealed_change_of_a_known_fact_passes(pretend: Any, trials: int) -> None:
    path: Path = pretend("a").run()
    whole, dice = path.read_bytes(), random.Random(trials)
    for _ in range(trials):
        place, value = forge(path, whole, dice)
        try:
            text, code = verify(path)
        except ManifestError:
            continue  # it is no manifest
        assert code == 1 or FREE.match(place), f"{place} = {value!r}: {text}"
