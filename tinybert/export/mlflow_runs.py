"""A run in an MLflow store, by its public client: options, curves, results, digests, manifest."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from typing import Any

from tinybert.compare.causes import format_value
from tinybert.errors import InputError, UsageError
from tinybert.export.trace_table import TraceTable, clock, quantities_of, seconds_since_1970
from tinybert.manifest.document import LIVE, Run
from tinybert.recipe.load import leaves
from tinybert.report.facts import final_metrics

BATCH, PARAMETERS = 1000, 100
"""Metrics, and parameters, of a call at most."""
STORES = ("mlflow", "sqlalchemy", "requests")
"""Packages whose errors are about the store."""
RUN_ID = "tinybert.run_id"
STATUS = {"finished": "FINISHED", "failed": "FAILED"}


def log_run(run: Run, tracking_uri: str, experiment: str) -> str:
    """Write a run that has ended into an MLflow store; returns its id there.

    A run that cannot be written whole is deleted there again.

    Args:
        run: The run.
        tracking_uri: The store, as MLflow names it.
        experiment: Name of the experiment, which is created if it is not there.

    Raises:
        InputError: The store cannot be reached or written, or the trace is not the manifest's.
        UsageError: MLflow is not installed, the run has not ended, or the experiment has it.
    """
    if find_spec("mlflow") is None:
        cure = "install it: pip install mlflow-skinny sqlalchemy alembic"
        raise UsageError("mlflow is not installed", cure=cure)
    if run.status in LIVE:
        raise UsageError(f"the run is {run.status}", where=str(run.path), cure="wait for its end")
    table = TraceTable.read(run) if run.manifest.outcome.steps else None
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    with _store_errors(tracking_uri):
        return _write(run, table, tracking_uri, experiment)


def tags(run: Run) -> dict[str, str]:
    """Return what identifies a run: its digests, and those of what it read and left."""
    manifest = run.manifest
    inputs, outcome = manifest.inputs, manifest.outcome
    facts = {
        RUN_ID: manifest.volatile.run_id,
        "tinybert.manifest": run.path.name,
        "tinybert.stage": inputs.stage,
        "tinybert.status": run.status,
        "tinybert.recipe": inputs.recipe.path,
        "tinybert.recipe_digest": inputs.recipe.digest,
        "tinybert.code_digest": inputs.code.digest,
        "tinybert.inputs_digest": manifest.digests.inputs,
        "tinybert.outcome_digest": manifest.digests.outcome,
    }
    if outcome.trace_digest is not None:
        facts["tinybert.trace_digest"] = outcome.trace_digest
    if inputs.code.commit is not None:
        facts["mlflow.source.git.commit"] = inputs.code.commit
    facts |= {f"tinybert.parent.{p.role}": p.outcome_digest for p in inputs.parents}
    kept = outcome.every_checkpoint()
    return facts | {f"tinybert.tensors.{each.file}": each.tensor_digest for each in kept}


def _write(run: Run, table: TraceTable | None, tracking_uri: str, experiment: str) -> str:
    from mlflow import MlflowClient
    from mlflow.entities import Param

    client = MlflowClient(tracking_uri=tracking_uri)
    known = client.get_experiment_by_name(experiment)
    where = known.experiment_id if known else client.create_experiment(experiment)
    volatile = run.manifest.volatile
    run_id = volatile.run_id
    for other in client.search_runs([where], f"tags.`{RUN_ID}` = '{run_id}'"):
        raise UsageError(
            f"the experiment has this run already: {other.info.run_id}",
            where=f"{tracking_uri}, experiment {experiment}",
            cure="name another experiment, or delete it there",
        )
    start, end = map(_milliseconds, (volatile.created, volatile.ended or volatile.created))
    entry = client.create_run(where, start, tags=tags(run), run_name=run.path.stem)
    identity: str = entry.info.run_id
    try:
        values = leaves(run.manifest.inputs.recipe.values)
        parameters = iter([Param(".".join(path), format_value(v)) for path, v in values])
        while batch := list(islice(parameters, PARAMETERS)):
            client.log_batch(identity, params=batch)
        metrics = _metrics(run, table, end)
        while batch := list(islice(metrics, BATCH)):
            client.log_batch(identity, metrics=batch)
        client.log_artifact(identity, str(run.path))
        client.set_terminated(identity, STATUS.get(run.status, "KILLED"), end)
    except BaseException:
        client.delete_run(identity)
        raise
    return identity


def _metrics(run: Run, table: TraceTable | None, end: int) -> Iterator[Any]:
    """Yield the quantities of each step, which count from 1, and the final and best metrics."""
    from mlflow.entities import Metric

    outcome = run.manifest.outcome
    at = clock(run)
    for record in table.records() if table is not None else ():
        step = record.global_step + 1
        for name, value in quantities_of(record).items():
            yield Metric(name, value, int(1000 * at(step)), step)
    for name, value in final_metrics(run).items():
        best = name.startswith("best ")
        key = f"best/{name.removeprefix('best ')}" if best else f"final/{name}"
        yield Metric(key, value, end, (outcome.best_step or 0) if best else outcome.steps)


def _milliseconds(time: str | None) -> int:
    """Return a time of a manifest in milliseconds since 1970; 0 where it has none."""
    return int(1000 * (seconds_since_1970(time) or 0.0))


@contextmanager
def _store_errors(tracking_uri: str) -> Iterator[None]:
    """Turn errors of MLflow, and of what it talks to its stores by, into one with a place."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in STORES:
            raise
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"MLflow: {first}", where=tracking_uri) from error
