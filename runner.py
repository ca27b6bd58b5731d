"""The command line: parse, dispatch, exit code. `python runner.py --help` lists the commands."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from tinybert.commands.arguments import parser
from tinybert.errors import TinybertError, UsageError, of_machine

OUR_BUG = 70
RUNNING = ("run", "rerun")
"""Commands whose errors have exit codes of their own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0].endswith(".toml"):
        given.insert(0, "run")
    options = parser(Path(__file__).resolve().parent).parse_args(given)
    try:
        text, code = dispatch(options)
        if text:
            print(text, end="" if text.endswith("\n") else "\n", flush=True)
        return code
    except TinybertError as error:
        return report_error(error, options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, OSError) and (known := of_machine(error)):
            return report_error(known, options)
        traceback.print_exc()
        print("error: this is a defect of the program; please report it", file=sys.stderr)
        return OUR_BUG


def report_error(error: TinybertError, options: argparse.Namespace) -> int:
    """Say what went wrong; returns the exit code."""
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code if options.command in RUNNING else UsageError.exit_code


def dispatch(options: argparse.Namespace) -> tuple[str, int]:
    """Import what the command needs, carry it out, return what to print and the exit code."""
    if options.command in (*RUNNING, "worker"):
        from tinybert.signals import hold_signals

        hold_signals()
    match options.command:
        case "run":
            from tinybert.commands.run import run
            from tinybert.run.options import RunOptions

            fields = {name: getattr(options, name) for name in RunOptions.__dataclass_fields__}
            return run(RunOptions(**fields)), 0
        case "rerun":
            from tinybert.commands.rerun import rerun

            return rerun(options.manifest)
        case "worker":
            from tinybert.launch.worker import WorkerOptions, worker

            fields = {name: getattr(options, name) for name in WorkerOptions.__dataclass_fields__}
            return "", worker(WorkerOptions(**fields))
        case "validate":
            from tinybert.recipe.validate import validate

            return validate(options.recipes, options.format, options.overrides)
        case "explain":
            from tinybert.recipe.explain import explain

            return explain(options.recipe, options.key, options.overrides, options.device)
        case "schema":
            from tinybert.recipe.schema import schema

            return schema(), 0
        case "prepare":
            from tinybert.commands.prepare import prepare

            return prepare(options), 0
        case "convert":
            from tinybert.commands.convert import convert

            return convert(options), 0
        case "export":
            from tinybert.commands.export import export

            return export(options), 0
        case "predict":
            from tinybert.commands.predict import predict

            return predict(options), 0
        case "doctor":
            from tinybert.commands.doctor import doctor

            return doctor()
        case _:
            return about_manifests(options)


def about_manifests(options: argparse.Namespace) -> tuple[str, int]:
    """Answer a question about finished runs."""
    from tinybert.compare.verify import verify
    from tinybert.report.text import diff, lineage, show

    match options.command:
        case "diff":
            return diff(
                options.a,
                options.b,
                require=options.require,
                across_topology=options.across_topology,
                format=options.format,
            )
        case "verify":
            return verify(options.manifest, options.rehash)
        case "show":
            return show(options.manifest)
        case "report":
            from tinybert.report.page import report

            return report(
                options.manifest, options.other, output=options.output, force=options.force
            )
        case _:
            return lineage(options.manifest)


if __name__ == "__main__":
    sys.exit(main())
