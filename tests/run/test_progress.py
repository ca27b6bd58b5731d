"""What is reported of the steps of a training."""

from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from tinybert.run import logs, progress
from tinybert.run.progress import StepProgress
from tinybert.train.loop import StepResult

STEP = StepResult(
    global_step=0,
    optimizer_step=0,
    loss=0.123456789,
    parts={},
    loss_scale=1.0,
    overflow=False,
    learning_rate=2.0833333110203966e-05,
    gradient_norm=1.0,
    batch_digest="",
    rows=8,
    stops=False,
)


@pytest.fixture
def reported(monkeypatch):
    """The events of all steps of two phases, which take two seconds each."""
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    with capture_logs() as events, StepProgress([("phase1", 3), ("phase2", 2)]) as shown:
        for step in range(5):
            shown.on_step(replace(STEP, global_step=step))
    return events


def test_steps_are_counted_from_1_in_their_phase(reported):
    assert [event["step"] for event in reported] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert [event["phase"] for event in reported] == ["phase1"] * 3 + ["phase2"] * 2


def test_what_is_not_known_yet_or_over_is_not_reported(reported):
    first, *others, last = reported
    assert {"samples_per_second", "seconds_left"} & first.keys() == set()
    assert [event["seconds_left"] for event in others] == [6, 4, 2]
    assert last["samples_per_second"] == 4.0
    assert "seconds_left" not in last


def test_a_single_training_needs_no_name():
    with capture_logs() as events, StepProgress([("finetune", 1)]) as shown:
        shown.on_step(STEP)
    assert "phase" not in events[0]


def test_people_see_five_digits_and_files_all(tmp_path, capsys):
    for form, shown in (("console", "0.12346"), ("json", "0.123456789")):
        copy = logs.configure(form)
        copy.open(tmp_path / form)
        progress.log.info("step", loss=STEP.loss)
        copy._file.close()
        assert shown in capsys.readouterr().err
        assert "0.123456789" in (tmp_path / form).read_text()
    structlog.reset_defaults()
