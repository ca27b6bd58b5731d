import hashlib
import re
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
from tinybert.manifest.checkpoints import tensor_digest, tensor_table, write_tensor_table
from tinybert.manifest.model import Code, InputFile, Inputs, Parent
from tinybert.manifest.record import TRACE, RunRecord
from tinybert.manifest.trace import Commitment, TracedStep, final_losses, read_trace
from tinybert.recipe.keys import as_toml
from tinybert.recipe.load import resolve
from tinybert.run.resume import recipe_facts

ROOT = Path(__file__).parent.parent
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
        self.data_dir = "records"
        self.weight_decay = 1e-4
        self.tokens = np.arange(STEPS * BATCH, dtype=np.uint16)
        self.order = list(range(STEPS))
        self.do_shuffle = False
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

    def text(self) -> str:
        """Return a recipe that asks for what is pretended."""
        text = (ROOT / "recipes" / "tiny.toml").read_text().partition("[expect]")[0]
        for key, value in {
            "seed": self.seed,
            "data_dir": self.data_dir,
            "global_batch_size": BATCH,
            "do_shuffle": self.do_shuffle or self.order == list(range(STEPS)),
            "weight_decay": self.weight_decay,
            "learning_rate": 1e-3 * STEPS,
            "loss_scale_value": 1.0,
        }.items():
            line = f"{key} = {as_toml(value)}"
            text, count = re.subn(rf"^{key} = .*$", line, text, flags=re.MULTILINE)
            assert count == 1, key
        text = text.replace("warmup_ratio = 0.1", f"warmup_steps = {STEPS}")
        text = text.replace("train_steps = 48", "epoch_size = 1")
        expect = [f"{key} = {as_toml(value)}" for key, value in self.expect.items()]
        return text + "\n".join(["[expect]", *expect] if expect else []) + "\n"

    def inputs(self) -> Inputs:
        teacher = replace(
            self.file("teacher", "teacher.safetensors"),
            tensor_digest=tensor_digest(tensor_table(self.teacher)),
            tensor_table=TABLES,
        )
        return Inputs(
            stage="general_distill",
            recipe=recipe_facts(resolve("recipes/tiny.toml", self.text().encode())),
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
            warmup_steps=STEPS,
            global_batch_size=BATCH,
            rows={"data": STEPS * BATCH},
            initial_weights={"student": str(self.seed)},
            masks={"embeddings": str(self.seed)},
        )

    def use_two_processes(self) -> None:
        """Pretend that the run had two processes."""
        text, environment, effective = self.text(), self.environment(), self.effective()
        text = text.replace("devices_per_host = 1", "devices_per_host = 2")
        topology = replace(environment.topology, processes=2)
        environment = replace(environment, topology=topology)
        effective = replace(effective, topology=replace(effective.topology, processes=2))
        self._pretend(text, environment, effective)

    def cut(self, micro_batches: int) -> None:
        """Pretend that the run has micro-batches."""
        text, effective = self.text(), self.effective()
        text = text.replace("[data]", f"[data]\nmicro_batches = {micro_batches}")
        runtime = replace(effective.runtime, micro_batches=micro_batches)
        self._pretend(text, self.environment(), replace(effective, runtime=runtime))

    def _pretend(self, text: str, environment: Environment, effective: Effective) -> None:
        self.text = lambda: text  # type: ignore[method-assign]
        self.environment = lambda: environment  # type: ignore[method-assign]
        self.effective = lambda: effective  # type: ignore[method-assign]

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
            batch = self.batch(step)
            saves = (step + 1) % 6 == 0
            traced = TracedStep(
                global_step=step,
                optimizer_step=step,
                loss=self.loss(step, batch),
                parts={"hidden_loss": self.loss(step, batch) / 2},
                loss_scale=1.0,
                overflow=False,
                learning_rate=np.float32(1e-3 * STEPS * step / STEPS),
                gradient_norm=1.0,
                batch_digest=hashlib.sha256(batch.tobytes()).hexdigest(),
            )
            record.trace.append(traced, self.commitment(step + 1) if saves else None)
            if saves:
                self.save(record, step + 1)

    def batch(self, step: int) -> np.ndarray:
        return self.tokens[self.order[step] * BATCH :][:BATCH]

    def loss(self, step: int, batch: np.ndarray) -> float:
        teacher = sum(float(array.sum()) for array in self.teacher.values())
        decayed = 1.0 - self.weight_decay * step
        tokens = float(batch.astype(np.float64).sum())
        return decayed * (10 + teacher) + tokens / 1000 + self.seed + self.noise * step

    def save(self, record: RunRecord, step: int, expired: Sequence[Path] = ()) -> None:
        record.trace.flush()
        path = record.directory / "checkpoints" / f"step-{step:08d}.safetensors"
        path.parent.mkdir(exist_ok=True)
        arrays = self.arrays(step)
        save_file(arrays, path)
        record.checkpoint(step, path, tensor_table(arrays), expired=expired)

    def arrays(self, step: int) -> dict[str, np.ndarray]:
        loss = self.loss(step, self.tokens)
        return {
            "student.embeddings.word_embeddings.weight": np.ones(self.student_size, np.float32),
            "student.encoder.layer.0.output.dense.weight": np.full(2, loss, np.float32),
            "student.encoder.layer.1.output.dense.weight": np.full(2, loss, np.float32),
            "fit_dense.weight": np.full(2, loss, np.float32),
            "moment1.student.embeddings.word_embeddings.weight": np.full(2, loss, np.float32),
        }

    def commitment(self, step: int) -> Commitment:
        table = tensor_table(self.arrays(step))
        weights = {name: table[name] for name in table if not name.startswith("moment1")}
        return Commitment(tensor_digest(table), tensor_digest(weights), {})

    def run(self) -> Path:
        with self.planned() as record:
            record.start(self.effective(), self.environment())
            self.train(record)
            record.trace.flush()
            record.finish(
                optimizer_steps=STEPS,
                samples=STEPS * BATCH,
                metrics=final_losses(read_trace(record.directory / TRACE)),
            )
        return record.path


def child(run: PretendedRun, *parents: tuple[str, Path, str]) -> Path:
    """Return the manifest of a finished run that names parents: role, manifest, outcome."""
    run.write_inputs()
    links = [
        Parent(role=role, manifest=str(path), stage="general_distill", outcome_digest=outcome)
        for role, path, outcome in parents
    ]
    with RunRecord.plan(run.root, replace(run.inputs(), parents=links)) as record:
        record.finish(metrics={"accuracy": 0.5})
    return Path(record.path)


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
