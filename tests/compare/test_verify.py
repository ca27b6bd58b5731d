import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.fake_runs import child
from tinybert.compare.verify import changed_code, changed_inputs, verify
from tinybert.files import digest_file
from tinybert.manifest.document import Run, read_manifest

CODE = "note: the program differs now in 2 files, first runner.py; it ran at commit " + "ab" * 20
UNREAD = "note: 2 checkpoints compared by size alone; --rehash reads them"


def folder(path: Path) -> Path:
    return path.parent.parent / read_manifest(path).volatile.directory


def last_checkpoint(path: Path) -> Path:
    return folder(path) / "checkpoints" / "step-00000012.safetensors"


@pytest.mark.parametrize("rehash", [False, True])
def test_an_untouched_run(pretend: Any, rehash: bool) -> None:
    text, code = verify(pretend("a").run(), rehash)
    notes = [CODE] if rehash else [UNREAD, CODE]
    assert text.splitlines() == ["same: every file is what it was", *notes]
    assert code == 0


def test_inputs_with_recorded_times_are_trusted_unless_rehashed(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        records = run.root / "records"
        times = {"records": records.stat().st_mtime_ns // 1000}
        record.update(volatile=replace(record.manifest.volatile, modified=times))
        original, before = records.read_bytes(), records.stat()
        records.write_bytes(bytes(before.st_size))
        os.utime(records, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed_inputs(Run.load(record.path), rehash=False) == ([], 1)
    now, then = (sha256(content).hexdigest() for content in (bytes(before.st_size), original))
    changed = [f"records: SHA-256 {now}, not {then}"]
    assert changed_inputs(Run.load(record.path), rehash=True) == (changed, 0)
    text, _ = verify(record.path)
    assert "note: 1 input trusted by size and time; --rehash reads them\n" in text
    assert "note: [expect] not checked: the run is abandoned\n" in text


DAMAGES: dict[str, tuple[Callable[[Path], object], bool, str]] = {
    "a changed input": (
        lambda path: (path.parent.parent / "records").write_bytes(bytes(96)),
        False,
        "different: records: SHA-256 ",
    ),
    "a longer input": (
        lambda path: (path.parent.parent / "records").write_bytes(bytes(97)),
        False,
        "different: records: 97 bytes, not 96",
    ),
    "a missing input": (
        lambda path: (path.parent.parent / "records").unlink(),
        False,
        "different: records: missing",
    ),
    "a cut trace": (
        lambda path: os.truncate(folder(path) / "trace.jsonl", 1000),
        False,
        "different: trace.jsonl: another trace: ",
    ),
    "a missing trace": (
        lambda path: (folder(path) / "trace.jsonl").unlink(),
        False,
        "different: trace.jsonl: trace is missing",
    ),
    "a missing checkpoint": (
        lambda path: last_checkpoint(path).unlink(),
        False,
        "different: checkpoints/step-00000012.safetensors: missing",
    ),
    "another table of the teacher": (
        lambda path: shutil.copy(
            f"{last_checkpoint(path)}.tensors.json", folder(path) / "teacher.tensors.json"
        ),
        False,
        "different: teacher.tensors.json: another table: ",
    ),
    "another table": (
        lambda path: shutil.copy(
            folder(path) / "teacher.tensors.json", f"{last_checkpoint(path)}.tensors.json"
        ),
        False,
        "different: checkpoints/step-00000012.safetensors.tensors.json: another table: ",
    ),
    "one changed weight": (
        lambda path: save_file(
            {**load_file(last_checkpoint(path)), "fit_dense.weight": np.zeros(2, np.float32)},
            last_checkpoint(path),
        ),
        True,
        "different: checkpoints/step-00000012.safetensors: SHA-256 ",
    ),
    "an older step in the place of a newer one": (
        lambda path: shutil.copy(
            last_checkpoint(path).with_name("step-00000006.safetensors"), last_checkpoint(path)
        ),
        True,
        "different: checkpoints/step-00000012.safetensors: SHA-256 ",
    ),
    "a cut checkpoint": (
        lambda path: os.truncate(last_checkpoint(path), 100),
        False,
        "different: checkpoints/step-00000012.safetensors: 100 bytes, not ",
    ),
}


@pytest.mark.parametrize(("damage", "rehash", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named(
    pretend: Any, damage: Callable[[Path], object], rehash: bool, expected: str
) -> None:
    path = pretend("a").run()
    damage(path)
    text, code = verify(path, rehash)
    assert code == 1
    line = text.splitlines()[0]
    assert line == expected or (expected.endswith(" ") and line.startswith(expected))
    assert text.splitlines()[1:] == ([CODE] if rehash else [UNREAD, CODE])


def test_a_manifest_without_its_run_is_checked_as_far_as_it_goes(pretend: Any) -> None:
    path = pretend("a").run()
    shutil.rmtree(path.parent.parent / "runs")
    text, code = verify(path)
    assert f"note: outputs not checked: {folder(path)} is not here\n" in text
    assert code == 0


def test_a_changed_program_is_named_with_its_commit_and_patch(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.keep_patch(b"abc")
    names = ("runner.py", "tinybert/stages.py")
    patch = record.path.with_suffix(".patch").name
    assert changed_code(Run.load(record.path), run.root) == (
        f"the program differs now in 2 files, first {names[0]}; it ran at commit {'ab' * 20}"
        f" with the patch {patch}"
    )
    (run.root / names[1]).parent.mkdir(parents=True, exist_ok=True)
    (run.root / names[1]).write_text(names[1])
    run.code[names[1]] = digest_file(run.root / names[1]).sha256
    one = changed_code(Run.load(run.run()), run.root)
    assert one == f"the program differs now in runner.py; it ran at commit {'ab' * 20}"
    run = pretend("b")
    for name in names:
        (run.root / name).parent.mkdir(parents=True, exist_ok=True)
        (run.root / name).write_text(name)
        run.code[name] = digest_file(run.root / name).sha256
    assert changed_code(Run.load(run.run()), run.root) is None


def test_the_runs_whose_results_were_read_are_compared(pretend: Any) -> None:
    parent = pretend("parent").run()
    outcome = read_manifest(parent).digests.outcome

    def answer(role: str, linked: Path, digest: str) -> str:
        return verify(child(pretend("child"), (role, linked, digest)))[0]

    name = f"the teacher's run {parent}"
    other = answer("teacher", parent, "0" * 64)
    assert f"  {name}: outcome {outcome}, not {'0' * 64}\n" in other
    assert f"  {name}: it left no checkpoint that was read\n" in other
    gone = parent.with_name("gone.json")
    note = f"note: the teacher's run {gone} not checked: cannot read the manifest"
    assert note in answer("teacher", gone, outcome)
    unread = f"  the student's run {parent}: it left no checkpoint that was read\n"
    assert unread in answer("student", parent, outcome)
