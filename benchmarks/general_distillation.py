"""Steps of a general distillation beside PyTorch's, on the same rows, in turn.

    python -m benchmarks.general_distillation --encoder DIR --sst2 train.tsv --work DIR

Whole training steps of 8 full rows of 128 tokens: rows, masks, teacher, student, backward,
clipping, update. The teacher is BERT-base with first weights, or the encoder.
"""

import argparse

from benchmarks import measuring
from benchmarks.fine_tuning import CHECKED
from benchmarks.material import Material, add_arguments, material, prepare_command
from benchmarks.trainings import DROPOUT, ROOT, TRANSFORMERS, Training, edited, run_context
from tinybert.distill.layer_map import layer_map
from tinybert.recipe.network import NetworkConfig
from tinybert.stages.layers import build_distiller, layer_training

RECIPE = ROOT / "recipes" / "minilm" / "minilm_sst2_gd.toml"
TEXTS = 6400
SEQ_LENGTH = 128
BASE = {
    "teacher.hidden_size": 768,
    "teacher.num_hidden_layers": 12,
    "teacher.intermediate_size": 3072,
    "student.hidden_size": 384,
    "student.num_hidden_layers": 4,
    "student.intermediate_size": 1536,
}
WORK = {"general distillation, BERT-base to 4 x 384": BASE, "the same, 6 x 384 to 3 x 312": {}}


def corpus(given: Material) -> Material:
    """Return material whose records are rows of plain text."""
    text, records = given.work / "corpus.txt", given.work / "corpus"
    if not (records / "records.json").exists():
        rows = given.texts.read_text(encoding="utf-8").splitlines()[1:]
        text.write_text("".join(row.rpartition("\t")[0].strip() + "\n" for row in rows))
        what = ("corpus", "--single-segments")
        measuring.command(
            prepare_command(given.encoder, text, records, what=what, seq_length=SEQ_LENGTH)
        )
    return Material(given.encoder, given.texts, records, given.work)


class Distillation(Training):
    """Our training."""

    def __init__(self, given: Material, sizes: dict[str, object], dropout: float) -> None:
        values: dict[str, object] = {
            "data.data_dir": str(given.records),
            "data.schema_dir": str(given.records / "schema.json"),
            "loss_scale.loss_scale_value": 1,
        }
        values |= {f"optimizer.{key}": value for key, value in TRANSFORMERS.items()}
        values |= {f"student.{key}": dropout for key in DROPOUT[:2]}
        teacher = f'load_teacher_ckpt_path = "{given.encoder}"'
        if sizes:
            teacher = 'init = "seeded"'
        with edited(RECIPE, {'load_teacher_ckpt_path = "checkpoints/minilm"': teacher}) as recipe:
            context = run_context(recipe, values | sizes, given.work)
        (phase,), table = context.plan.phases, context.plan.resolved.recipe.distill
        distiller = build_distiller(context.plan, table, context.loaded)
        self.networks = context.plan.networks
        super().__init__(context, layer_training(context, phase, table, distiller))


def measure(
    work: str, sizes: dict[str, object], arguments: argparse.Namespace
) -> measuring.Comparison:
    """Return rows a second of both sides."""
    from transformers import BertConfig

    from benchmarks.pytorch import PADDED, LayerDistillation

    given = corpus(material(arguments, TEXTS))

    def config(network: NetworkConfig) -> BertConfig:
        return BertConfig.from_pretrained(
            given.encoder,
            hidden_size=network.hidden_size,
            num_hidden_layers=network.num_hidden_layers,
            intermediate_size=network.intermediate_size,
            num_labels=2,
        )

    def theirs(ours: Distillation, dropout: float) -> LayerDistillation:
        teacher, student = ours.networks["teacher"], ours.networks["student"]
        layers = layer_map("uniform", teacher.num_hidden_layers, student.num_hidden_layers)
        sizes = config(teacher), config(student)
        return LayerDistillation(ours, *sizes, layers, dropout, PADDED, tokens_only=False)

    plain = Distillation(given, sizes, 0.0)
    other = theirs(plain, 0.0)
    off = measuring.largest_difference(plain.steps(CHECKED)[0], other.steps(CHECKED)[0])
    ours = Distillation(given, sizes, 0.1)
    sides = {measuring.OURS: ours, "PyTorch": theirs(ours, 0.1)}
    rates = measuring.step_rates(sides, 3, arguments.steps, arguments.rounds)
    return measuring.Comparison(f"{work}, 8 x 128", "rows/s", rates, off)


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    found = [measure(work, sizes, arguments) for work, sizes in WORK.items()]
    measuring.report(found, arguments)


if __name__ == "__main__":
    main()
