"""Plant forgeries in a finished run, and see which stretches of an audit find them.

    python benchmarks/forgeries.py [--each 10] [--audits 30] [--segments 2] [--steps 6]

A run of 60 steps in narrow networks keeps a checkpoint every 10 steps. Forgeries of six kinds are
planted at random places, each sealed and chained as a true run is, so that `verify` finds nothing.
Every stretch that an audit could draw is replayed once, so that what any draw finds is known: for
each kind the table has how often audits find it over all draws, how often the place of the forgery
predicts, and the least that the audit's report promises for so many forged steps. Then true runs
are audited, on a busy machine and on two numbers of threads.
"""

import argparse
import copy
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import comb
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tinybert.atomic import write_bytes
from tinybert.audit.stretches import Stretch, certainty
from tinybert.files import digest_file
from tinybert.manifest.checkpoints import tensor_digest, tensor_table, write_tensor_table
from tinybert.manifest.document import Run, encode_manifest
from tinybert.manifest.model import Number, replace_sections
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import Record, TraceWriter, final_losses, read_trace

ROOT = Path(__file__).resolve().parents[1]
STEPS, EVERY = 60, 10
VALUES = {
    "training.train_steps": STEPS,
    "checkpoints.save_ckpt_step": EVERY,
    "checkpoints.max_ckpt_num": STEPS // EVERY,
    "teacher.hidden_size": 16,
    "teacher.num_hidden_layers": 2,
    "teacher.intermediate_size": 24,
    "student.hidden_size": 8,
    "student.num_hidden_layers": 1,
    "student.intermediate_size": 16,
}
OPTIONS = [part for key, value in VALUES.items() for part in ("--set", f"{key}={value}")]


@dataclass(frozen=True)
class Forgery:
    """A forged run, and where it is forged."""

    kind: str
    manifest: Path
    records: range
    """Steps whose records are not those of the recipe."""
    effects: range
    """Steps after which the state is not what they lead to."""

    def is_seen_by(self, stretch: Stretch) -> bool:
        """Return whether a replay of a stretch must differ."""
        read = range(stretch.first_step, stretch.end)
        followed = range(stretch.first_step, stretch.first_step + stretch.checked)
        return bool(set(read) & set(self.records)) or bool(set(followed) & set(self.effects))

    @property
    def steps(self) -> int:
        """Forged steps."""
        return len(set(self.records) | set(self.effects))


def run_program(root: Path, *arguments: object, forged: tuple[object, ...] = ()) -> str:
    """Call runner.py, or this program in the place of it; return what is printed."""
    program = [__file__, "forge", *forged, "--"] if forged else [ROOT / "runner.py"]
    command = [sys.executable, *map(str, [*program, *arguments])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    return done.stdout


def train(root: Path, *forged: object) -> Path:
    """Run the recipe; return the manifest."""
    recipe = root / "audited.toml"
    out = run_program(root, recipe, "--root", root, "--fresh", *OPTIONS, forged=forged)
    return root / out.splitlines()[-1]


def new_root(parent: Path, name: str) -> Path:
    """Return a folder in which the program runs."""
    root = parent / name
    root.mkdir()
    for linked in ("recipes", "tinybert"):
        (root / linked).symlink_to(ROOT / linked)
    text = (ROOT / "recipes" / "tiny.toml").read_text().partition("[expect]")[0]
    (root / "audited.toml").write_text(text)
    return root


def copied(true: Path, parent: Path, name: str) -> Run:
    """Return a copy of a run in a folder of its own, as from another machine."""
    root, run = new_root(parent, name), Run.load(true)
    (root / "manifests").mkdir()
    shutil.copy(true, root / "manifests")
    shutil.copytree(run.folder, root / run.manifest.volatile.directory)
    return Run.load(root / "manifests" / true.name)


def regrow(run: Run, records: list[Record]) -> None:
    """Give a run another trace, whose hashes are valid, and all that follows from it."""
    chains = {}
    writer = TraceWriter(run.folder / TRACE)
    for record in records:
        writer.append(record, record.checkpoint)
        chains[record.global_step + 1] = writer.digest
    writer.close()
    outcome, volatile = run.manifest.outcome, run.manifest.volatile
    steps = {kept.file: kept.step for kept in outcome.checkpoints}
    files = {
        name: replace(file, trace_digest=chains[steps[name]])
        for name, file in volatile.checkpoint_files.items()
    }
    metrics = {name: Number.of(value) for name, value in final_losses(records).items()}
    manifest = replace_sections(
        run.manifest,
        outcome=replace(outcome, trace_digest=writer.digest, metrics=metrics),
        volatile=replace(volatile, checkpoint_files=files),
    )
    write_bytes(run.path, encode_manifest(manifest))


def forge_loss(
    true: Path, parent: Path, draw: random.Random, *, steps: range = range(STEPS)
) -> Forgery:
    """Change the loss of one of some steps."""
    run, step = copied(true, parent, "loss"), draw.choice(steps)
    records = list(read_trace(run.folder / TRACE))
    records[step] = replace(records[step], loss=float(np.float32(records[step].loss * 0.9)))
    regrow(run, records)
    return Forgery("one step's loss", run.path, range(step, step + 1), range(0))


def forge_weights(
    true: Path, parent: Path, draw: random.Random, *, checkpoint: int | None = None
) -> Forgery:
    """Change a weight of one checkpoint, any or a given one, and every digest of it."""
    run = copied(true, parent, "weights")
    outcome, volatile = run.manifest.outcome, run.manifest.volatile
    among = outcome.checkpoints
    kept = draw.choice(among) if checkpoint is None else among[checkpoint]
    path = run.folder / kept.file
    arrays = load_file(path)
    name = draw.choice(sorted(name for name in arrays if name.startswith("student.")))
    arrays[name] = arrays[name] + np.float32(1e-3)
    save_file(arrays, path, metadata={"best": "null"})
    table, file = tensor_table(arrays), digest_file(path)
    write_tensor_table(run.folder / kept.tensor_table, table)
    entry = replace(kept, tensor_digest=tensor_digest(table))
    entries = [entry if each is kept else each for each in outcome.checkpoints]
    recorded = replace(volatile.checkpoint_files[kept.file], size=file.size, sha256=file.sha256)
    files = {**volatile.checkpoint_files, kept.file: recorded}
    manifest = replace_sections(
        run.manifest,
        outcome=replace(outcome, checkpoints=entries),
        volatile=replace(volatile, checkpoint_files=files),
    )
    weights = {n: table[n] for n in table if n.startswith(("student.", "fit_dense"))}
    records = list(read_trace(run.folder / TRACE))
    made = records[kept.step - 1].checkpoint
    assert made is not None
    forged = replace(made, state_digest=entry.tensor_digest, weights_digest=tensor_digest(weights))
    records[kept.step - 1] = replace(records[kept.step - 1], checkpoint=forged)
    regrow(Run(run.path, manifest), records)
    step = kept.step
    return Forgery(
        "weights of one checkpoint", run.path, range(step, step + 1), range(step - 1, step)
    )


def forge_end(true: Path, parent: Path, draw: random.Random) -> Forgery:
    """Cut the trace, and make up the rest of it."""
    run, step = copied(true, parent, "end"), draw.randrange(1, STEPS)
    records = list(read_trace(run.folder / TRACE))
    for number in range(step, STEPS):
        fall = 1 - 0.001 * (number - step + 1)
        made_up = {"loss": records[number].loss * fall}
        made_up["gradient_norm"] = records[number].gradient_norm * fall
        records[number] = replace(records[number], **made_up)
    regrow(run, records)
    return Forgery("trace cut and regrown", run.path, range(step, STEPS), range(0))


def forge_training(kind: str, name: str) -> Callable[[Path, Path, random.Random], Forgery]:
    """Return a forger that trains otherwise than the recipe says."""

    def forge(true: Path, parent: Path, draw: random.Random) -> Forgery:
        first = draw.randrange(STEPS)
        last = STEPS if name == "seed" else min(STEPS, first + draw.randrange(1, 9))
        steps = range(first, last)
        manifest = train(new_root(parent, name), name, first, last)
        return Forgery(kind, manifest, range(0) if name == "rate" else steps, steps)

    return forge


FORGERS = {
    "loss": forge_loss,
    "weights": forge_weights,
    "data": forge_training("other data in a stretch", "data"),
    "seed": forge_training("another seed from a step on", "seed"),
    "rate": forge_training("a raised learning rate in a stretch", "rate"),
    "end": forge_end,
}


def forge_run(name: str, first: int, last: int, arguments: list[str]) -> int:
    """Be runner.py, but train otherwise in some steps, and record what the recipe says."""
    import runner
    from tinybert.stages import training

    honest = training.train

    def train(compiled_step, feed, *, after_step, **options):  # type: ignore[no-untyped-def]
        own_feed, own_after = feed, after_step
        if name == "data":

            def own_feed(step):  # type: ignore[no-untyped-def]
                true = feed(step)
                other = first <= step < last
                return replace(feed(step + 7), batch_digest=true.batch_digest) if other else true

        elif name == "seed":
            seeded = copy.copy(feed)
            seeded.masks = copy.copy(feed.masks)
            seeded.masks._seed += 1
            own_feed = lambda step: (seeded if step >= first else feed)(step)  # noqa: E731
        elif name == "rate":
            import mindspore as ms

            step = compiled_step.step
            true = step.learning_rates.asnumpy().copy()
            raised = true.copy()
            raised[first:last] = raised[first:last] * 2 + np.float32(1e-4)
            step.learning_rates = ms.Tensor(raised)

            def own_after(result):  # type: ignore[no-untyped-def]
                after_step(replace(result, learning_rate=float(true[result.optimizer_step])))

        honest(compiled_step, own_feed, after_step=own_after, **options)

    training.train = train
    return runner.main(arguments)


def audit_all(manifest: Path, steps: int) -> int:
    """Replay every stretch of a run, and print what was found, as JSON."""
    from tinybert.commands.audit import carry_out_audit
    from tinybert.signals import StopRequest, hold_signals

    hold_signals()
    with StopRequest() as stop:
        audit = carry_out_audit(Run.load(manifest), STEPS, steps, "all", stop)
    found = {
        "contradictions": list(audit.contradictions),
        "stretches": [asdict(stretch) for stretch in audit.stretches],
        "findings": [asdict(each) for each in audit.result.findings] if audit.result else [],
    }
    print(json.dumps(found))
    return 0


def stretches_that_find(manifest: Path, steps: int) -> tuple[list[Stretch], set[int]]:
    """Return all stretches of a run, and the places of those whose replay differs."""
    command = [sys.executable, __file__, "all", str(manifest), str(steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["contradictions"], found["contradictions"]
    stretches = [Stretch(**each) for each in found["stretches"]]
    places = set()
    for finding in found["findings"]:
        # of the state that a stretch begins with, the step before it is named
        step = finding["step"] + (finding["fact"] == "state_digest of its checkpoint")
        places |= {i for i, s in enumerate(stretches) if s.first_step <= step < s.end}
    return stretches, places


def probability(touched: int, count: int, drawn: int) -> float:
    """Return how many of all draws of `drawn` of `count` stretches hold one of `touched`."""
    return 1 - comb(count - touched, drawn) / comb(count, drawn)


def plant(parent: Path, true: Path, each: int, segments: int, steps: int) -> int:
    """Plant forgeries of every kind, and print how often they are found; returns surprises."""
    surprises = 0
    print("| forgery | planted | found, of all draws | by its place | promised at least |")
    print("|---|---|---|---|---|")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in FORGERS:
            plant_number = partial(plant_one, parent, true, name, steps)
            rows = []
            for number, planted in enumerate(pool.map(plant_number, range(each))):
                forgery, stretches, places = planted
                predicted = {i for i, s in enumerate(stretches) if forgery.is_seen_by(s)}
                surprises += places != predicted
                if places != predicted:
                    surprise = f"{name} {number}: {forgery}: {places}, not {predicted}"
                    print(surprise, file=sys.stderr)
                count = len(stretches)
                rows.append(
                    (
                        probability(len(places), count, segments),
                        probability(len(predicted), count, segments),
                        certainty(stretches, segments, STEPS, forgery.steps),
                    )
                )
            found, predicted_share, promised = (
                sum(column) / each for column in zip(*rows, strict=True)
            )
            surprises += any(row[0] < row[2] - 1e-12 for row in rows)
            print(
                f"| {forgery.kind} | {each} | {found:.3f} | {predicted_share:.3f} "
                f"| {promised:.3f} |",
                flush=True,
            )
    return surprises


def plant_one(
    parent: Path, true: Path, name: str, steps: int, number: int
) -> tuple[Forgery, list[Stretch], set[int]]:
    """Plant a forgery; return it, all stretches, and the places of those that find it."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        forgery = FORGERS[name](true, Path(folder), random.Random(f"{name} {number}"))
        return forgery, *stretches_that_find(forgery.manifest, steps)


def spin() -> None:
    """Keep a processor busy."""
    while True:
        pass


def audit_true_runs(true: Path, audits: int, segments: int, steps: int) -> int:
    """Audit a true run with random nonces, under load; returns how often it was accused."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for other in others:
        other.start()
    accused = 0
    for number in range(audits):
        threads = ("--threads", 1 + number % 2)
        options = ("--segments", segments, "--steps", steps, *threads)
        text = run_program(true.parent, "audit", true, *options)
        accused += not text.startswith("same: ")
    for other in others:
        other.terminate()
    print(f"\n{audits} audits of a true run, on 1 and 2 threads, under load: {accused} accused it")
    return accused


def main() -> int:
    """Carry out the command line."""
    if sys.argv[1:2] == ["forge"]:
        name, first, last, _, *arguments = sys.argv[2:]
        return forge_run(name, int(first), int(last), arguments)
    if sys.argv[1:2] == ["all"]:
        return audit_all(Path(sys.argv[2]), int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--each", type=int, default=10, help="forgeries of each of the six kinds")
    parser.add_argument("--audits", type=int, default=30, help="audits of a true run")
    parser.add_argument("--segments", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        true = train(new_root(Path(folder), "true"))
        surprises = plant(Path(folder), true, options.each, options.segments, options.steps)
        surprises += audit_true_runs(true, options.audits, options.segments, options.steps)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
