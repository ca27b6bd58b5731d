"""Python functions as functions of a shared library, which get tensors where they are.

The framework gives the tensors of an operator to a function of a shared library as they are. To a
Python function it gives copies, keeps these as long as the graph, and copies what it returns.
"""

import ctypes
import hashlib
import platform
import traceback
from collections.abc import Callable
from functools import cache
from math import prod

import numpy as np
import numpy.typing as npt

from tinybert.atomic import atomic_replace
from tinybert.kernels import loops
from tinybert.model import shared_library

COUNT = 1024
"""Functions of the library, most operators of a process."""

InPlace = Callable[..., None]
"""Reads arrays of inputs, and writes into those of outputs, which come after them.

They lie in the framework's memory, and must not be kept when it returns.
"""

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,  # number of tensors
    ctypes.POINTER(ctypes.c_void_p),  # where they are
    ctypes.POINTER(ctypes.c_int),  # their numbers of dimensions
    ctypes.POINTER(ctypes.POINTER(ctypes.c_int64)),  # their shapes
    ctypes.POINTER(ctypes.c_char_p),  # their types, as "float32"
    ctypes.c_void_p,
    ctypes.c_void_p,
)
"""What the framework calls for an operator on a CPU."""


def library_function(function: InPlace) -> str | None:
    """Return `file:name` of the library's function that calls a Python function.

    None: there is no more room, or no library, since the processor is another one, nothing can be
    written, the path has a colon, or what was written must not be executed.
    """
    library = _library()
    return library.add(function) if library is not None else None


@cache
def _library() -> "_Library | None":
    folder = loops.FOLDER
    if platform.machine() != shared_library.MACHINE or folder is None or ":" in str(folder):
        return None
    content = shared_library.shared_library(COUNT)
    path = folder / f"calls-{hashlib.sha256(content).hexdigest()[:16]}.so"
    try:
        if not path.exists() or path.read_bytes() != content:
            with atomic_replace(path) as temporary:
                temporary.write_bytes(content)
        return _Library(str(path))
    except OSError:
        return None


class _Library:
    """The library, loaded.

    Args:
        path: Its file.

    Raises:
        OSError: It cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._table = (ctypes.c_void_p * COUNT).in_dll(ctypes.CDLL(path), "table")
        self._callbacks: list[object] = []  # as long as the process: a graph may call them

    def add(self, function: InPlace) -> str | None:
        """Return `file:name` of the next function, which calls a Python function from now on.

        None: there is no more room. Networks are built, and functions added, by one thread.
        """
        place = len(self._callbacks)
        if place == COUNT:
            return None
        callback = _Callback(_with_arrays(function))
        self._callbacks.append(callback)
        self._table[place] = ctypes.cast(callback, ctypes.c_void_p).value
        return f"{self._path}:{shared_library.function_name(place)}"


def _with_arrays(function: InPlace) -> Callable[..., int]:
    """Return what is called with addresses, and calls a function with arrays in their place."""

    def call(
        count: int,
        addresses: list[int | None],
        dimensions: list[int],
        shapes: list[list[int]],
        types: list[bytes],
        *others: object,
    ) -> int:
        try:
            function(
                *(
                    _array(addresses[i], tuple(shapes[i][: dimensions[i]]), types[i])
                    for i in range(count)
                )
            )
        except BaseException:  # there is nobody above who would see it
            traceback.print_exc()
            return 1
        return 0

    return call


def _array(
    address: int | None, shape: tuple[int, ...], type_name: bytes
) -> npt.NDArray[np.generic]:
    """Return the array at an address, in its memory; an array without elements has no address."""
    dtype = _dtype(type_name)
    if address is None:
        return np.empty(shape, dtype)
    memory = (ctypes.c_char * (prod(shape) * dtype.itemsize)).from_address(address)
    return np.ndarray(shape, dtype, memory)  # type: ignore[arg-type]


@cache
def _dtype(type_name: bytes) -> np.dtype[np.generic]:
    return np.dtype(type_name.decode())
