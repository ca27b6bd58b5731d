"""Operators that get the framework's tensors where they are."""

import ctypes
import hashlib
import platform

import mindspore as ms
import numpy as np
import pytest

from tinybert.kernels import loops
from tinybert.model import cpu_operators, library_functions, shared_library
from tinybert.model.layers import Cell

pytestmark = pytest.mark.skipif(
    platform.machine() != shared_library.MACHINE, reason="the library is made for x86-64 alone"
)


def test_every_function_jumps_to_the_address_at_its_place(tmp_path):
    count = 300
    path = tmp_path / "library.so"
    path.write_bytes(shared_library.shared_library(count))
    library = ctypes.CDLL(str(path))
    table = (ctypes.c_void_p * count).in_dll(library, "table")
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    called = [kind(lambda x, place=place: 1000 * x + place) for place in range(count)]
    for place, function in enumerate(called):
        table[place] = ctypes.cast(function, ctypes.c_void_p).value
    for place in range(count):
        assert library[shared_library.function_name(place)](7) == 7000 + place
    with pytest.raises(AttributeError):
        library[shared_library.function_name(count)]


class Applied(Cell):
    """An operator in a graph."""

    def __init__(self, operator):
        super().__init__()
        self.operator = operator

    @ms.jit
    def construct(self, x):
        return self.operator(x)


def test_an_operator_reads_and_writes_the_tensors_of_the_framework():
    seen = []

    def halves(x, first, second):
        seen.extend(array.flags.owndata for array in (x, first, second))
        first[:], second[:] = x[:2], x[2:]

    operator = cpu_operators.operator(
        halves, lambda x: (x, x), shape_of=lambda x: ((x[0] // 2, x[1]),) * 2
    )
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    first, second = Applied(operator)(ms.Tensor(x))
    assert (first.asnumpy() == x[:2]).all()
    assert (second.asnumpy() == x[2:]).all()
    assert seen == [False] * 3


def scaled(x, out, doubled):
    out[:] = x * np.float32(0.1)
    doubled[:] = x * np.float32(0.2)


@pytest.mark.parametrize("copied", [False, True])
def test_bits_are_the_same_where_arrays_are_copied(monkeypatch, copied):
    if copied:
        monkeypatch.setattr(cpu_operators, "library_function", lambda loop: None)
    operator = cpu_operators.operator(scaled, lambda x: (x, x))
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    found = [tensor.asnumpy().tobytes() for tensor in Applied(operator)(ms.Tensor(x))]
    assert found == [(x * np.float32(0.1)).tobytes(), (x * np.float32(0.2)).tobytes()]


def refuse(path):
    raise OSError(f"{path}: failed to map segment from shared object")


@pytest.mark.parametrize("missing", ["folder", "its folder", "processor", "execution", "name"])
def test_there_is_no_library_where_it_cannot_be(monkeypatch, tmp_path, missing):
    (tmp_path / "a:b").mkdir()
    folders = {"folder": None, "its folder": tmp_path / "none", "name": tmp_path / "a:b"}
    monkeypatch.setattr(loops, "FOLDER", folders.get(missing, tmp_path))
    if missing == "processor":
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    if missing == "execution":
        monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert library_functions._library.__wrapped__() is None


def test_a_damaged_library_is_written_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(loops, "FOLDER", tmp_path)
    content = shared_library.shared_library(library_functions.COUNT)
    path = tmp_path / f"calls-{hashlib.sha256(content).hexdigest()[:16]}.so"
    path.write_bytes(b"cut")
    assert library_functions._library.__wrapped__() is not None
    assert path.read_bytes() == content


def test_an_operator_that_fails_fails_the_graph(capfd):
    def fail(x, out):
        raise ValueError("no such thing")

    with pytest.raises(RuntimeError):
        Applied(cpu_operators.operator(fail, lambda x: x))(ms.Tensor([1.0])).asnumpy()
    assert "ValueError: no such thing" in capfd.readouterr().err


def test_a_full_library_has_no_more_functions(tmp_path, monkeypatch):
    monkeypatch.setattr(library_functions, "COUNT", 2)
    path = tmp_path / "library.so"
    path.write_bytes(shared_library.shared_library(2))
    library = library_functions._Library(str(path))
    found = [library.add(scaled) for _ in range(3)]
    assert found == [f"{path}:call0", f"{path}:call1", None]
