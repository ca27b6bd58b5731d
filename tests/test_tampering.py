"""Bytes that a digest is recorded for are compared before use: no other outcome in silence."""

import shutil
import signal

import pytest

from tests.conftest import Runner, folder, read_json

pytestmark = pytest.mark.slow

STEPS = ("--set", "training.train_steps=60")


def outcome(path):
    return read_json(path)["digests"]["outcome"]


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after its second checkpoint, and the outcome of a straight one."""
    runner = Runner(tmp_path_factory.mktemp("stopped"))
    records = runner.root / "data"
    shutil.copytree(runner.root / "recipes" / "tiny" / "records", records)
    text = runner.free.read_text().replace("recipes/tiny/records/", "data/")
    runner.free.write_text(text)
    straight = outcome(runner.run(runner.free, "--fresh", *STEPS))
    process = runner.start(runner.free, "--root", runner.root, "--fresh", *STEPS)
    for line in process.stderr:
        if "step=1/60" in line:
            break
    while len(list(runner.root.glob("runs/free/*/checkpoints/step-*40.safetensors"))) < 2:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate()
    path = max(runner.root.glob("manifests/free-*.json"))
    assert read_json(path)["outcome"]["status"] == "interrupted"
    return runner, path, straight


def test_a_resume_refuses_what_was_changed_and_then_goes_on(stopped):
    runner, path, straight = stopped
    run, record = folder(path), next((runner.root / "data").glob("*.tfrecord"))
    newest = max((run / "checkpoints").glob("step-*.safetensors"))
    trace = run / "trace.jsonl"
    for file, place, message in (
        (newest, -1, "the checkpoint is not the one that the run recorded: SHA-256 "),
        (trace, trace.read_bytes().index(b'"batch_digest') + 20, "trace was changed"),
        (record, -1, "the file was changed after it was prepared"),
    ):
        before = file.read_bytes()
        flip(file, place)
        manifest = path.read_bytes()
        code, out, err = runner(runner.free, "--root", runner.root, *STEPS)
        assert (code, out) == (4, "")
        assert path.read_bytes() == manifest
        assert f"error: {message}" in err
        file.write_bytes(before)
    assert outcome(runner.run(runner.free, *STEPS)) == straight
    assert len(list(runner.root.glob("manifests/free-*.json"))) == 2, "it went on"


def test_a_link_refuses_a_checkpoint_that_was_changed(tmp_path):
    runner = Runner(tmp_path)
    parent = runner.run(runner.free, "--set", "training.train_steps=2")
    child = tmp_path / "child.toml"
    link = f'load_student_ckpt_path = {{ manifest = "manifests/{parent.name}" }}'
    head, student, tail = runner.free.read_text().partition("[student]\n")
    child.write_text(head + student + tail.replace('init = "seeded"', link, 1))
    file = folder(parent) / "checkpoints" / "step-00000002.safetensors"
    before = file.read_bytes()
    flip(file)
    for options in (("--dry-run",), ()):
        code, out, err = runner(child, "--root", runner.root, *options)
        assert (code, out) == (4, "")
        assert "error: the checkpoint is not the one that the run recorded: SHA-256 " in err
        assert f"--> {file}" in err
    file.write_bytes(before)
    assert runner.run(child, "--set", "training.train_steps=2")
