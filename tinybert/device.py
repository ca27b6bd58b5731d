"""Choosing the device and making it deterministic, before anything else uses the framework."""

import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path

from tinybert.arithmetic import Arithmetic, pin
from tinybert.errors import DeviceError, bulleted
from tinybert.kernels.threads import THREADS

ASCEND_INSTALLATION = "ASCEND_HOME_PATH"
"""Environment variable that the installer's set_env.sh sets: where CANN is."""
ASCEND_SWITCHES = {
    # sums of several cards in one order
    "HCCL_DETERMINISTIC": "true",
    # an overflow gives an infinity or no number, by which the loss scale notices it
    "MS_ASCEND_CHECK_OVERFLOW_MODE": "INFNAN_MODE",
}
"""Environment variables of the framework on Ascend, set whatever they were."""
SIMULATION = "MS_SIMULATION_LEVEL"
"""Environment variable of the framework: with it a graph is compiled for a card by CANN alone, and
nothing is computed."""
FOREIGN = re.compile(r"(MS|RANK|OMP)_|DEVICE_ID$")
"""Environment variables by which other launchers of jobs, or a user, change what the framework
does: its role in a job, its rank, its threads."""
KNOWN = (SIMULATION, "OMP_NUM_THREADS")
"""Of these, those that are recorded, or set in any case."""
GIB = 1 << 30
FRAMEWORK_ADDRESSES = 2 * GIB
"""Addresses of interpreter, framework and its threads when a graph runs, as measured on a CPU:
`recipes/tiny.toml` takes 2.8 GiB of them, at 1 GiB of memory."""
SATURATING = "ascend910"
"""The framework's name of the first cards (Atlas training series), where an overflow gives the
largest number: CANN's documentation of `aclrtFloatOverflowMode` says that they have no other mode.
Later ones (Atlas A2 and A3) have both."""


def require_address_space(data_bytes: int) -> None:
    """Raise a DeviceError if a limit (`ulimit -v`) leaves this process too few addresses.

    It needs those of the framework, and `data_bytes` beside it. Without them the framework does not
    fail in one way: it crashes, or waits for ever.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = FRAMEWORK_ADDRESSES + data_bytes
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise DeviceError(
            f"this process may have {limit / GIB:.1f} GiB of addresses, and needs about "
            f"{needed / GIB:.1f} GiB",
            cure="raise the limit: `ulimit -v unlimited`",
        )


def remove_foreign_variables() -> list[str]:
    """Remove the environment variables that would change a run unseen; return their names."""
    names = [name for name in os.environ if FOREIGN.match(name) and name not in KNOWN]
    for name in names:
        del os.environ[name]
    return sorted(names)


def prepare_environment(
    threads: int, variables: Mapping[str, str], arithmetic: Arithmetic = "native"
) -> None:
    """Set `variables` and what else the framework reads when it is imported; call it before that.

    An operator of the framework uses `threads` threads, and so do our own loops.
    """
    os.environ.update(variables)
    pin(arithmetic, os.environ)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    THREADS.use(threads)
    os.environ.setdefault("GLOG_v", "3")  # errors; warnings of the framework help nobody here


def select(device: str, device_id: int, threads: int) -> dict[str, bool | str]:
    """Make `device` the framework's device, with deterministic operators.

    Returns:
        The determinism settings, for the manifest.

    Raises:
        DeviceError: There is no such device here.
    """
    if device == "Ascend":
        require_ascend(device_id)
        os.environ.update(ASCEND_SWITCHES)
    import mindspore as ms

    settings: dict[str, bool | str] = {"mode": "graph", "compile_cache": False}
    if device == "Ascend":
        ms.set_device("Ascend", device_id)
        ms.set_deterministic(True)
        settings |= {"set_deterministic": True, **ASCEND_SWITCHES}
        if SIMULATION in os.environ:
            settings[SIMULATION] = os.environ[SIMULATION]
    else:
        ms.set_device("CPU")
        ms.device_context.cpu.op_tuning.threads_num(threads)
    return settings


def require_infinities() -> None:
    """Raise a DeviceError if the Ascend card hides overflows, which the loss scale must see."""
    from mindspore._c_expression import MSContext

    if MSContext.get_instance().get_ascend_soc_version() == SATURATING:
        raise DeviceError(
            "this card gives the largest number where float16 overflows, and no infinity, so that "
            "the loss scale would not notice",
            cure="train in float32, or on a card of the Atlas A2 series or later",
        )


def require_ascend(device_id: int) -> None:
    """Raise a DeviceError that says what is missing, unless an Ascend device can be used."""
    missing = ascend_problems()
    if not missing and SIMULATION not in os.environ:
        from mindspore.device_context import ascend

        if not ascend.is_available():
            missing = ["MindSpore finds no Ascend device, though driver and CANN are here"]
        elif device_id >= (count := ascend.device_count()):
            missing = [f"device {device_id} is not one of the {count} Ascend devices"]
    if missing:
        raise DeviceError(
            "this recipe runs on Ascend, which is not available here:" + bulleted(missing),
            cure="install what is missing, or add `--device CPU` to run on the CPU",
        )


def ascend_problems() -> list[str]:
    """Return what is visibly missing for an Ascend device, without importing the framework."""
    problems = []
    simulated = SIMULATION in os.environ
    if not simulated and not any(Path("/dev").glob("davinci[0-9]*")):
        problems.append("no device file /dev/davinci*: no card, or its driver is not installed")
    home = os.environ.get(ASCEND_INSTALLATION)
    if home is None:
        problems.append(
            f"no CANN: {ASCEND_INSTALLATION} is not set (source set_env.sh of the installation)"
        )
    elif not Path(home).is_dir():
        problems.append(f"no CANN: {ASCEND_INSTALLATION} is {home}, which is not a directory")
    return problems
