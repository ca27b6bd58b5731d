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


def test_a_checkpoint_brings_everything_back(tmp_path):
    saved = CheckpointFolder(tmp_path / "c", parameters(0.5), keep=2)
    best = Best(20, 0.1 + 0.2)
    saved.save(40, best)
    fresh = CheckpointFolder(tmp_path / "c", parameters(), keep=2)
    (path,) = fresh.files()
    assert fresh.step_of(path) == 40
    assert fresh.restore(path) == best
    for name, parameter in saved.parameters.items():
        assert fresh.parameters[name].asnumpy().tobytes() == parameter.asnumpy().tobytes()


def test_only_the_newest_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, parameters(), keep=2)
    for step in (20, 40, 100, 60):
        folder.save(step, None)
    assert [path.name for path in folder.files()] == [
        "step-00000060.safetensors",
        "step-00000100.safetensors",
    ]


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.99])
def test_a_cut_file_is_one_clear_error(tmp_path, share):
    folder = CheckpointFolder(tmp_path, parameters(), keep=2)
    folder.save(20, None)
    path = folder.path(20)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"^damaged checkpoint: "):
        folder.restore(path)


def test_names_and_shapes_must_be_those_of_the_run(tmp_path):
    CheckpointFolder(tmp_path, parameters(), keep=2).save(20, None)
    other = [Parameter(Tensor(np.zeros((3, 2), np.float32)), name="student.w"), *parameters()[1:]]
    folder = CheckpointFolder(tmp_path, other, keep=2)
    with pytest.raises(InputError) as caught:
        folder.restore(folder.path(20))
    assert caught.value.message == "checkpoint of another network: student.w"
    assert other[0].asnumpy().tolist() == np.zeros((3, 2)).tolist()
