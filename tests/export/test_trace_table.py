"""A run's trace in the formats of others, read back by their own readers."""

import csv
import sys
from pathlib import Path

import pytest

import runner
from tinybert.data.tfrecord import read_records
from tinybert.errors import InputError
from tinybert.export.mlflow_runs import log_run
from tinybert.export.tensorboard_events import VERSION
from tinybert.export.trace_table import TraceTable, clock, quantities_of
from tinybert.manifest.document import Run
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import read_trace

STEPS = 12
START = 1772366400  # 2026-03-01, 12:00 UTC


@pytest.fixture
def run(pretend):
    return Run.load(pretend("root").run())


@pytest.fixture
def call(capsys):
    def call(*arguments):
        code = runner.main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out + err

    return call


def table_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_file_has_every_digit_of_the_trace(run, call, tmp_path):
    path = tmp_path / "new" / "trace.csv"
    assert call("trace", run.path, "--output", path)[0] == 0
    rows, records = table_of(path), list(read_trace(run.folder / TRACE))
    assert len(rows) == len(records) == STEPS
    for row, record in zip(rows, records, strict=True):
        assert int(row["global_step"]) == record.global_step
        assert {name: float(row[name]) for name in quantities_of(record)} == quantities_of(record)
        assert row["batch_digest"] == record.batch_digest
    assert rows[0]["state_digest"] == ""
    assert rows[5]["state_digest"] == records[5].checkpoint.state_digest
    assert list(rows[0])[:4] == ["global_step", "optimizer_step", "loss", "parts/hidden_loss"]


def test_a_file_that_is_there_is_replaced_only_on_request(run, call, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("mine")
    code, text = call("trace", run.path, "--output", path)
    assert (code, path.read_text()) == (2, "mine")
    assert text.startswith(f"error: the file exists\n  --> {path}\n")
    assert call("trace", run.path, "--output", path, "--force")[0] == 0
    assert len(table_of(path)) == STEPS


def test_another_trace_than_that_of_the_manifest_is_refused(run, call, tmp_path):
    trace = run.folder / TRACE
    lines = trace.read_bytes().splitlines(keepends=True)
    trace.write_bytes(b"".join(lines[:-1]))
    code, text = call("trace", run.path, "--output", tmp_path / "trace.csv")
    assert code == 2
    assert text == f"error: the trace is not the one of this manifest\n  --> {trace}\n"
    assert not (tmp_path / "trace.csv").exists()
    trace.write_bytes(lines[0].replace(b"0x1", b"0x2", 1))
    assert "error: trace was changed" in call("trace", run.path, "--output", tmp_path / "x")[1]


def test_steps_have_the_time_that_the_pace_says(run):
    assert [clock(run)(step) for step in (0, 12)] == [START, START]
    (run.folder / "pace.jsonl").write_text(
        '{"step":2,"seconds":0.0,"samples":0,"resident_bytes":1}\n'
        '{"step":6,"seconds":8.0,"samples":16,"resident_bytes":1}\n'
        '{"step":10,"seconds":10.0,"samples":16,"resident_bytes":1}\n'
    )
    assert [clock(run)(step) - START for step in (0, 6, 8, 10, 12)] == [0, 8, 9, 10, 10]


def events_of(run, call, directory):
    code, text = call("trace", run.path, "--format", "tensorboard", "--output", directory)
    assert code == 0, text
    (path,) = directory.iterdir()
    assert path.name == f"events.out.tfevents.{START}.{run.path.stem}"
    return path


def test_events_are_records_of_which_the_first_is_the_version(run, call, tmp_path):
    payloads = [payload for _, payload in read_records(events_of(run, call, tmp_path / "logs"))]
    assert len(payloads) == 1 + STEPS
    assert payloads[0].endswith(VERSION.encode())
    assert b"parts/hidden_loss" in payloads[1]


@pytest.mark.filterwarnings("ignore")
def test_events_are_read_by_tensorboard(run, call, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(events_of(run, call, tmp_path / "logs").parent)).Reload()
    table = TraceTable.read(run)
    assert sorted(events.Tags()["scalars"]) == sorted(table.quantities)
    for name in table.quantities:
        read = [(event.step, event.value, event.wall_time) for event in events.Scalars(name)]
        assert read == [
            (record.global_step + 1, pytest.approx(quantities_of(record)[name], rel=1e-7), START)
            for record in table.records()
        ]


def test_without_mlflow_it_is_said_how_to_get_it(run, call, monkeypatch):
    monkeypatch.setattr("tinybert.export.mlflow_runs.find_spec", lambda name: None)
    assert call("mlflow", run.path, "--tracking-uri", "sqlite:///x.db") == (
        2,
        "error: mlflow is not installed\n"
        "help: install it: pip install mlflow-skinny sqlalchemy alembic\n",
    )


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_read_back_from_mlflow(run, call, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("alembic", reason="sqlalchemy and alembic are not installed")
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts of a store in a file
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    code, text = call("mlflow", run.path, "--tracking-uri", store, "--experiment", "films")
    assert code == 0, text
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    (found,) = client.search_runs([client.get_experiment_by_name("films").experiment_id])
    assert found.info.run_id in text
    assert (found.info.run_name, found.info.status) == (run.path.stem, "FINISHED")
    manifest, records = run.manifest, list(read_trace(run.folder / TRACE))
    assert found.info.start_time == 1000 * START
    assert found.data.params["seed"] == "1"
    assert found.data.params["optimizer.schedule.warmup_steps"] == str(STEPS)
    for name, expected in {
        "tinybert.outcome_digest": manifest.digests.outcome,
        "tinybert.trace_digest": manifest.outcome.trace_digest,
        "tinybert.recipe_digest": manifest.inputs.recipe.digest,
        "mlflow.source.git.commit": manifest.inputs.code.commit,
    }.items():
        assert found.data.tags[name] == expected
    losses = client.get_metric_history(found.info.run_id, "parts/hidden_loss")
    assert [(each.step, each.value) for each in losses] == [
        (record.global_step + 1, record.parts["hidden_loss"]) for record in records
    ]
    final = float(manifest.outcome.metrics["mean_loss"])
    assert found.data.metrics["final/mean_loss"] == final
    kept = client.download_artifacts(found.info.run_id, run.path.name, str(tmp_path))
    assert Path(kept).read_bytes() == run.path.read_bytes()
    code, text = call("mlflow", run.path, "--tracking-uri", store, "--experiment", "films")
    assert code == 2
    assert f"error: the experiment has this run already: {found.info.run_id}\n" in text


def test_what_mlflow_did_not_take_whole_is_taken_away(run, tmp_path, monkeypatch):
    class Client:
        deleted = ()

        def __init__(self, tracking_uri):
            assert tracking_uri == "http://store"

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return name

        def search_runs(self, *arguments):
            return []

        def create_run(self, *arguments, **more):
            return type("Entry", (), {"info": type("Info", (), {"run_id": "r1"})})

        def log_batch(self, *arguments, **more):
            raise Client.raised

        def delete_run(self, identity):
            Client.deleted = (identity,)

    class Module:
        MlflowClient = Client
        Param = Metric = staticmethod(lambda *arguments: arguments)

    for name in ("mlflow", "mlflow.entities"):
        monkeypatch.setitem(sys.modules, name, Module)
    monkeypatch.setattr("tinybert.export.mlflow_runs.find_spec", lambda name: Module)
    error = type("MlflowException", (Exception,), {"__module__": "mlflow.exceptions"})
    for Client.raised, expected in (
        (KeyboardInterrupt(), KeyboardInterrupt),
        (error("it is full\nsee there"), InputError),
    ):
        Client.deleted = ()
        with pytest.raises(expected) as caught:
            log_run(run, "http://store", "films")
        assert Client.deleted == ("r1",)
    assert str(caught.value) == "MLflow: it is full\n  --> http://store"
