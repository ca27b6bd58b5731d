"""The command `audit`: true runs are the same, forged ones are named, others are refused."""

import random
import shutil

import pytest

from benchmarks.forgeries import copied, forge_loss, forge_weights
from tests.attest.conftest import write_keys
from tinybert.commands.audit import audit
from tinybert.errors import InputError, UsageError
from tinybert.manifest.document import Run

DEFAULTS = {"segments": 3, "steps": 8, "force": False}
DEFAULTS |= dict.fromkeys(("nonce", "processes", "threads", "sign", "output"))


def audited(runner, manifest, *options):
    code, out, err = runner("audit", manifest, *options)
    assert code in (0, 3), err
    return out.splitlines(), code


def test_a_true_run_is_the_same_and_leaves_nothing_behind(narrow, straight):
    before = sorted((narrow.root / "runs").rglob("*"))
    options = ("--segments", 2, "--steps", 5, "--nonce", "7", "--threads", 2)
    (first, *lines), code = audited(narrow, straight, *options)
    assert code == 0
    assert first.startswith("same: 10 of 200 steps (5.0%) replayed in ")
    assert lines[0].startswith("  steps ") and lines[1].startswith("  steps ")
    assert lines[2].startswith("  compared: 10 records, ")
    assert lines[3].startswith("drawn: 2 of 2 stretches, by the outcome ")
    assert lines[3].endswith(" and --nonce 7")
    left = set((narrow.root / "runs").rglob("*")) - set(before)
    assert left <= {narrow.root / "runs" / "free" / "free.toml"}


def test_a_copy_from_another_machine_is_audited_up_to_the_committed_end(straight, tmp_path, narrow):
    run = copied(straight, tmp_path, "copy")
    shutil.copy(narrow.free, tmp_path / "copy")
    lines, code = audited(narrow, run.path, "--segments", 9, "--steps", 20)
    assert code == 0, lines
    assert lines[2] == "  steps 181 to 200 of general_distill, from " + (
        "checkpoints/step-00000180.safetensors"
    )
    assert lines[3] == "  compared: 40 records, 2 states after them, and the metrics"


def test_a_forged_loss_is_named_and_signed(straight, tmp_path, narrow):
    private, public = write_keys(tmp_path / "keys")
    draw = random.Random(5)
    forgery = forge_loss(straight, tmp_path, draw, steps=range(3, 4))
    statement = tmp_path / "statement"
    options = ("--segments", 9, "--steps", 5, "--sign", private, "--output", statement)
    lines, code = audited(narrow, forgery.manifest, *options)
    assert code == 3
    assert lines[0].startswith("different: step 4: loss is ")
    assert lines[1].startswith("replayed: 10 of 200 steps (5.0%) in ")
    code, out, err = narrow.ask(
        "verify", forgery.manifest, "--signature", statement, "--public-key", public
    )
    assert (code, out.splitlines()[2]) == (0, f"  {lines[0]}"), err


def test_forged_weights_of_a_checkpoint_are_named(straight, tmp_path, narrow):
    forgery = forge_weights(straight, tmp_path, random.Random(5), checkpoint=0)
    lines, code = audited(narrow, forgery.manifest, "--segments", 9, "--steps", 2)
    assert code == 3
    assert lines[0].startswith("different: step 181: loss is ")


@pytest.mark.slow
def test_a_run_of_two_processes_is_audited_by_two(narrow):
    two = ("--set", "topology.devices_per_host=2", "--set", "training.train_steps=24")
    manifest = narrow.run(narrow.free, "--fresh", *two)
    lines, code = audited(narrow, manifest, "--segments", 9, "--steps", 6)
    assert code == 0, lines
    assert lines[0].startswith("same: 10 of 24 steps ")  # 0 to 5 and 20 to 23
    forgery = forge_loss(manifest, narrow.root, random.Random(5), steps=range(21, 22))
    lines, code = audited(narrow, forgery.manifest, "--segments", 9, "--steps", 6)
    assert (code, lines[0].startswith("different: step 22: loss is ")) == (3, True)


@pytest.mark.slow
def test_a_run_of_two_processes_with_micro_batches_is_audited_by_one(narrow):
    devices = ("topology.devices_per_host=2", "topology.device_ids=[0, 1]")
    options = (*devices, "data.micro_batches=4", "training.train_steps=24")
    manifest = narrow.run(narrow.free, "--fresh", *(p for o in options for p in ("--set", o)))
    lines, code = audited(narrow, manifest, "--segments", 9, "--steps", 20, "--processes", 1)
    assert code == 0, lines
    assert lines[0].startswith("same: 24 of 24 steps ")


def test_what_contradicts_itself_is_not_replayed(pretend):
    run = pretend("a")
    manifest = run.run()
    (run.root / Run.load(manifest).manifest.volatile.directory / "trace.jsonl").write_text("")
    text, code = audit(manifest, **DEFAULTS)
    assert text.startswith("different: trace.jsonl: another trace: digest ")
    assert text.endswith("\nnothing was replayed\n")
    assert code == 3


def test_what_cannot_be_audited_is_refused_by_name(pretend, tmp_path):
    def refusal(manifest, kind, **options):
        with pytest.raises(kind) as caught:
            audit(manifest, **{**DEFAULTS, **options})
        return caught.value.message

    with pretend("a").planned() as record:
        expected = "only a finished run is audited; this one is planned"
        assert refusal(record.path, UsageError) == expected
    manifest = pretend("b").run()
    assert refusal(manifest, UsageError, steps=0) == "nothing to replay"
    expected = "the bits of this run depend on the number of its processes"
    assert refusal(manifest, UsageError, processes=2) == expected
    private, _ = write_keys(tmp_path / "keys")
    (tmp_path / "statement").write_text("an earlier one")
    for output, force, expected in (
        (tmp_path / "statement", False, "the file exists"),
        (manifest, True, "the envelope would replace the manifest"),
        (private, True, "the envelope would replace the private key"),
    ):
        output = {"sign": private, "output": output, "force": force}
        assert refusal(manifest, UsageError, **output) == expected
    run = Run.load(manifest)
    for file, name in (
        (run.manifest.outcome.checkpoints[-1].file, "last checkpoint"),
        ("trace.jsonl", "trace"),
    ):
        (run.folder / file).unlink()
        assert refusal(manifest, InputError) == f"the run's {name} is not here"
