"""Predict the class of texts beside transformers' pipeline, and a student beside its teacher.

    python -m benchmarks.inference --encoder DIR --sst2 train.tsv --work DIR

Ten thousand texts go through `runner.py predict` and through a pipeline with batches of 32, each a
process of its own from its start to its last line; the labels must be equal. Then rows of a
student of 4 layers of width 312 and of its teacher, BERT-base, are computed in turn.
"""

import argparse
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks import measuring
from benchmarks.material import add_arguments, classifier, material
from benchmarks.trainings import ROOT, ready

TEXTS = 10000
PIPELINE = """
import sys, torch
from transformers import pipeline
torch.set_num_threads(2)
texts = [line.rstrip("\\n") for line in open(sys.argv[2], encoding="utf-8")]
predict = pipeline("text-classification", model=sys.argv[1], device="cpu")
for found in predict(texts, batch_size=32, truncation=True, max_length=512):
    print(found["label"].removeprefix("LABEL_"))
"""
BERT = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
STUDENT = {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200}
VOCABULARY = {
    "vocab_size": 30522,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
ROWS, LENGTH = 8, 128


def predicted(arguments: argparse.Namespace) -> measuring.Comparison:
    """Return texts a second of whole processes."""
    given = material(arguments, TEXTS)
    folder, texts = classifier(given), given.work / "texts.txt"
    rows = given.texts.read_text(encoding="utf-8").splitlines()[1:]
    texts.write_text("".join(row.rpartition("\t")[0].strip() + "\n" for row in rows))
    ours = [sys.executable, str(ROOT / "runner.py"), "predict", str(folder), "--lowercase"]
    ours += ["--vocab", str(given.encoder / "vocab.txt")]
    theirs = [sys.executable, "-c", PIPELINE, str(folder), str(texts)]
    labels: dict[str, list[str]] = {}

    def run(name: str, command: list[str]) -> float:
        began = time.perf_counter()
        with texts.open() as lines:
            done = subprocess.run(command, stdin=lines, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - began
        labels[name] = [line.split()[0] for line in done.stdout.splitlines()]
        return len(rows) / seconds

    found = measuring.in_turn(
        {
            measuring.OURS: lambda _: run(measuring.OURS, ours),
            "transformers' pipeline, batches of 32": lambda _: run("pipeline", theirs),
        },
        arguments.rounds,
    )
    off = sum(a != b for a, b in zip(labels[measuring.OURS], labels["pipeline"], strict=True))
    if off > 0:
        sys.exit(f"{off} of {len(rows)} labels are not those of the pipeline")
    return measuring.Comparison("predict, 10,000 texts of SST-2", "texts/s", found)


def student_and_teacher(arguments: argparse.Namespace) -> measuring.Comparison:
    """Return rows a second of two networks with a head."""
    ready()
    from tinybert.data.batch import Batch
    from tinybert.model.bert import BertEncoder
    from tinybert.model.heads import TaskNetwork
    from tinybert.model.layers import load_into
    from tinybert.model.parameters import encoder_shapes, head_shapes, seeded
    from tinybert.recipe.network import HeadConfig, NetworkConfig
    from tinybert.train.evaluation import Prediction
    from tinybert.train.world import ALONE

    head = HeadConfig("classification", 2, "linear", 0.0)
    generator = np.random.default_rng(1)
    ids = generator.integers(1, 30000, (ROWS, LENGTH), dtype=np.int32)
    batch = Batch(ids, np.zeros_like(ids), np.ones_like(ids))
    sides: dict[str, Any] = {}
    for name, sizes in {"student, 4 x 312": STUDENT, "teacher, BERT-base": BERT}.items():
        config = NetworkConfig(
            **VOCABULARY,
            **sizes,
            hidden_act="gelu",
            initializer_range=0.02,
            use_relative_positions=False,
            enable_fused_layernorm=False,
            dtype="float32",
            compute_type="float32",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        network = TaskNetwork(BertEncoder(config, "teacher."), head)
        shapes = encoder_shapes(config) | head_shapes(config, head)
        values = seeded(shapes, seed=1, std=0.02, prefix="teacher.")
        load_into(network, {f"teacher.{name}": value for name, value in values.items()})
        prediction = Prediction(network, ALONE)

        def rate(number: int, prediction: Prediction = prediction) -> float:
            began = time.perf_counter()
            for _ in range(10):
                prediction.logits(batch)
            return 10 * ROWS / (time.perf_counter() - began)

        for _ in range(3):  # compiles, and lets the framework choose its threads
            rate(0)
        sides[name] = rate
    found = measuring.in_turn(sides, arguments.rounds)
    return measuring.Comparison("a student's rows beside its teacher's, 8 x 128", "rows/s", found)


def main() -> None:
    parser = measuring.parser(__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    measuring.report([predicted(arguments), student_and_teacher(arguments)], arguments)


if __name__ == "__main__":
    main()
