import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinybert.errors import DeviceError, InputError, ManifestError, TrainingError, UsageError
from tinybert.files import digest_file
from tinybert.manifest.canonical import digest
from tinybert.manifest.document import Run, newest_first, read_manifest
from tinybert.manifest.identity import PATCH_BYTES
from tinybert.manifest.model import CheckpointFile, Failure, Number
from tinybert.manifest.record import RunRecord

WRITER = """
import itertools, pathlib, sys
from dataclasses import replace
from tinybert.manifest.record import RunRecord
record = RunRecord.reopen(pathlib.Path(sys.argv[1]))
volatile = record.manifest.volatile
for number in itertools.count():
    modified = {str(key): number for key in range(2000)}
    record.update(volatile=replace(volatile, modified=modified))
    if number == 0:
        print("ready", flush=True)
"""


def reopened_by_another_process(path: Path) -> subprocess.Popen[bytes]:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    return writer


def test_the_life_of_a_run(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        assert record.path.parent == run.root / "manifests"
        assert record.path.name.startswith("tiny-20260301T120000Z-")
        run_id = record.path.stem.removeprefix("tiny-")
        assert record.directory == run.root / "runs" / "tiny" / run_id
        manifest = read_manifest(record.path)
        assert (manifest.outcome.status, manifest.effective) == ("planned", None)
        assert manifest.volatile.created == "2026-03-01T12:00:00.000000Z"
        record.start(run.effective(), run.environment())
        manifest = read_manifest(record.path)
        assert (manifest.outcome.status, Run(record.path, manifest).status) == (
            "running",
            "running",
        )
        assert manifest.volatile.segments[-1].environment_digest == manifest.digests.environment
        run.train(record)
        record.finish(optimizer_steps=12, samples=48, metrics={"loss": 0.5})
    manifest = read_manifest(record.path)
    outcome = manifest.outcome
    assert (outcome.status, outcome.steps, outcome.samples) == ("finished", 12, 48)
    assert outcome.metrics["loss"] == Number(value=0.5, hex="0x1.0000000000000p-1")
    assert [kept.step for kept in outcome.checkpoints] == [6, 12]
    assert outcome.trace_digest == record.trace.digest
    assert Run(record.path, manifest).status == "finished"


def test_the_file_has_one_fact_a_line_and_its_digests(pretend: Any) -> None:
    path = pretend("a").run()
    text = path.read_text()
    document = json.loads(text)
    assert text == json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert list(document)[:2] == ["format_version", "digests"]
    for name, sealed in document["digests"].items():
        assert digest(document[name]) == sealed


def test_a_failure_is_recorded_with_what_was_reached(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        run.train(record, last=7)
        record.fail(TrainingError("step 7: the loss is nan", cure="lower it"), rank=3, step=7)
    outcome = read_manifest(record.path).outcome
    assert outcome.error == Failure(
        type="TrainingError", message="step 7: the loss is nan", rank=3, step=7
    )
    assert (outcome.status, outcome.steps, len(outcome.checkpoints)) == ("failed", 7, 1)


def test_a_resumed_run_ends_in_the_outcome_of_a_straight_one(pretend: Any) -> None:
    straight, run = pretend("straight"), pretend("a")
    expected = read_manifest(straight.run())
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        run.train(record, last=9)
    assert Run.load(record.path).status == "abandoned"
    with RunRecord.reopen(record.path) as again:
        assert Run.load(again.path).status == "planned"
        again.rewind(6)
        again.start(run.effective(), run.environment())
        run.train(again, first=6)
        again.finish(
            optimizer_steps=12,
            samples=48,
            metrics={k: float(v) for k, v in expected.outcome.metrics.items()},
        )
    manifest = read_manifest(record.path)
    assert manifest.digests.outcome == expected.digests.outcome
    assert [segment.first_step for segment in manifest.volatile.segments] == [0, 6]
    assert [bool(segment.ended) for segment in manifest.volatile.segments] == [False, True]


def test_going_back_forgets_later_checkpoints(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        run.train(record)
        best = record.directory / "checkpoints" / "best.safetensors"
        best.write_bytes(b"")
        record.checkpoint(12, best, {}, best=True)
        record.rewind(6)
        assert [kept.step for kept in record.manifest.outcome.checkpoints] == [6]
        assert record.manifest.outcome.best_checkpoint is None
        assert record.trace.records == 6


def test_expired_checkpoints_and_their_tables_are_removed_and_forgotten(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        run.train(record, last=6)
        (first,) = record.manifest.outcome.checkpoints
        old = record.directory / first.file
        run.train(record, first=6, last=11)
        run.save(record, 11, expired=[old])
        manifest = read_manifest(record.path)
        assert [kept.step for kept in manifest.outcome.checkpoints] == [11]
        assert list(manifest.volatile.checkpoint_files) == [manifest.outcome.checkpoints[0].file]
        names = sorted(path.name for path in old.parent.iterdir())
    assert names == ["step-00000011.safetensors", "step-00000011.safetensors.tensors.json"]


def test_the_file_of_a_checkpoint_is_recorded_with_the_trace_before_it(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        run.train(record, last=6)
        (kept,) = record.manifest.outcome.checkpoints
        path = record.directory / kept.file
        file = digest_file(path)
        assert record.recorded_file(path) == CheckpointFile(
            size=file.size, sha256=file.sha256, trace_digest=record.trace.digest
        )


def test_going_back_to_a_changed_trace_is_refused(pretend: Any) -> None:
    """A trace that was written anew, every `chain` right, is not the recorded one."""
    run, other = pretend("a"), pretend("b", noise=1e-9)
    with run.planned() as record, other.planned() as changed:
        run.train(record, last=9)
        other.train(changed, last=9)
        record.trace.flush()
        changed.trace.flush()
        trace = record.directory / "trace.jsonl"
        before = trace.read_bytes()
        trace.write_bytes((changed.directory / "trace.jsonl").read_bytes())
        with pytest.raises(InputError) as caught:
            record.rewind(6)
    assert caught.value.message.startswith("trace was changed: its digest is ")
    assert caught.value.where == str(trace)
    assert len(trace.read_bytes().splitlines()) == len(before.splitlines()), "nothing was cut"


def test_runs_of_recipes_with_a_common_beginning_are_told_apart(tmp_path: Path) -> None:
    names = [
        "tiny-20260301T120000Z-00000a.json",
        "tiny-20260301T120001Z-000000.json",
        "tiny-b-20260301T120000Z-00000a.json",
        "tiny.reference.json",
        "tiny-20260301T120000Z-00000a.patch",
    ]
    (tmp_path / "manifests").mkdir()
    for name in names:
        (tmp_path / "manifests" / name).touch()
    assert [path.name for path in newest_first(tmp_path, "tiny")] == [names[1], names[0]]
    assert [path.name for path in newest_first(tmp_path, "tiny-b")] == [names[2]]


@pytest.mark.parametrize("newest", ["20260301T120000Z", "20270101T000000Z"])
def test_a_new_run_is_the_newest_also_where_the_clock_went_back(pretend: Any, newest: str) -> None:
    run = pretend("a")
    (run.root / "manifests").mkdir(parents=True)
    (run.root / "manifests" / f"tiny-{newest}-ffffff.json").touch()
    for _ in range(3):
        with run.planned() as record:
            assert newest_first(run.root, "tiny")[0] == record.path
            assert record.manifest.volatile.created == "2026-03-01T12:00:00.000000Z"


@pytest.mark.parametrize("time", ["99991231T235959Z", "99999999T999999Z"])
def test_a_time_that_nothing_follows_stops_no_run(pretend: Any, time: str) -> None:
    run = pretend("a")
    (run.root / "manifests").mkdir(parents=True)
    (run.root / "manifests" / f"tiny-{time}-ffffff.json").touch()
    with run.planned() as record:
        assert record.path.name.startswith("tiny-20260301T120000Z-")


def test_what_cannot_be_reopened_says_why(pretend: Any) -> None:
    run = pretend("a")
    path = run.run()
    with pytest.raises(ManifestError) as caught:
        RunRecord.reopen(path)
    assert str(caught.value) == f"this run is finished\n  --> {path}"
    with run.planned() as record, pytest.raises(ManifestError) as caught:
        RunRecord.reopen(record.path)
    assert str(caught.value) == f"another process is carrying out this run\n  --> {record.path}"
    (record.directory / "teacher.tensors.json").unlink()
    (record.directory / "lock").unlink()
    record.directory.rmdir()
    with pytest.raises(ManifestError) as caught:
        RunRecord.reopen(record.path)
    folder = f"runs/tiny/{record.manifest.volatile.run_id}"
    assert str(caught.value) == f"the run's folder {folder} is gone\n  --> {record.path}"


def test_a_killed_run_is_abandoned_and_its_manifest_whole(pretend: Any) -> None:
    with pretend("a").planned() as record:
        pass
    for kill in range(6):
        with reopened_by_another_process(record.path) as writer:
            assert Run.load(record.path).status == "planned"
            try:
                writer.wait(0.007 * kill)
            except subprocess.TimeoutExpired:
                os.kill(writer.pid, signal.SIGKILL)
        manifest = read_manifest(record.path)
        assert Run(record.path, manifest).status == "abandoned"
        assert len(manifest.volatile.segments) == kill + 2
    RunRecord.reopen(record.path).close()
    assert [path.name for path in record.path.parent.iterdir()] == [record.path.name]


def test_a_wrong_fact_is_refused_and_the_file_kept(pretend: Any) -> None:
    with pretend("a").planned() as record:
        before, manifest = record.path.read_bytes(), record.manifest
        with pytest.raises(TypeError, match=r"^object has no JSON form$"):
            record.update(outcome=replace(manifest.outcome, steps=object()))
        assert record.path.read_bytes() == before
        assert record.manifest is manifest


def test_a_section_that_stays_keeps_its_digest(pretend: Any) -> None:
    with pretend("a").planned() as record:
        before = record.manifest
        record.update(outcome=replace(before.outcome, samples=1))
        assert record.manifest.inputs is before.inputs
        assert replace(record.manifest.digests, outcome="") == replace(before.digests, outcome="")
        assert record.manifest.digests.outcome == digest(record.manifest.outcome)
        assert read_manifest(record.path) == record.manifest


def test_a_patch_is_kept_beside_the_manifest_unless_it_is_large(pretend: Any) -> None:
    with pretend("a").planned() as record:
        record.keep_patch(b"")
        assert record.manifest.inputs.code.patch is None
        record.keep_patch(b"abc")
        patch = record.manifest.inputs.code.patch
        assert patch is not None
        assert patch.file is not None
        assert (record.path.parent / patch.file).read_bytes() == b"abc"
        assert (patch.size, patch.sha256[:8]) == (3, "ba7816bf")
    with pretend("b").planned() as record:
        record.keep_patch(b"a" * (PATCH_BYTES + 1))
        patch = record.manifest.inputs.code.patch
        assert patch is not None
        assert (patch.file, patch.size) == (None, PATCH_BYTES + 1)
        assert not record.path.with_suffix(".patch").exists()


def test_manifests_that_cannot_be_read_say_why(pretend: Any, tmp_path: Path) -> None:
    path = pretend("a").run()
    whole = path.read_text()
    assert message(tmp_path / "no.json") == "cannot read the manifest: no such file or directory"
    cases = {
        whole[:1]: (
            "file is no manifest: Expecting property name enclosed in double quotes:"
            " line 1 column 2 (char 1)"
        ),
        "\udcff": (
            "file is no manifest: 'utf-8' codec can't decode byte 0xff in position 0:"
            " invalid start byte"
        ),
        "[" * 100_000: "file is no manifest: it is nested too deeply",
        f'{{"a": {10**400}}}': "file is no manifest: it holds an integer of 2^53 or more",
        f'{{"a": "{chr(92)}ud800"}}': "file is no manifest: it holds half a surrogate pair",
        "[1]": "file is JSON, but no manifest",
        "{}": "file is JSON, but no manifest",
        whole.replace('"format_version": 1', '"format_version": 2'): (
            "manifest has format version 2; this program reads 1"
        ),
        whole.replace('"seed": 1', '"seed": 2'): (
            "section `inputs` was edited: its digest is not the recorded one"
        ),
        whole.replace('"volatile": {', '"volatil": {'): "manifest has no section `volatile`",
    }
    for text, expected in cases.items():
        path.write_bytes(text.encode(errors="surrogateescape"))
        assert message(path) == expected


def message(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert caught.value.where == str(path)
    return caught.value.message


def test_a_sealed_manifest_of_other_content_is_refused(pretend: Any) -> None:
    path = pretend("a").run()
    document = json.loads(path.read_text())
    document["outcome"]["steps"] = "many"
    document["digests"]["outcome"] = digest(document["outcome"])
    path.write_text(json.dumps(document))
    assert message(path) == "no manifest: `outcome.steps`: input should be a valid integer"


@pytest.mark.parametrize("error", [InputError("no"), DeviceError("no"), UsageError("no")])
def test_a_reopened_run_that_is_refused_is_as_it_was(pretend: Any, error: Exception) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        run.train(record, last=8)
        record.finish("interrupted")
    manifest = record.path.read_bytes()
    with RunRecord.reopen(record.path) as again:
        again.start(run.effective(), run.environment())
        again.fail(error)
    assert record.path.read_bytes() == manifest
    with RunRecord.reopen(record.path) as again:
        again.rewind(6)
        again.fail(error)
    assert read_manifest(record.path).outcome.status == "failed"
    with RunRecord.reopen(record.path) as again:
        again.fail(TrainingError("it died"))
    failure = read_manifest(record.path).outcome.error
    assert failure is not None
    assert failure.message == "it died"
