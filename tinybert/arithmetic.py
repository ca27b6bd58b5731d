"""Portable arithmetic: the same bits on every x86-64 processor that has AVX2 and FMA.

Three libraries choose their code by the processor. oneDNN, which multiplies matrices for the
framework, is pinned to AVX2. The C library has one form of exp, log, pow and the like for all
processors with AVX2 and FMA. What NumPy and its BLAS choose by the processor (exp, log, powers,
products of matrices) is not used where a result depends on it, as `tests/test_arithmetic.py`
checks. The framework's own kernels gave equal bits on every processor tried.
"""

import ctypes
import os
from collections.abc import MutableMapping
from importlib import util
from pathlib import Path
from typing import Literal

from tinybert.errors import DeviceError

Arithmetic = Literal["portable", "native"]

PINS = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
"""Environment variables of portable arithmetic; oneDNN reads them at its first operation."""
OVERRIDES = (
    "DNNL_CPU_ISA_HINTS",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
)
"""Other variables by which oneDNN computes otherwise; portable arithmetic drops them."""
NEEDED = ("avx2", "fma")
"""Instruction sets of portable arithmetic, as Linux names them."""
INSTRUCTION_SETS = {0x1: "SSE4.1", 0x3: "AVX", 0x7: "AVX2", 0xF: "AVX2_VNNI", 0x1F: "AVX2_VNNI_2"}
"""oneDNN's numbers of the instruction sets up to AVX2."""
PORTABLE = "AVX2"


def pin(arithmetic: Arithmetic, variables: MutableMapping[str, str]) -> None:
    """Change environment variables to what an arithmetic needs; before the framework's import."""
    if arithmetic == "portable":
        for name in OVERRIDES:
            variables.pop(name, None)
        variables.update(PINS)


def require_instruction_sets(flags: list[str]) -> None:
    """Raise a DeviceError that names what a processor with these `flags` lacks, if anything."""
    if missing := [name for name in NEEDED if name not in flags]:
        raise DeviceError(
            f"portable arithmetic needs AVX2 and FMA; this processor has no {missing[0].upper()}",
            cure='write `arithmetic = "native"` in [runtime], which gives other bits',
        )


def require_pinned(arithmetic: Arithmetic) -> str:
    """Return the instruction set that oneDNN uses, as it reports it.

    Raises:
        DeviceError: The arithmetic is portable, and it uses another one than AVX2.
    """
    number = _onednn().dnnl_get_effective_cpu_isa()
    used = INSTRUCTION_SETS.get(number, f"0x{number:x}")
    if arithmetic == "portable" and used != PORTABLE:
        raise DeviceError(
            f"portable arithmetic needs AVX2; oneDNN uses {used} on this processor",
            cure='write `arithmetic = "native"` in [runtime], which gives other bits',
        )
    return used


def _onednn() -> ctypes.CDLL:
    """Return the oneDNN that the framework has loaded, or will load."""
    spec = util.find_spec("mindspore")
    assert spec is not None and spec.submodule_search_locations
    (library,) = Path(spec.submodule_search_locations[0], "lib").glob("libdnnl.so.*")
    return ctypes.CDLL(os.fspath(library))
