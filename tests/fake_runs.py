import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tinybert.files import digest_file
from tinybert.manifest.built import (
    BuiltTopology,
    Effective,
    Environment,
    Framework,
    Processor,
    RuntimeFacts,
    ThreadFacts,
    TopologyFacts,
)
from tinybert.manifest.canonical import digest
from tinybert.manifest.digests import tensor_digest, tensor_table, write_tensor_table
from tinybert.manifest.model import Code, InputFile, Inputs, RecipeFacts, ValueOrigin
from tinybert.manifest.record import RunRecord

STEPS = 12
BATCH = 4
TABLES = "teacher.tensors.json"
ENVIRONMENT = Environment(
    python="CPython 3.11.7",
    platform="Linux x86_64 glibc 2.36",
    mindspore=Framework(version="2.10.0", commit="2d550373"),
    cpu=Processor(model="a processor", flags=["avx2", "fma"]),
    threads=ThreadFacts(operators=1, processors=2),
    distributions={"mindspore": "2.10.0"},
    topology=TopologyFacts(device="CPU", hosts=1, processes=1),
    determinism={"mode": "graph"},
)
EFFECTIVE = Effective(
    topology=BuiltTopology(device="CPU", processes=1),
    runtime=RuntimeFacts(mode="graph", enable_data_sink=False),
)


def at_noon() -> datetime:
    return datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


class PretendedRun:
    """A run whose losses and weights are made up, but follow from the same facts as real ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seed = 1
        self.weight_decay = 1e-4
        self.tokens = np.arange(STEPS * BATCH, dtype=np.uint16)
        self.order = list(range(STEPS))
        self.teacher = {
            "embeddings.word_embeddings.weight": np.full((3, 2), 0.5, np.float32),
            "encoder.layer.10.output.dense.weight": np.full((2, 2), 0.25, np.float32),
            "encoder.layer.2.output.dense.weight": np.full((2, 2), 0.125, np.float32),
        }
        self.student_size = 3
        self.numpy = "1.26.4"
        self.expect: dict[str, Any] = {}
        self.code = {"runner.py": "0" * 64, "tinybert/stages.py": "1" * 64}
        self.noise = 0.0

    def values(self) -> dict[str, Any]:
        values = {
            "stage": "general_distill",
            "seed": self.seed,
            "data": {"data_dir": "records", "do_shuffle": self.order == list(range(STEPS))},
            "optimizer": {"weight_decay": self.weight_decay, "schedule": {"power": 1.0}},
        }
        return {**values, "expect": self.expect} if self.expect else values

    def inputs(self) -> Inputs:
        values = self.values()
        teacher = replace(
            self.file("teacher", "teacher.safetensors"),
            tensor_digest=tensor_digest(tensor_table(self.teacher)),
            tensor_table=TABLES,
        )
        return Inputs(
            stage="general_distill",
            recipe=RecipeFacts(
                name="tiny",
                path="recipes/tiny.toml",
                text="# text",
                text_sha256=hashlib.sha256(b"# text").hexdigest(),
                digest=digest(values),
                overrides=[],
                values=values,
                origins={"seed": ValueOrigin(kind="file", place="recipes/tiny.toml:2")},
            ),
            code=Code(digest=digest(self.code), files=self.code, commit="ab" * 20),
            files=[self.file("data", "records"), teacher],
            seeds={"seed": self.seed},
        )

    def file(self, role: str, name: str) -> InputFile:
        file = digest_file(self.root / name)
        return InputFile(role=role, path=name, size=file.size, sha256=file.sha256)

    def environment(self) -> Environment:
        return replace(ENVIRONMENT, distributions={"mindspore": "2.10.0", "numpy": self.numpy})

    def effective(self) -> Effective:
        return replace(
            EFFECTIVE,
            total_steps=STEPS,
            global_batch_size=BATCH,
            initial_weights={"student": str(self.seed)},
            masks={"embeddings": str(self.seed)},
        )

    def write_inputs(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "records").write_bytes(self.tokens.tobytes())
        save_file(self.teacher, self.root / "teacher.safetensors")

    def planned(self) -> RunRecord:
        self.write_inputs()
        record = RunRecord.plan(self.root, self.inputs(), now=at_noon)
        write_tensor_table(record.directory / TABLES, tensor_table(self.teacher))
        return record

    def train(self, record: RunRecord, first: int = 0, last: int = STEPS) -> None:
        for step in range(first, last):
            batch = self.tokens[self.order[step] * BATCH :][:BATCH]
            record.trace.append(
                global_step=step,
                optimizer_step=step,
                loss=self.loss(step, batch),
                parts={"hidden_loss": self.loss(step, batch) / 2},
                loss_scale=1.0,
                overflow=False,
                learning_rate=1e-3 * step,
                gradient_norm=1.0,
                batch_digest=hashlib.sha256(batch.tobytes()).hexdigest(),
            )
            if (step + 1) % 6 == 0:
                self.save(record, step + 1)

    def loss(self, step: int, batch: np.ndarray) -> float:
        teacher = sum(float(array.sum()) for array in self.teacher.values())
        decayed = 1.0 - self.weight_decay * step
        tokens = float(batch.astype(np.float64).sum())
        return decayed * (10 + teacher) + tokens / 1000 + self.seed + self.noise * step

    def save(self, record: RunRecord, step: int, expired: Sequence[Path] = ()) -> None:
        record.trace.flush()
        path = record.directory / "checkpoints" / f"step-{step:08d}.safetensors"
        path.parent.mkdir(exist_ok=True)
        loss = self.loss(step, self.tokens)
        arrays = {
            "student.embeddings.word_embeddings.weight": np.ones(self.student_size, np.float32),
            "student.encoder.layer.0.output.dense.weight": np.full(2, loss, np.float32),
            "student.encoder.layer.1.output.dense.weight": np.full(2, loss, np.float32),
            "fit_dense.weight": np.full(2, loss, np.float32),
            "moment1.student.embeddings.word_embeddings.weight": np.full(2, loss, np.float32),
        }
        save_file(arrays, path)
        record.checkpoint(step, path, tensor_table(arrays), expired=expired)

    def run(self) -> Path:
        with self.planned() as record:
            record.start(self.effective(), self.environment())
            self.train(record)
            record.finish(
                optimizer_steps=STEPS,
                samples=STEPS * BATCH,
                metrics={"loss": self.loss(STEPS, self.tokens)},
            )
        return record.path


@pytest.fixture
def pretend(tmp_path: Path) -> Iterator[Callable[..., PretendedRun]]:
    """A run in a root of its own; keyword arguments replace its facts."""

    def make(root: str, **facts: Any) -> PretendedRun:
        run = PretendedRun(tmp_path / root)
        for name, value in facts.items():
            assert hasattr(run, name), name
            setattr(run, name, value)
        return run

    yield make
