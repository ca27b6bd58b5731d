"""The command `doctor`: what this machine can run, what is missing, and how to get it."""

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tinybert.device import ascend_problems
from tinybert.files import PROGRAM
from tinybert.manifest.identity import code_identity, why_unknown

PACKAGES = ("mindspore", "numpy", "tokenizers", "safetensors", "pydantic", "structlog", "tomli")


def doctor() -> tuple[str, int]:
    """Return a line for each finding, and 0 if a recipe can run on this machine's CPU."""
    needed = [_python(), *map(_package, PACKAGES), _framework(), _disk()]
    problems = ascend_problems()
    ascend = [(False, f"Ascend: {problem}") for problem in problems]
    findings = [*needed, _code(), *(ascend or [(True, "Ascend: device files and CANN are here")])]
    lines = [f"{'ok' if fine else '--':<4}{text}" for fine, text in findings]
    runs = all(fine for fine, _ in needed)
    lines += ["", "recipes run on the CPU here" if runs else "recipes do not run here"]
    if problems:
        lines.append("recipes for Ascend do not: install driver and CANN, or add `--device CPU`")
    return "\n".join(lines), 0 if runs else 2


def _python() -> tuple[bool, str]:
    current = ".".join(map(str, sys.version_info[:3]))
    fine = (3, 10) <= sys.version_info[:2] <= (3, 12)
    return fine, f"Python {current}" + ("" if fine else ": 3.10 to 3.12 is needed")


def _package(name: str) -> tuple[bool, str]:
    try:
        return True, f"{name} {version(name)}"
    except PackageNotFoundError:
        return False, f"{name} is missing: `make setup` installs it"


def _framework() -> tuple[bool, str]:
    """Compute something with the framework: a wrong NumPy shows only then."""
    os.environ.setdefault("GLOG_v", "3")
    try:
        import mindspore as ms
        import numpy as np

        ms.set_device("CPU")
        total = (ms.Tensor(np.ones(3, np.float32)) + 1).asnumpy().sum()
    except Exception as error:  # whatever a broken installation raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return False, f"MindSpore does not compute: {reason}; `make setup` installs what it needs"
    return float(total) == 6.0, f"MindSpore computes on the CPU, {os.cpu_count()} processors"


def _code() -> tuple[bool, str]:
    """Return whether a manifest can say which commit ran."""
    code, _ = code_identity(PROGRAM)
    if code.dirty is None:
        return False, f"code: no commit is known: {why_unknown(PROGRAM)}"
    return True, f"code: commit {code.commit}{' with uncommitted changes' if code.dirty else ''}"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return free > 1 << 30, f"{free / (1 << 30):.0f} GiB free on this disk"
