"""The command line: parse, dispatch, exit code. `python runner.py --help` lists the commands."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

try:
    from tinybert.commands.argument_types import RunName
    from tinybert.commands.arguments import parser, require_utf8
    from tinybert.errors import OUR_BUG, TinybertError, UsageError, of_machine
    from tinybert.terminal import prepare_streams, print_text
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no package `{missing.name}`", file=sys.stderr)
    print("help: run `make setup` once, then `source .venv/bin/activate`", file=sys.stderr)
    sys.exit(2)

COMMANDS = {
    "new": "tinybert.commands.new",
    "run": "tinybert.commands.run",
    "rerun": "tinybert.commands.run",
    "study": "tinybert.commands.study",
    "audit": "tinybert.commands.audit",
    "validate": "tinybert.recipe.validate",
    "explain": "tinybert.recipe.explain",
    "schema": "tinybert.recipe.schema",
    "prepare": "tinybert.commands.prepare",
    "convert": "tinybert.commands.networks",
    "export": "tinybert.commands.networks",
    "predict": "tinybert.commands.predict",
    "diff": "tinybert.report.text",
    "runs": "tinybert.report.runs",
    "compare": "tinybert.report.side_by_side",
    "prune": "tinybert.commands.prune",
    "show": "tinybert.report.text",
    "lineage": "tinybert.report.text",
    "verify": "tinybert.compare.verify",
    "attest": "tinybert.commands.attest",
    "report": "tinybert.report.page",
    "trace": "tinybert.commands.run_exports",
    "mlflow": "tinybert.commands.run_exports",
    "doctor": "tinybert.commands.doctor",
    "completion": "tinybert.commands.completion",
}
"""The module of each command, imported when it is called; the function has the command's name."""
RUNNING = ("run", "rerun", "audit", "study")
"""Commands whose errors have exit codes of their own."""
WORKER = "worker"
"""The command by which the processes of a job start; not for users."""
WITH_FRAMEWORK = (*RUNNING, "convert", "export", "predict")
"""Commands that load the framework."""
AUGMENT = "augment"
"""The kind of `prepare` that may load it, too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    prepare_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0].endswith(".toml"):
        words.insert(0, "run")
    if words[:1] == [WORKER] and len(words) == 2:
        options = argparse.Namespace(command=WORKER, job_file=Path(words[1]))
    else:
        options = parser(Path(__file__).resolve().parent).parse_args(words or ["--help"])
    command: str = vars(options).pop("command")
    try:
        os.getcwd()  # which the framework needs, and relative paths
        require_utf8(words)
        text, code = dispatch(command, options)
        if text:
            print_text(text, sys.stdout)
        return code
    except TinybertError as error:
        return report_error(error, command)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, OSError | MemoryError) and (known := of_machine(error)):
            return report_error(known, command)
        print_text(traceback.format_exc(), sys.stderr)
        print_text("error: this is a defect of the program; please report it", sys.stderr)
        return OUR_BUG


def report_error(error: TinybertError, command: str) -> int:
    """Print an error; returns the command's exit code."""
    with suppress(OSError):  # standard error may be a file on a full disk
        print_text(f"error: {error}", sys.stderr)
    return error.exit_code if command in RUNNING else UsageError.exit_code


def dispatch(command: str, options: argparse.Namespace) -> tuple[str, int]:
    """Import a command's module and call its function, whose parameters are the options.

    The function returns what to print, an exit code, or both.

    Returns:
        What to print, and the exit code.
    """
    if command in (*RUNNING, WORKER):
        from tinybert.signals import hold_signals

        hold_signals()
    if command in WITH_FRAMEWORK or getattr(options, "what", None) == AUGMENT:
        from tinybert.device import remove_foreign_variables, require_address_space

        require_address_space(0)
        if names := remove_foreign_variables():
            print_text(f"warning: ignored in the environment: {', '.join(names)}", sys.stderr)
    module = "tinybert.launch.worker" if command == WORKER else COMMANDS[command]
    answer = getattr(import_module(module), command)(**with_manifests(options))
    if isinstance(answer, tuple):
        return answer
    return (answer, 0) if isinstance(answer, str) else ("", answer)


def with_manifests(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options with manifests in the place of the runs that are named."""
    values = vars(options)
    root: Path = values.pop("runs_root", None) or values.get("root", Path())

    def manifest(value: Any) -> Any:
        if isinstance(value, list):
            return [manifest(each) for each in value]
        if not isinstance(value, RunName):
            return value
        from tinybert.plan.run_names import find_record

        return find_record(value, root)

    return {name: manifest(value) for name, value in values.items()}


if __name__ == "__main__":
    exit_code = main()
    if exit_code and "mindspore" in sys.modules:
        os._exit(exit_code)  # the framework's own exit handlers abort where it is loaded in part
    sys.exit(exit_code)
