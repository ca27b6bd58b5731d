"""Distil a fine-tuned encoder on SST-2 beside PyTorch, on the same rows, in turn.

    python -m benchmarks.task_distillation --encoder DIR --sst2 train.tsv --work DIR

Phase 1 compares layers, phase 2 logits; the teacher has 6 layers of width 384, the student 3 of
312. PyTorch computes the teacher in every step, as the published program does. We compute it once:
the rate of the first pass counts that, the rate of later passes does not.
"""

import argparse
import shutil
import time
from typing import Any

from benchmarks import measuring
from benchmarks.fine_tuning import CHECKED, PASSES, ROWS
from benchmarks.material import Material, add_arguments, classifier, material, student
from benchmarks.trainings import DROPOUT, ROOT, TRANSFORMERS, Training, edited, run_context
from tinybert.data.teacher_outputs import TEACHERS
from tinybert.distill.layer_map import layer_map
from tinybert.stages.task_distill import phase_training

PASSES_OF_PHASE = {"phase1": 1, "phase2": 3}
"""Over all rows, which share the time that the teacher takes."""
CHAIN = "recipes/minilm/minilm_sst2_"
RECIPES = {"phase1": f"{CHAIN}td1.toml", "phase2": f"{CHAIN}td2.toml"}


class Distillation(Training):
    """Our training of a phase."""

    def __init__(
        self, given: Material, phase: str, *, dropout: float = 0.1, cached: bool = True
    ) -> None:
        values: dict[str, object] = {key: value for key, value in given.changes.items()}
        values |= {"runtime.teacher_cache_gib": 8.0 if cached else 0.0}
        values |= {f"{phase}.optimizer.{key}": value for key, value in TRANSFORMERS.items()}
        values |= {f"student.{key}": dropout for key in DROPOUT}
        values |= {f"{phase}.loss_scale.loss_scale_value": 1}
        values |= {f"{phase}.training.epoch_size": PASSES * PASSES_OF_PHASE[phase]}
        shutil.rmtree(given.work / TEACHERS, ignore_errors=True)
        before = {"phase1": f"{CHAIN}gd.toml", "phase2": RECIPES["phase1"]}[phase]
        links = {
            f'{{ recipe = "{CHAIN}finetune.toml" }}': f'"{classifier(given)}"',
            f'{{ recipe = "{before}" }}': f'"{student(given)}"',
        }
        with edited(ROOT / RECIPES[phase], links) as recipe:
            context = run_context(recipe, values, given.work)
        (chosen,) = context.plan.phases
        began = time.perf_counter()
        setup = phase_training(context.plan.resolved.recipe, context, chosen, {}, 0)
        self.teacher_seconds = time.perf_counter() - began
        """What it took to compute the teacher's outputs for all rows, if they are cached."""
        self.networks = context.plan.networks
        super().__init__(context, setup)


def theirs(phase: str, given: Material, ours: Distillation, dropout: float, form: str) -> Any:
    """Return PyTorch's training of a phase."""
    from transformers import BertConfig

    from benchmarks.pytorch import LayerDistillation, LogitDistillation

    teacher = BertConfig.from_pretrained(given.encoder, num_labels=2)
    sizes = ours.networks["student"]
    student = BertConfig.from_pretrained(
        given.encoder,
        num_labels=2,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_hidden_layers,
        intermediate_size=sizes.intermediate_size,
    )
    if phase == "phase2":
        return LogitDistillation(ours, teacher, student, dropout, form)
    layers = layer_map("uniform", teacher.num_hidden_layers, student.num_hidden_layers)
    return LayerDistillation(ours, teacher, student, layers, dropout, form)


def measure_phase(phase: str, arguments: argparse.Namespace) -> measuring.Comparison:
    """Return rows a second of all sides in one phase."""
    from benchmarks.pytorch import LONGEST, PADDED

    given = material(arguments, ROWS)
    plain = Distillation(given, phase, dropout=0.0, cached=False)
    other = theirs(phase, given, plain, 0.0, LONGEST)
    off = measuring.largest_difference(plain.steps(CHECKED)[0], other.steps(CHECKED)[0])
    training = Distillation(given, phase)
    sides = {measuring.OURS: training} | {
        f"PyTorch, {form}": theirs(phase, given, training, 0.1, form) for form in (PADDED, LONGEST)
    }
    rates = measuring.step_rates(sides, 8, arguments.steps, arguments.rounds)
    later = rates.pop(measuring.OURS)
    passes = PASSES_OF_PHASE[phase]
    teacher = training.teacher_seconds / (passes * ROWS)
    first = [1 / (1 / rate + teacher) for rate in later]
    with_teacher = "tinybert, first pass" if passes == 1 else f"tinybert, {passes} passes"
    ours = {with_teacher: first, "tinybert, later passes": later}
    return measuring.Comparison(f"task distillation, {phase}", "rows/s", ours | rates, off)


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    measuring.report([measure_phase(phase, arguments) for phase in RECIPES], arguments)


if __name__ == "__main__":
    main()
