from dataclasses import replace

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from tinybert.errors import InputError
from tinybert.train.checkpoint import Best, CheckpointFolder


def parameters(offset=0.0):
    return [
        Parameter(Tensor(np.arange(6, dtype=np.float32).reshape(2, 3) + offset), name="student.w"),
        Parameter(Tensor(np.float32(1024)), name="loss_scale"),
        Parameter(Tensor(np.int32(7)), name="global_step"),
    ]


def folder_of(path, values):
    return CheckpointFolder(path, values[:1], values[1:], keep=2, every=20)


def test_a_checkpoint_brings_everything_back(tmp_path):
    saved = folder_of(tmp_path / "c", parameters(0.5))
    best = Best(20, 0.1 + 0.2)
    saved.save(40, best)
    fresh = folder_of(tmp_path / "c", parameters())
    path = fresh.path(40)
    assert fresh.step_of(path) == 40
    seen = []
    assert fresh.restore(path, seen.append) == best
    assert list(seen[0]) == sorted(parameter.name for parameter in saved.parameters)
    for restored, parameter in zip(fresh.parameters, saved.parameters, strict=True):
        assert restored.asnumpy().tobytes() == parameter.asnumpy().tobytes()


@pytest.mark.parametrize(
    ("saved", "own", "interim", "kept"),
    [
        ([], 20, False, [20]),
        ([20, 40], 60, False, [40, 60]),
        ([20, 40], 50, True, [20, 40, 50]),  # what a stop asks for does not count
        ([20, 40, 50], 60, False, [40, 60]),
        ([20, 40], 40, False, [20, 40]),
    ],
)
def test_the_newest_are_kept(tmp_path, saved, own, interim, kept):
    folder = folder_of(tmp_path, parameters())
    paths = [folder.path(step) for step in saved]
    expired = folder.expired(paths, folder.path(own), interim=interim)
    assert sorted({*saved, own} - {folder.step_of(path) for path in expired}) == kept


def test_other_tensors_are_not_restored(tmp_path):
    folder_of(tmp_path, parameters(0.5)).save(20, None)
    fresh = parameters()
    folder = folder_of(tmp_path, fresh)

    def refuse(arrays):
        raise InputError("other")

    with pytest.raises(InputError, match=r"^other$"):
        folder.restore(folder.path(20), refuse)
    assert fresh[0].asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_best_evaluation_brings_the_weights_back_alone(tmp_path):
    folder_of(tmp_path, parameters(0.5)).save_best()
    fresh = parameters()
    seen = []
    folder_of(tmp_path, fresh).restore_best(seen.append)
    assert [list(arrays) for arrays in seen] == [["student.w"]]
    assert fresh[0].asnumpy().tolist() == [[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]


def test_a_missing_file_is_named_with_its_cure(tmp_path):
    folder = replace(folder_of(tmp_path, parameters()), cure="copy it")
    for path, restore in (
        (folder.path(20), lambda: folder.restore(folder.path(20), lambda arrays: None)),
        (folder.best_path, lambda: folder.restore_best(lambda arrays: None)),
    ):
        with pytest.raises(InputError) as caught:
            restore()
        error = caught.value
        assert error.exit_code == 4
        assert str(error) == f"the checkpoint is missing\n  --> {path}\nhelp: copy it"


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.99])
def test_a_cut_file_is_one_clear_error(tmp_path, share):
    folder = folder_of(tmp_path, parameters())
    folder.save(20, None)
    path = folder.path(20)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"^damaged checkpoint: "):
        folder.restore(path, lambda arrays: None)


def test_names_and_shapes_must_be_those_of_the_run(tmp_path):
    folder_of(tmp_path, parameters()).save(20, None)
    other = [Parameter(Tensor(np.zeros((3, 2), np.float32)), name="student.w"), *parameters()[1:]]
    folder = folder_of(tmp_path, other)
    with pytest.raises(InputError) as caught:
        folder.restore(folder.path(20), lambda arrays: None)
    assert caught.value.message == "checkpoint of another network: student.w"
    assert other[0].asnumpy().tolist() == np.zeros((3, 2)).tolist()
