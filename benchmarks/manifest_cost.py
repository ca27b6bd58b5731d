"""Share of a run's time that goes into its manifest, trace and digests.

    python benchmarks/manifest_cost.py RECIPE [options of run]

Runs the recipe in this process with a clock around every function of the manifest machinery that
the run calls on its own thread, the outermost only, and prints seconds and share.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SECONDS: Counter[str] = Counter()
CALLS: Counter[str] = Counter()
_inside = False


def timed(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the function with a clock around it."""

    def call(*arguments: Any, **options: Any) -> Any:
        global _inside
        if _inside:
            return function(*arguments, **options)
        _inside, began = True, time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            _inside = False
            SECONDS[name] += time.perf_counter() - began
            CALLS[name] += 1

    return call


def put_clocks() -> None:
    """Put a clock around what a run calls of the manifest package."""
    from tinybert.commands import run
    from tinybert.manifest.record import RunRecord
    from tinybert.manifest.trace import TraceWriter
    from tinybert.run import execute
    from tinybert.train import checkpoint, checkpoint_manager

    for name in ("plan", "keep_patch", "start", "update", "checkpoint", "rewind", "finish"):
        method = getattr(RunRecord, name)
        if name == "plan":
            method = timed(method.__func__, name)
            setattr(RunRecord, name, classmethod(method))
        else:
            setattr(RunRecord, name, timed(method, name))
    for name in ("append", "flush"):
        setattr(TraceWriter, name, timed(getattr(TraceWriter, name), f"trace.{name}"))
    for module, name in (
        (run, "code_identity"),
        (execute, "read_environment"),
        (run, "expectation_failures"),
        (checkpoint, "tensor_table"),
        (checkpoint_manager, "tensor_table"),
    ):
        setattr(module, name, timed(getattr(module, name), name))


def main() -> int:
    """Run and report."""
    import runner

    put_clocks()
    began = time.perf_counter()
    code = runner.main(["run", *sys.argv[1:], "--fresh"])
    total = time.perf_counter() - began
    for name, seconds in SECONDS.most_common():
        print(f"{name:<24}{CALLS[name]:>8} calls {seconds:>9.3f} s")
    spent = sum(SECONDS.values())
    print(f"{'manifest':<24}{'':>14} {spent:>9.3f} s of {total:.1f} s, {100 * spent / total:.3f} %")
    return code


if __name__ == "__main__":
    sys.exit(main())
