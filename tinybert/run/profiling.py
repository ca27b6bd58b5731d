"""Profiling a few steps of a training with the framework's profiler."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

PROFILE = "profile"
"""Folder of a run with what the profiler wrote, a folder a process; MindStudio Insight shows it,
and a browser's tracing page the timeline `trace_view.json`."""


@contextmanager
def profiled(calls: int | None, folder: Path, device: str) -> Iterator[Callable[[], None]]:
    """Profile calls of the device after the first, which compiles.

    Args:
        calls: How many; None profiles nothing.
        folder: Where the result goes.
        device: `Ascend` or `CPU`.

    Yields:
        What to call after every call of the device.
    """
    if calls is None:
        yield lambda: None
        return
    from mindspore.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

    activities = [ProfilerActivity.CPU]
    if device == "Ascend":
        activities.append(ProfilerActivity.NPU)
    profiler = profile(
        activities=activities,
        schedule=schedule(wait=0, warmup=0, active=calls, repeat=1, skip_first=1),
        on_trace_ready=tensorboard_trace_handler(str(folder)),
    )

    def step() -> None:
        with redirect_stdout(sys.stderr):  # it reports its progress on standard output
            profiler.step()

    profiler.start()
    try:
        yield step
    finally:
        with redirect_stdout(sys.stderr):
            profiler.stop()
