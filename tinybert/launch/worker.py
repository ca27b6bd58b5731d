"""What every process of a job runs: the hidden command `worker`, which msrun starts."""

import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from tinybert.errors import (
    OUR_BUG,
    REFUSALS,
    InputError,
    StoppedError,
    TinybertError,
    of_machine,
)
from tinybert.files import PROGRAM, FileDigest
from tinybert.launch.msrun import end_with_parent
from tinybert.manifest.identity import code_identity
from tinybert.manifest.model import Code, Inputs
from tinybert.manifest.record import RunRecord
from tinybert.plan.plan import make_plan
from tinybert.recipe.load import ResolvedRecipe, load
from tinybert.run.execute import RunOptions, execute
from tinybert.run.heartbeat import MESSAGE, HeartbeatSender, WorkerExit
from tinybert.run.logs import configure
from tinybert.run.resume import recipe_facts
from tinybert.signals import StopRequest

RANKS = "ranks"
"""Folder of a run with the logs and records of its processes."""
RecordDigests = dict[str, tuple[FileDigest, ...]]
"""Digests of the files of each set of records, by its role."""


@dataclass(frozen=True, config=MESSAGE)
class WorkerJob:
    """What the launcher gives its processes."""

    options: RunOptions
    run_id: str
    manifest: Path | None
    """The run's, on the first host."""
    recipe_digest: str
    code_digest: str
    record_digests: RecordDigests
    port: int
    """Where the launcher receives heartbeats."""
    token: bytes
    """What heartbeats are signed with."""

    def write(self, path: Path) -> None:
        """Write a file that no other user can read."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(TypeAdapter(WorkerJob).dump_json(self))


def worker(job_file: Path) -> int:
    """Take part in a job; returns the exit code."""
    end_with_parent()
    if os.getppid() == 1:
        _kill_self()
    if os.environ.get("MS_ROLE") == "MS_SCHED":
        return _run_scheduler()
    rank = int(os.environ["MS_NODE_ID"])
    job = TypeAdapter(WorkerJob).validate_json(job_file.read_bytes())
    with HeartbeatSender(job.port, job.token, rank, _kill_self) as sender:
        try:
            with StopRequest(ignore_repeats=True) as stop:  # a signal may have come before
                _take_part(job, rank, stop, sender)
            ended = WorkerExit(0)
        except Exception as error:
            ended = _reported(error)
        sender.end(ended)
    return ended.exit_code


def _reported(error: Exception) -> WorkerExit:
    """Report an error in the process's log; returns it for the launcher."""
    known = of_machine(error) if isinstance(error, OSError) else None
    known = error if isinstance(error, TinybertError) else known
    with suppress(OSError):  # the log's disk may be what failed
        if known is None:
            traceback.print_exc()
        else:
            print(f"error: {known}", file=sys.stderr, flush=True)
    if known is None:
        return WorkerExit(OUR_BUG, type(error).__name__, str(error))
    return WorkerExit(
        known.exit_code, type(known).__name__, known.message, str(known.where), str(known.cure)
    )


def _kill_self() -> None:
    """End this process, whose launcher is gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def _run_scheduler() -> int:
    """Be the scheduler of the processes, which the framework ends when they have ended."""
    os.environ.setdefault("GLOG_v", "3")
    import mindspore as ms

    from tinybert.train.world import connect

    ms.set_device("CPU")
    connect()
    return 0


def _take_part(job: WorkerJob, rank: int, stop: StopRequest, sender: HeartbeatSender) -> None:
    """Carry out this process's part, with a record of its own."""
    configure("json")  # the launcher repeats these lines
    options = job.options
    resolved = load(options.recipe, options.overrides, options.device)
    plan, problems = make_plan(resolved, options.root)
    if problems:
        raise problems[0]
    code, _ = code_identity(PROGRAM)
    if (resolved.digest, code.digest) != (job.recipe_digest, job.code_digest):
        cure = "change nothing while a run starts, and start it again"
        raise InputError("recipe or program changed since the launcher read them", cure=cure)
    records = {role: replace(r, files=job.record_digests[role]) for role, r in plan.records.items()}
    plan = replace(plan, records=records)
    with _open_record(job, rank, resolved, code) as record:
        try:
            local_rank = rank % resolved.recipe.topology.devices_per_host
            execute(
                plan,
                record,
                stop,
                sender=sender,
                local_rank=local_rank,
                profile=options.profile,
                replay=options.replay,
            )
        except StoppedError:
            raise
        except BaseException as error:
            goes_on = len(record.manifest.volatile.segments) > 1
            if not (goes_on and isinstance(error, REFUSALS)):  # of these the launcher decides
                with suppress(OSError):  # the disk may be what failed
                    record.fail(error, rank=rank)
            raise


def _open_record(job: WorkerJob, rank: int, resolved: ResolvedRecipe, code: Code) -> RunRecord:
    """Return the record of the run for the first process, and one of its own for any other."""
    if job.manifest is not None and rank == 0:
        return RunRecord.attach(job.manifest)
    inputs = Inputs(
        stage=resolved.recipe.stage,
        recipe=recipe_facts(resolved),
        code=code,
        seeds={"seed": resolved.recipe.seed},
    )
    folder = Path("runs", resolved.name, job.run_id, RANKS, str(rank))
    return RunRecord.fragment(job.options.root, folder, job.run_id, inputs)
