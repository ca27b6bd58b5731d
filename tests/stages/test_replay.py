"""What an audit measures at the end of a training: the best checkpoint and the last."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.train.test_checkpoint_manager import METRICS, Run, begin, outcome
from tinybert.audit.replay import Replay, ReplayJob
from tinybert.errors import InputError
from tinybert.stages.replay import TrainingReplay
from tinybert.train.checkpoint_manager import BestMetric
from tinybert.train.world import ALONE

BEST = 1.0
"""The best metric of a training, which others do not reach."""


@pytest.fixture(params=[6, 10], ids=["before the last step", "at the last step"])
def trained(tmp_path, request):
    """A training whose best evaluation is after a step."""
    with begin(tmp_path) as record:
        run = Run(record, metrics=METRICS | {request.param: BEST})
        run.train()
        assert outcome(run)["best_step"] == request.param
    return run


def measured(run):
    """Measure a training as an audit does; return what was found."""
    replay = Replay.open(ReplayJob(run.record.path, ()))
    context = SimpleNamespace(world=ALONE)
    folder = replace(run.journal.checkpoints, writes=False)
    by_weight = METRICS | {run.journal.best.global_step: BEST}

    def metrics():
        return {"accuracy": by_weight.get(int(run.weight.asnumpy()), 0.0), "mf1": 0.5}

    selection = BestMetric(metrics, "accuracy")
    phase = SimpleNamespace(total_steps=10)
    training = SimpleNamespace(phase=phase, selection=selection, steps_before=0)
    training_replay = TrainingReplay(replay, context, training, folder)
    assert training_replay.measure() == run.journal.last_metrics
    return [(finding.step, finding.fact) for finding in replay.findings]


def test_a_true_best_checkpoint_is_measured(trained):
    assert measured(trained) == []


def test_other_weights_in_the_best_checkpoint_are_found(trained):
    path = trained.journal.checkpoints.best_path
    save_file({n: np.asarray(a + 1, a.dtype) for n, a in load_file(path).items()}, path)
    step = trained.journal.best.global_step
    facts = ("weights_digest of the best", "best_metrics.accuracy")
    assert measured(trained) == [(step - 1, fact) for fact in facts]


def test_a_missing_best_checkpoint_is_an_error(trained):
    path = trained.journal.checkpoints.best_path
    path.unlink()
    with pytest.raises(InputError, match="the checkpoint is missing") as caught:
        measured(trained)
    assert caught.value.where == str(path)
