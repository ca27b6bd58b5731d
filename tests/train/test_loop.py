"""What the loop reports of what it does."""

import mindspore as ms
import numpy as np

from tinybert.data.batch import Batch
from tinybert.train.feed import StepInputs
from tinybert.train.loop import train
from tinybert.train.step import StepOutputs


class CountingStep:
    """A step that computes nothing and counts."""

    steps_per_call = 1
    alone = True
    part_names = ()

    def __init__(self):
        self.step = self
        self.global_step = ms.Tensor(0)

    def call(self, steps, stop):
        self.global_step = self.global_step + len(steps)
        return [StepOutputs((1.0,), 1.0, True, 0.1, 0, 1.0, 0.0)]


def test_every_shape_of_a_batch_is_reported_as_compiling_once():
    blocks, activities = [4, 4, 5, 4, 5], []

    def feed(step):
        ids = np.zeros((blocks[step], 128), np.int32)
        return StepInputs((Batch(ids, ids, ids),), 32, "digest")

    train(
        CountingStep(),
        feed,
        first_step=0,
        total_steps=len(blocks),
        after_step=lambda result: None,
        stop_requested=lambda: False,
        report_activity=activities.append,
    )
    assert activities[1::2] == ["rows"] * len(blocks)
    assert activities[::2] == ["compiling", "step", "compiling", "step", "step"]
