"""Fine-tune an encoder on SST-2 beside PyTorch, on the same rows, in turn.

    python -m benchmarks.fine_tuning --encoder DIR --sst2 train.tsv --work DIR

Each side takes whole training steps: rows, masks, forward, backward, clipping, update. First both
train without dropout, and their losses must agree to 1e-4; then each round times some steps of
every side. PyTorch pads to the length of the records, to the longest row of a batch, or does the
latter with rows sorted by length, as transformers' `group_by_length`, which changes the order of
the data.
"""

import argparse

from benchmarks import measuring
from benchmarks.material import Material, add_arguments, material
from benchmarks.trainings import DROPOUT, ROOT, TRANSFORMERS, Training, edited, run_context
from tinybert.stages.finetune import label_training

RECIPE = ROOT / "recipes" / "minilm" / "minilm_sst2_finetune.toml"
ROWS = 6400
PASSES = 11
"""As many steps as one pass over all of SST-2 takes, so that the plan chooses the numbers of blocks
that it chooses there."""
CHECKED = 5
"""Steps whose losses are compared."""


def ours(given: Material, dropout: float, **changes: object) -> Training:
    """Return our training."""
    values = given.changes | {"teacher.load_teacher_ckpt_path": str(given.encoder)}
    values |= {f"optimizer.{key}": value for key, value in TRANSFORMERS.items()}
    values |= {f"teacher.{key}": dropout for key in DROPOUT} | {"loss_scale.loss_scale_value": 1}
    values |= {"training.epoch_size": PASSES}
    with edited(RECIPE) as recipe:
        context = run_context(recipe, values | changes, given.work)
    return Training(context, label_training(context.plan.resolved.recipe, context))


def measure(arguments: argparse.Namespace) -> list[measuring.Comparison]:
    """Return rows a second of all sides."""
    from benchmarks.pytorch import LONGEST, PADDED, SORTED, FineTuning

    given = material(arguments, ROWS)
    plain = ours(given, 0.0)
    theirs = FineTuning(plain, given.encoder, 0.0, LONGEST)
    off = measuring.largest_difference(plain.steps(CHECKED)[0], theirs.steps(CHECKED)[0])
    training = ours(given, 0.1)
    sides = {measuring.OURS: training} | {
        f"PyTorch, {form}": FineTuning(training, given.encoder, 0.1, form)
        for form in (PADDED, LONGEST, SORTED)
    }
    rates = measuring.step_rates(sides, 8, arguments.steps, arguments.rounds)
    return [measuring.Comparison("fine-tuning 6 x 384 on SST-2", "rows/s", rates, off)]


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    measuring.report(measure(arguments), arguments)


if __name__ == "__main__":
    main()
