"""What a run would refuse later, or fail at its end, is found by its plan."""

import shutil
from collections import namedtuple

import pytest

from tests.conftest import ROOT, SHIPPED
from tests.stand_ins import stand_in_run
from tinybert.errors import DeviceError
from tinybert.launch.preflight import require_space
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import load

PACKED = ("data.packing=blocks", "data.block_length=16")


def planned(*overrides, name="tiny_finetune", root=ROOT):
    return make_plan(load(SHIPPED[name], overrides), root)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("expect.steps=87",), "[expect] asks for 87 steps, and the run will have 88"),
        (PACKED, "a row of 32 tokens is longer than `block_length` 16"),
    ],
)
def test_a_plan_that_cannot_come_out_is_refused(overrides, message):
    _, problems = planned(*overrides)
    assert message in {problem.message for problem in problems}
    assert all(problem.cure for problem in problems)


def test_a_plan_that_can_come_out_is_not():
    _, problems = planned("expect.steps=88", PACKED[0], "data.block_length=32")
    assert problems == []


def test_a_disk_with_too_little_space_is_refused(monkeypatch, tmp_path):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for name in ("tiny_finetune", "tiny"):
        stand_in_run(tmp_path, SHIPPED[name], weights={})
    plan, problems = planned(
        "runtime.teacher_cache_gib=1.0", name="tiny_task_distill", root=tmp_path
    )
    assert problems == []
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40))
    require_space(plan)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 10))
    with pytest.raises(DeviceError, match="for checkpoints and the teacher's outputs, "):
        require_space(plan)
