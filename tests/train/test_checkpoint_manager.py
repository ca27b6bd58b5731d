"""Trace, evaluations and checkpoints stay together, across stops and kills."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from mindspore import Parameter, Tensor
from safetensors.numpy import load_file

from tinybert.errors import InputError
from tinybert.manifest.canonical import to_json
from tinybert.manifest.model import Code, Inputs, RecipeFacts
from tinybert.manifest.record import RunRecord
from tinybert.stages.training import has_checkpoint
from tinybert.train.checkpoint import CheckpointFolder
from tinybert.train.checkpoint_manager import BestMetric, CheckpointManager
from tinybert.train.loop import StepResult

INPUTS = Inputs(
    stage="finetune",
    recipe=RecipeFacts(
        name="r",
        path="r.toml",
        text="",
        text_sha256="0" * 64,
        digest="1" * 64,
        overrides=[],
        values={},
        origins={},
    ),
    code=Code(digest="0" * 64, files={}),
)
METRICS = {3: 0.5, 6: 0.75, 9: 0.75, 10: 0.25}
"""A metric by the weight that was trained, of ten steps with an evaluation every three."""


class Run:
    """A training of one weight that grows by 1 a step."""

    def __init__(self, record, keep=2, metrics=METRICS, steps_before=0, name="checkpoints"):
        self.weight = Parameter(Tensor(np.float32(0)), name="student.w")
        self.step = Parameter(Tensor(np.int32(0)), name="global_step")
        self.record, self.steps_before = record, steps_before
        self.evaluated = []
        self.journal = CheckpointManager(
            record,
            CheckpointFolder(
                record.directory / name,
                [self.weight],
                [self.step],
                keep,
                every=3,
                metadata={"labels": '["a"]'},
            ),
            total_steps=10,
            selection=BestMetric(lambda: self.measure(metrics), "accuracy"),
            steps_before=steps_before,
        )

    @property
    def at(self):
        return int(self.step.asnumpy())

    def measure(self, metrics):
        self.evaluated.append(self.at)
        return {"accuracy": metrics[self.at], "mf1": 0.5}

    def train(self, stops_at=None):
        """Run up to a stop, or to the end; return whether it went to the end."""
        for step in range(self.journal.resume(), 10):
            self.weight.set_data(self.weight + 1)
            self.step.set_data(self.step + 1)
            loss = float(self.weight.asnumpy())
            counted = self.steps_before + step
            stops = self.at == stops_at
            digest = "b" * 64
            result = StepResult(counted, step, loss, {}, 1.0, False, 0.1, 1.0, digest, 4, stops)
            self.journal.after_step(result)
            if stops:
                return False
        return True


def begin(root):
    return RunRecord.plan(root, INPUTS)


def outcome(run):
    best = run.journal.best
    run.record.finish(best_step=best.global_step, best_metrics=best.metrics)
    return to_json(run.record.manifest.outcome)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    with begin(tmp_path_factory.mktemp("straight")) as record:
        run = Run(record)
        assert run.train()
        return run, outcome(run)


def test_evaluations_come_with_the_checkpoints_and_at_the_end(straight):
    run, found = straight
    assert run.evaluated == [3, 6, 9, 10]
    assert run.journal.last_metrics == {"accuracy": 0.25, "mf1": 0.5}
    assert [kept["step"] for kept in found["checkpoints"]] == [9, 10]


def test_the_first_of_equal_evaluations_is_kept_apart(straight):
    run, found = straight
    assert (found["best_step"], found["best_checkpoint"]["step"]) == (6, 6)
    assert found["best_metrics"]["accuracy"]["value"] == 0.75
    best = load_file(run.record.directory / found["best_checkpoint"]["file"])
    assert {name: float(value) for name, value in best.items()} == {"student.w": 6.0}


@pytest.mark.parametrize("stops_at", [1, 2, 3, 5, 6, 7, 9])
def test_a_stop_at_any_step_leaves_the_outcome_of_a_straight_run(tmp_path, straight, stops_at):
    with begin(tmp_path) as record:
        run = Run(record)
        assert not run.train(stops_at)
        assert run.evaluated == [step for step in (3, 6, 9) if step <= stops_at]
        record.finish("interrupted")
    with RunRecord.reopen(record.path) as record:
        again = Run(record)
        assert again.train()
        assert outcome(again) == straight[1]
    assert {path.name for path in (record.directory / "checkpoints").glob("*.safetensors")} == {
        "best.safetensors",
        "step-00000009.safetensors",
        "step-00000010.safetensors",
    }


class KilledError(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("place", ["save", "save_best"])
def test_a_kill_between_checkpoint_and_best_is_made_up_for(tmp_path, straight, place, monkeypatch):
    def killed(folder, *arguments, **options):
        if folder.state[0].asnumpy() == 6:
            raise KilledError
        return original(folder, *arguments, **options)

    original = getattr(CheckpointFolder, place)
    monkeypatch.setattr(CheckpointFolder, place, killed)
    with begin(tmp_path) as record, pytest.raises(KilledError):
        Run(record).train()
    monkeypatch.undo()
    with RunRecord.reopen(record.path) as record:
        again = Run(record)
        assert again.train()
        assert again.evaluated == ([6, 9, 10] if place == "save" else [9, 10])
        assert outcome(again) == straight[1]


def test_a_kill_between_checkpoint_and_manifest_is_made_up_for(tmp_path, straight, monkeypatch):
    def killed(record, step, *arguments, **options):
        if step == 6:
            raise KilledError
        return original(record, step, *arguments, **options)

    original = RunRecord.checkpoint
    monkeypatch.setattr(RunRecord, "checkpoint", killed)
    with begin(tmp_path) as record, pytest.raises(KilledError):
        Run(record).train()
    monkeypatch.undo()
    assert (record.directory / "checkpoints" / "step-00000006.safetensors").exists()
    with RunRecord.reopen(record.path) as record:
        again = Run(record)
        assert again.journal.resume() == 3
        assert again.train()
        assert outcome(again) == straight[1]


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


NEWEST, OLDER = "step-00000009.safetensors", "step-00000006.safetensors"
DAMAGES = {
    "one bit of a weight": (NEWEST, lambda folder: flip(folder / NEWEST, -1), "SHA-256 "),
    "one bit of a label name": (
        NEWEST,
        lambda folder: flip(folder / NEWEST, (folder / NEWEST).read_bytes().index(b"[") + 2),
        "SHA-256 ",
    ),
    "an older step in its place": (
        NEWEST,
        lambda folder: shutil.copy(folder / OLDER, folder / NEWEST),
        "SHA-256 ",
    ),
    "one byte more": (
        NEWEST,
        lambda folder: (folder / NEWEST).write_bytes((folder / NEWEST).read_bytes() + b" "),
        "{longer} bytes, not {size}",
    ),
    "one bit of the best": (
        "best.safetensors",
        lambda folder: flip(folder / "best.safetensors", -1),
        "SHA-256 ",
    ),
    "the best is gone": (
        "best.safetensors",
        lambda folder: (folder / "best.safetensors").unlink(),
        "missing",
    ),
}


@pytest.mark.parametrize(("name", "damage", "change"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_not_as_it_was_recorded_is_not_taken_up(tmp_path, name, damage, change):
    with begin(tmp_path) as record:
        assert not Run(record).train(stops_at=9)
        record.finish("interrupted")
    folder = record.directory / "checkpoints"
    size = (folder / name).stat().st_size
    damage(folder)
    with RunRecord.reopen(record.path) as record, pytest.raises(InputError) as caught:
        Run(record).journal.resume()
    assert caught.value.exit_code == 4
    assert caught.value.where == str(folder / name)
    expected = change.format(size=size, longer=size + 1)
    prefix = "the checkpoint is not the one that the run recorded: "
    assert caught.value.message.startswith(prefix + expected)


@pytest.mark.parametrize(
    ("damage", "change"),
    [
        (lambda table: shutil.copy(table.with_name(f"{OLDER}.tensors.json"), table), "another "),
        (lambda table: flip(table, 0), "file is not a tensor table"),
        (lambda table: table.unlink(), "tensor table is missing"),
    ],
    ids=["an older step's", "one bit", "it is gone"],
)
def test_a_checkpoint_beside_another_tensor_table_is_not_taken_up(tmp_path, damage, change):
    with begin(tmp_path) as record:
        assert not Run(record).train(stops_at=9)
        record.finish("interrupted")
    table = record.directory / "checkpoints" / f"{NEWEST}.tensors.json"
    damage(table)
    with RunRecord.reopen(record.path) as record, pytest.raises(InputError) as caught:
        Run(record).journal.resume()
    assert (caught.value.exit_code, caught.value.where) == (4, str(table))
    assert caught.value.message.startswith(change)


STRANGERS = ("step-x", "step-", "step-01", "step-1e3", "step--1", "step-000000010", "step-0000001_")


def test_files_with_other_names_are_left_alone(tmp_path, straight):
    with begin(tmp_path) as record:
        assert not Run(record).train(stops_at=7)
        record.finish("interrupted")
    folder = record.directory / "checkpoints"
    strangers = [folder / f"{name}.safetensors" for name in STRANGERS]
    for stranger in strangers:
        stranger.write_bytes(b"somebody's")
    with RunRecord.reopen(record.path) as record:
        again = Run(record)
        assert again.journal.resume() == 7
        assert again.train()
        assert outcome(again) == straight[1]
    assert {stranger.read_bytes() for stranger in strangers} == {b"somebody's"}


@pytest.mark.parametrize("name", ["step-x", "step--0000001", "step-00000008", "step-0000000009"])
@pytest.mark.parametrize("step", [9, -1])
def test_a_manifest_that_names_another_file_is_refused(tmp_path, name, step):
    with begin(tmp_path) as record:
        assert not Run(record).train(stops_at=9)
        record.finish("interrupted")
    (record.directory / "checkpoints" / NEWEST).rename(
        record.directory / "checkpoints" / f"{name}.safetensors"
    )
    with RunRecord.reopen(record.path) as record:
        *older, newest = record.manifest.outcome.checkpoints
        newest = replace(newest, file=f"checkpoints/{name}.safetensors", step=step)
        kept = replace(record.manifest.outcome, checkpoints=[*older, newest])
        record.update(outcome=kept)
        with pytest.raises(InputError) as caught:
            Run(record).journal.resume()
    assert caught.value.message == (
        f"`checkpoints/{name}.safetensors` is no checkpoint after {step} steps"
    )
    assert caught.value.where == str(record.path)


def test_the_newest_is_the_one_of_most_steps_whatever_the_order_in_the_manifest(tmp_path):
    with begin(tmp_path) as record:
        assert not Run(record).train(stops_at=9)
        record.finish("interrupted")
    with RunRecord.reopen(record.path) as record:
        outcome = record.manifest.outcome
        record.update(outcome=replace(outcome, checkpoints=outcome.checkpoints[::-1]))
        assert Run(record).journal.resume() == 9


def test_a_phase_has_begun_where_a_checkpoint_is_recorded_and_there(tmp_path):
    with begin(tmp_path) as record:
        stray = record.directory / "checkpoints" / "phase2" / "step-x.safetensors"
        stray.parent.mkdir(parents=True)
        stray.touch()
        assert not has_checkpoint(record, "phase2")
        Run(record, name="checkpoints/phase2").train(stops_at=3)
        assert has_checkpoint(record, "phase2")
        assert not has_checkpoint(record, "phase1")
        (stray.parent / "step-00000003.safetensors").unlink()
        assert not has_checkpoint(record, "phase2")


def test_other_tensors_are_not_taken_up_where_no_file_is_recorded(tmp_path):
    """The tensor digest of the outcome is compared, whatever the section `volatile` has."""
    with begin(tmp_path) as record:
        assert not Run(record).train(stops_at=9)
        record.finish("interrupted")
    folder = record.directory / "checkpoints"
    shutil.copy(folder / OLDER, folder / NEWEST)
    with RunRecord.reopen(record.path) as record:
        volatile = replace(record.manifest.volatile, checkpoint_files={})
        record.update(volatile=volatile)
        with pytest.raises(InputError) as caught:
            Run(record).journal.resume()
    assert "recorded: tensor digest " in caught.value.message


def test_an_evaluation_without_a_number_is_never_the_best(tmp_path):
    with begin(tmp_path) as record:
        run = Run(record, metrics=dict.fromkeys(METRICS, float("nan")))
        assert run.train()
        assert run.journal.best is None
        assert not run.journal.checkpoints.best_path.exists()


def test_a_later_phase_counts_on_from_the_one_before(tmp_path):
    with begin(tmp_path) as record:
        Run(record, name="phase1").train()
        later = Run(record, steps_before=10, name="phase2")
        later.train()
        found = outcome(later)
    lines = (record.directory / "trace.jsonl").read_text().splitlines()
    assert [json.loads(line)["global_step"] for line in lines] == list(range(20))
    assert [kept["step"] for kept in found["checkpoints"]] == [9, 10, 19, 20]
    assert found["best_checkpoint"]["step"] == 16


def test_a_phase_without_checkpoint_cannot_be_taken_up(tmp_path):
    with begin(tmp_path) as record, pytest.raises(InputError) as caught:
        Run(record).journal.restore()
    assert caught.value.message == "the last checkpoint of this phase is gone"
