import mindspore as ms
import numpy as np
import pytest

from tests.model.networks import tiny
from tinybert.errors import InputError
from tinybert.model.bert import BertEncoder
from tinybert.model.loading import load_into
from tinybert.model.parameters import encoder_shapes, seeded


def values(**changes) -> dict:
    return seeded(encoder_shapes(tiny(**changes)), seed=1, std=0.02, prefix="student.")


def prefixed(arrays: dict) -> dict:
    return {f"student.{name}": array for name, array in arrays.items()}


@pytest.mark.parametrize("relative", [False, True])
def test_an_encoder_has_exactly_the_documented_parameters(relative):
    config = tiny(use_relative_positions=relative)
    names = [(p.name, p.shape) for p in BertEncoder(config, "student.").get_parameters()]
    assert names == list(prefixed(encoder_shapes(config)).items())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_parameter_takes_its_value_in_its_type(dtype):
    encoder = BertEncoder(tiny(dtype=dtype), "student.")
    load_into(encoder, prefixed(values()))
    for parameter in encoder.get_parameters():
        expected = values()[parameter.name.removeprefix("student.")].astype(dtype)
        assert parameter.asnumpy().dtype == expected.dtype
        assert parameter.asnumpy().tobytes() == expected.tobytes()


def test_nothing_is_set_unless_everything_fits():
    encoder = BertEncoder(tiny(), "student.")
    arrays = prefixed(values())
    del arrays["student.pooler.dense.bias"]
    arrays["student.pooler.dense.weight"] = np.ones((16, 15), np.float32)
    arrays["teacher.pooler.dense.bias"] = np.ones(16, np.float32)
    with pytest.raises(InputError) as caught:
        load_into(encoder, arrays, where="a.safetensors")
    assert str(caught.value) == (
        "the weights do not fit the network:\n"
        "  shape: student.pooler.dense.weight is (16, 15), not (16, 16)\n"
        "  missing: student.pooler.dense.bias (16,)\n"
        "  unknown: teacher.pooler.dense.bias (16,)\n"
        "  --> a.safetensors\n"
        "help: make the sizes in the recipe those of the checkpoint, or name another one"
    )
    assert not any(parameter.asnumpy().any() for parameter in encoder.get_parameters())


def test_two_networks_have_no_name_in_common():
    teacher, student = (BertEncoder(tiny(), prefix) for prefix in ("teacher.", "student."))
    both = ms.nn.CellList([teacher, student], auto_prefix=False)
    names = [parameter.name for parameter in both.get_parameters()]
    assert len(names) == len(set(names)) == 2 * len(encoder_shapes(tiny()))
