"""Fine-tune an encoder on SST-2 beside PyTorch, on the same rows, in turn.

    python benchmarks/fine_tuning.py --encoder DIR --records DIR [--rounds 5] [--steps 20]

Needs PyTorch and transformers, the files of an encoder of 6 layers of width 384, and SST-2 as
`prepare glue` writes it. Each side takes whole training steps: rows, masks, forward, backward,
clipping, update. First all train without dropout, and their losses must agree to 1e-4; then each
round times some steps of every side. PyTorch pads to the length of the records, to the longest row
of a batch, or does the latter with rows sorted by length, as transformers' `group_by_length`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("GLOG_v", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mindspore as ms
import numpy as np

from tinybert.data.batch import Batch
from tinybert.distill.normalizers import label_inputs
from tinybert.distill.prediction import LabelTraining
from tinybert.plan.plan import make_plan, read_checkpoints
from tinybert.recipe.load import load
from tinybert.stages import build, tasks
from tinybert.train.loop import train
from tinybert.train.micro_batches import MicroBatchStep
from tinybert.train.world import ALONE

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "minilm" / "minilm_sst2_finetune.toml"
BATCH = 32
SORTED_BATCHES = 50
"""Batches whose rows are sorted by length together, as in transformers."""
PYTORCH = ("padded to the records' length", "padded to the batch's longest row", "sorted by length")
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")


class Ours:
    """Our training; `steps` trains on."""

    def __init__(self, arguments: argparse.Namespace, dropout: float) -> None:
        # transformers' optimizer and schedule, so that losses can be compared beyond one step
        values = {
            "teacher.load_teacher_ckpt_path": str(arguments.encoder),
            "data.train_data_dir": str(arguments.records),
            "data.schema_dir": str(arguments.records / "schema.json"),
            "data.seq_length": arguments.seq_length,
            "optimizer.bias_correction": True,
            "optimizer.clip_by": "global_norm",
            "optimizer.eps": 1e-8,
            "optimizer.schedule.decay_from": "warmup_end",
            "loss_scale.loss_scale_value": 1,
            **{f"teacher.{key}": dropout for key in DROPOUT},
        }
        changes = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        text = RECIPE.read_text().partition("[expect]")[0]
        text = "".join(line for line in text.splitlines(True) if "eval_" not in line)
        text = text.replace("[data]\n", f'[data]\neval_data_dir = "{arguments.records}"\n')
        with tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder) / "finetune.toml"
            recipe.write_text(text)
            plan, problems = make_plan(load(recipe, changes), ROOT)
        for problem in problems:
            raise problem
        (self.phase,) = plan.phases
        self.store = build.import_stores(plan, ALONE)["data"]
        context: Any = SimpleNamespace(plan=plan, stores={"data": self.store}, world=ALONE)
        network = tasks.task_network(plan, "teacher", read_checkpoints(plan))
        self.weights = {p.name: p.asnumpy() for p in network.get_parameters()}
        self.feed = tasks.task_feed(context, self.phase, "teacher", label_inputs)
        training = LabelTraining(network, plan.resolved.recipe.task.task_type)
        step = build.training_step(training, self.phase, ALONE)
        self.step = MicroBatchStep(step, micro_batches=None, world=ALONE)
        self.compiled: set[int] = set()

    def rows(self, step: int) -> Batch:
        """Return the rows of a step, padded to the records' length."""
        return self.store.batch(self.phase.sampler.indices(step))

    def steps(self, steps: range) -> tuple[list[float], list[float]]:
        """Return losses, and seconds of the steps in which nothing was compiled."""
        losses, times, shapes = [], [time.perf_counter()], []

        def feed(step: int) -> Any:
            inputs = self.feed(step)
            shapes.append(len(inputs.parts[0].input_ids))
            return inputs

        def after_step(result: Any) -> None:
            times.append(time.perf_counter())
            losses.append(result.loss)

        train(
            self.step,
            feed,
            part_names=(),
            first_step=steps.start,
            total_steps=steps.stop,
            after_step=after_step,
            stop_requested=lambda: False,
        )
        seconds = []
        for shape, taken in zip(shapes, np.diff(times), strict=True):
            if shape in self.compiled:
                seconds.append(float(taken))
            self.compiled.add(shape)
        return losses, seconds


class PyTorch:
    """A training loop of PyTorch with transformers' model."""

    def __init__(self, ours: Ours, encoder: Path, dropout: float, form: str) -> None:
        import torch
        from transformers import BertConfig, BertForSequenceClassification

        torch.set_num_threads(2)
        self.torch, self.ours, self.form = torch, ours, form
        config = BertConfig.from_pretrained(
            encoder,
            num_labels=2,
            attn_implementation="sdpa",
            **dict.fromkeys(DROPOUT[:2], dropout),
            classifier_dropout=dropout,
        )
        self.model = BertForSequenceClassification(config)
        names = {name: f"teacher.{name.removeprefix('bert.')}" for name in self.model.state_dict()}
        values = {name: torch.from_numpy(ours.weights[at].copy()) for name, at in names.items()}
        self.model.load_state_dict(values)
        self.model.train()
        decayed = [(n, p) for n, p in self.model.named_parameters()]
        plain = ("layernorm", "bias")
        groups = [
            {
                "params": [p for n, p in decayed if any(x in n.lower() for x in plain) == is_plain],
                "weight_decay": 0.0 if is_plain else ours.phase.optimizer.weight_decay,
            }
            for is_plain in (False, True)
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, eps=1e-8)

    def steps(self, steps: range) -> tuple[list[float], list[float]]:
        """Return losses and seconds."""
        torch, losses, seconds = self.torch, [], []
        batches = self.batches(steps)
        for step in steps:
            began = time.perf_counter()
            batch = next(batches)
            inputs = {
                "input_ids": torch.from_numpy(batch.input_ids).long(),
                "token_type_ids": torch.from_numpy(batch.segment_ids).long(),
                "attention_mask": torch.from_numpy(batch.input_mask),
                "labels": torch.from_numpy(batch.label_ids).long(),
            }
            loss = self.model(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = self.ours.phase.schedule(step)
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - began)
        return losses, seconds

    def batches(self, steps: range) -> Iterator[Batch]:
        """Yield the batches of some steps, padded in the side's form."""
        store, indices = self.ours.store, self.ours.phase.sampler.indices
        if self.form != "sorted by length":
            for step in steps:
                rows = indices(step)
                width = int(store.lengths[rows].max()) if "longest" in self.form else None
                yield store.batch(rows, width)
            return
        first = steps.start // SORTED_BATCHES * SORTED_BATCHES
        together = np.concatenate([indices(first + i) for i in range(SORTED_BATCHES)])
        together = together[np.argsort(-store.lengths[together], kind="stable")]
        # transformers goes through a chunk from its longest batch on; any part is as good here
        order = np.random.default_rng(steps.start).permutation(SORTED_BATCHES)
        for place in order[: len(steps)]:
            rows = together[BATCH * place : BATCH * (place + 1)]
            yield store.batch(rows, int(store.lengths[rows].max()))


def check_losses(arguments: argparse.Namespace) -> float:
    """Return the largest relative difference of the losses without dropout over some steps."""
    ours = Ours(arguments, 0.0)
    theirs = PyTorch(ours, arguments.encoder, 0.0, PYTORCH[1])
    pairs = zip(ours.steps(range(5))[0], theirs.steps(range(5))[0], strict=True)
    return max(abs(a - b) / abs(b) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--seq-length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for name in ("encoder", "records"):
        setattr(arguments, name, getattr(arguments, name).resolve())
    ms.set_device("CPU")
    ms.device_context.cpu.op_tuning.threads_num(2)
    off = check_losses(arguments)
    print(f"losses of 5 steps without dropout: off by at most {off:.1e}")
    if off > 1e-4:
        sys.exit("the two sides do not compute the same")
    ours = Ours(arguments, 0.1)
    print(f"packing: {ours.feed.packing}")
    sides: dict[str, Callable[[range], tuple[list[float], list[float]]]] = {"tinybert": ours.steps}
    for form in PYTORCH:
        sides[form] = PyTorch(ours, arguments.encoder, 0.1, form).steps
    for steps in sides.values():  # compiles, and warms up
        steps(range(8))
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(arguments.rounds):
        first = 8 + number * arguments.steps
        for name, steps in sides.items():
            _, seconds = steps(range(first, first + arguments.steps))
            found[name].append(BATCH * len(seconds) / sum(seconds))
            print(f"{number + 1}  {name:<36} {found[name][-1]:7.1f} rows/s", flush=True)
    result = {
        "machine": platform.processor() or platform.machine(),
        "versions": {n: version(n) for n in ("mindspore", "torch", "transformers", "numpy")},
        "loss_difference": off,
        "rows_per_second": found,
        "ratios": {
            name: [a / b for a, b in zip(found["tinybert"], rates, strict=True)]
            for name, rates in found.items()
        },
    }
    for name, ratios in result["ratios"].items():
        low, middle, high = min(ratios), median(ratios), max(ratios)
        print(f"tinybert against {name:<36} {middle:.2f} ({low:.2f} to {high:.2f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
