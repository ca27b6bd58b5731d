"""What a replay is to give, by the run's manifest and trace, and where it gave something else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from tinybert.atomic import write_bytes
from tinybert.audit.stretches import Stretch
from tinybert.compare.causes import exact_value
from tinybert.compare.steps import differing_quantities, step_quantities
from tinybert.files import read_file
from tinybert.manifest.built import TrainingFacts
from tinybert.manifest.document import Run
from tinybert.manifest.model import Checkpoint, Number
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import Commitment, Record, TracedStep, read_trace

RESULT = "audit.json"
"""The result of a replay, in the folder of its record."""


@dataclass(frozen=True)
class Finding:
    """A fact that a replay gives otherwise than the run recorded it."""

    step: int
    """Steps of the run before it."""
    fact: str
    """What differs, such as `loss`."""
    recorded: str
    replayed: str

    @property
    def text(self) -> str:
        """The finding in one line; steps are counted from 1."""
        where = f"step {self.step + 1}: {self.fact}"
        return f"{where} is {self.recorded}; the replay gives {self.replayed}"


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay."""

    findings: list[Finding]
    """One of each record that differs, and others; in the order of steps."""
    records: int
    """Records of the trace that were compared."""
    states: int
    """Digests of states that were compared."""


@dataclass(frozen=True)
class ReplayJob:
    """What to replay."""

    manifest: Path
    stretches: tuple[Stretch, ...]


@dataclass
class Replay:
    """A finished run, what to replay of it, and what was found so far."""

    run: Run
    stretches: tuple[Stretch, ...]
    records: Mapping[int, Record]
    """Those of the stretches, and those with a commitment, by step."""
    findings: list[Finding] = field(default_factory=list)
    compared: int = 0
    states: int = 0

    @classmethod
    def open(cls, job: ReplayJob) -> "Replay":
        """Read manifest and trace.

        Raises:
            ManifestError: One of them cannot be read.
        """
        run = Run.load(job.manifest)
        wanted = {
            step for stretch in job.stretches for step in range(stretch.first_step, stretch.end)
        }
        records = {
            record.global_step: record
            for record in read_trace(run.folder / TRACE)
            if record.checkpoint is not None or record.global_step in wanted
        }
        return cls(run, job.stretches, records)

    def commitment(self, step: int) -> Commitment | None:
        """Return what the trace says of the checkpoint after `step` steps of the run."""
        record = self.records.get(step - 1)
        return record.checkpoint if record else None

    def best_of(self, folder: Path) -> Checkpoint | None:
        """Return the checkpoint of the best evaluation, if it is one of a training's folder."""
        best = self.run.manifest.outcome.best_checkpoint
        if best is None or (self.run.folder / best.file).parent != folder:
            return None
        return best

    def training_facts(self, phase: str | None) -> TrainingFacts | None:
        """Return what the run recorded of a training, or of one of its phases."""
        effective = self.run.manifest.effective
        if effective is None or phase is None:
            return effective
        return effective.phases.get(phase)

    def compare(self, step: TracedStep, checkpoint: Commitment | None) -> None:
        """Compare a step, and the checkpoint after it, with their record."""
        recorded = self.records[step.global_step]
        self.compared += 1
        self.states += checkpoint is not None
        sides = step_quantities(recorded, recorded.checkpoint), step_quantities(step, checkpoint)
        for fact, pair in differing_quantities(*sides).items():
            self.find(step.global_step, fact, *pair)
            break  # the others follow from it

    def compare_facts(
        self, step: int, kind: str, recorded: Mapping[str, object], replayed: Mapping[str, object]
    ) -> None:
        """Compare facts of one kind, by name: those that either side has."""
        for name in {**recorded, **replayed}:
            pair = recorded.get(name), replayed.get(name)
            if pair[0] != pair[1]:
                self.find(step, f"{kind}.{name}", *pair)

    def compare_metrics(
        self, step: int, kind: str, recorded: Mapping[str, Number], replayed: Mapping[str, float]
    ) -> None:
        """Compare metrics bit for bit."""
        exact = {name: number.hex for name, number in recorded.items()}
        self.compare_facts(step, kind, exact, {n: v.hex() for n, v in replayed.items()})

    def find(self, step: int, fact: str, recorded: object, replayed: object) -> None:
        """Note a difference."""
        self.findings.append(Finding(step, fact, exact_value(recorded), exact_value(replayed)))

    def write(self, folder: Path) -> None:
        """Write the result into the folder of the replay's record."""
        findings = sorted(self.findings, key=lambda finding: finding.step)
        result = ReplayResult(findings, self.compared, self.states)
        write_bytes(folder / RESULT, TypeAdapter(ReplayResult).dump_json(result))


def read_result(folder: Path) -> ReplayResult:
    """Read what `Replay.write` wrote."""
    return TypeAdapter(ReplayResult).validate_json(read_file(folder / RESULT))
