"""The commands `trace` and `mlflow`: curves and facts of a run in other programs."""

from pathlib import Path
from typing import Literal

from tinybert.errors import UsageError
from tinybert.files import relative_to_cwd
from tinybert.manifest.document import Run


def trace(
    manifest: Path, *, format: Literal["csv", "tensorboard"], output: Path, force: bool
) -> str:
    """Write a run's trace as a CSV file, or as TensorBoard events into a directory.

    Returns:
        What was written.

    Raises:
        InputError: There is no such trace, or the file cannot be written.
        ManifestError: The manifest or the trace is missing or damaged.
        UsageError: The file is there already.
    """
    from tinybert.export.tensorboard_events import events_file, write_events
    from tinybert.export.trace_table import TraceTable

    run = Run.load(manifest)
    path = output if format == "csv" else events_file(run, output)
    if path.exists() and not force:
        cure = "name another, or replace it with --force"
        raise UsageError("the file exists", where=str(path), cure=cure)
    table = TraceTable.read(run)
    steps = table.write_csv(path) if format == "csv" else write_events(table, path)
    return f"{relative_to_cwd(path)}: {steps} steps, {len(table.quantities)} quantities\n"


def mlflow(manifest: Path, *, tracking_uri: str, experiment: str) -> str:
    """Write a run into an MLflow store; returns its id there. Raises as `log_run`."""
    from tinybert.export.mlflow_runs import log_run

    run = Run.load(manifest)
    name = experiment or run.manifest.inputs.recipe.name
    identity = log_run(run, tracking_uri, name)
    return f"{identity}: {run.path.stem}, in experiment {name} of {tracking_uri}\n"
