from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tinybert.errors import InputError
from tinybert.files import digest_file
from tinybert.manifest.checkpoints import read_tensor_table, tensor_digest
from tinybert.model.weights import LoadedWeights
from tinybert.plan.provenance import Provenance


class Inputs:
    """Records, and a teacher, in a run's root."""

    def __init__(self, root: Path) -> None:
        self.records, self.teacher = root / "records.tfrecord", root / "teacher.safetensors"
        self.arrays = {"teacher.w": np.ones(2, np.float32)}
        self.records.write_bytes(b"rows")
        save_file(self.arrays, self.teacher)

    def provenance(self) -> Provenance:
        store: Any = SimpleNamespace(files=(digest_file(self.records),), hashing_seconds=0.5)
        loaded = LoadedWeights(self.arrays, (), (), (self.teacher,))
        return Provenance({"data": store}, {"teacher": loaded})


def test_every_file_is_recorded(pretend: Any) -> None:
    with pretend("a").planned() as record:
        inputs = Inputs(record.root)
        inputs.provenance().write(record)
        records, teacher = record.manifest.inputs.files
        assert (records.role, records.path, records.size) == ("data", "records.tfrecord", 4)
        assert teacher.sha256 == digest_file(inputs.teacher).sha256
        assert teacher.tensor_table is not None
        table = read_tensor_table(record.directory / teacher.tensor_table)
        assert tensor_digest(table) == teacher.tensor_digest
        volatile = record.manifest.volatile
        assert volatile.modified.keys() == {"records.tfrecord", "teacher.safetensors"}
        assert volatile.hashing_seconds is not None and volatile.hashing_seconds >= 0.5


def test_a_resumed_run_reads_what_it_began_with(pretend: Any) -> None:
    with pretend("a").planned() as record:
        inputs = Inputs(record.root)
        inputs.provenance().write(record)
        inputs.provenance().check(record)
        old, size = digest_file(inputs.records).sha256, digest_file(inputs.teacher).size
        inputs.records.write_bytes(b"Rows")
        new = digest_file(inputs.records).sha256
        with pytest.raises(InputError) as caught:
            inputs.provenance().check(record)
        assert str(caught.value) == (
            "the files are not those that this run began with:\n"
            f"  - records.tfrecord (data): SHA-256 {new}, not {old}\n"
            f"  --> {record.path}\n"
            "help: restore them, or start anew with --fresh"
        )
        inputs.records.write_bytes(b"rows")
        data = bytearray(inputs.teacher.read_bytes())
        data[size - 1] ^= 1
        inputs.teacher.write_bytes(data)
        with pytest.raises(InputError, match=r"teacher.safetensors \(teacher\): SHA-256 "):
            inputs.provenance().check(record)


def test_a_new_run_has_nothing_to_compare_with(pretend: Any) -> None:
    run = pretend("a")
    inputs = run.inputs
    run.inputs = lambda: inputs().__class__(
        stage="finetune", recipe=inputs().recipe, code=inputs().code
    )
    with run.planned() as record:
        Inputs(record.root).provenance().check(record)
