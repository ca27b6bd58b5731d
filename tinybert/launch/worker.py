"""What every process of a job runs: the hidden command `worker`, which msrun starts."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from tinybert.errors import InputError, StoppedError, TinybertError, of_machine
from tinybert.files import PROGRAM, FileDigest
from tinybert.launch.msrun import end_with_parent
from tinybert.manifest.identity import code_identity
from tinybert.manifest.model import Inputs
from tinybert.manifest.record import RunRecord
from tinybert.plan.plan import Plan, make_plan
from tinybert.recipe.load import load
from tinybert.run.execute import execute
from tinybert.run.heartbeat import HeartbeatSender, WorkerExit
from tinybert.run.logs import configure
from tinybert.run.resume import recipe_facts
from tinybert.signals import StopRequest

log = structlog.get_logger()

RANKS = "ranks"
"""Folder of a run with the logs and records of its processes."""
DIGESTS = "digests.json"
"""In that folder: what the launcher hashed, so that its processes do not."""
RecordDigests = dict[str, tuple[FileDigest, ...]]
"""Digests of the files of each set of records, by its role."""
RECORD_DIGESTS = TypeAdapter(RecordDigests)
OUR_BUG = 70


@dataclass(frozen=True)
class WorkerOptions:
    """What the launcher tells its processes."""

    recipe: str
    root: Path
    run_id: str
    manifest: Path
    """The run's, which the first process writes."""
    launcher: int
    """Port where the launcher hears beats."""
    recipe_digest: str
    code_digest: str
    overrides: Sequence[str] = ()
    device: str | None = None
    profile: int | None = None


def worker(options: WorkerOptions) -> int:
    """Take part in a job; returns the exit code."""
    end_with_parent()
    if os.getppid() == 1:
        _vanish()
    if os.environ.get("MS_ROLE") == "MS_SCHED":
        return _schedule()
    rank = int(os.environ["MS_NODE_ID"])
    with HeartbeatSender(options.launcher, rank, _vanish) as heart:
        try:
            with StopRequest(patient=True) as stop:  # a signal may have come before
                _take_part(options, rank, stop, heart)
            ended = WorkerExit(0)
        except Exception as error:
            ended = _ended(error)
        heart.end(ended)
    return ended.exit_code


def _ended(error: Exception) -> WorkerExit:
    """Say in the process's log what went wrong; returns it for the launcher."""
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


def _vanish() -> None:
    """End this process, whose launcher is gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def _schedule() -> int:
    """Be the scheduler of the processes, which the framework ends when they have ended."""
    os.environ.setdefault("GLOG_v", "3")
    import mindspore as ms

    from tinybert.train.world import connect

    ms.set_device("CPU")
    connect()
    return 0


def _take_part(
    options: WorkerOptions, rank: int, stop: StopRequest, heart: HeartbeatSender
) -> None:
    """Carry out this process's part, with a record of its own."""
    configure("json")  # which the launcher repeats
    resolved = load(options.recipe, options.overrides, options.device)
    plan, problems = make_plan(resolved, options.root)
    if problems:
        raise problems[0]
    code, _ = code_identity(PROGRAM)
    if (resolved.digest, code.digest) != (options.recipe_digest, options.code_digest):
        cure = "change nothing while a run starts, and start it again"
        raise InputError("recipe or program changed since the launcher read them", cure=cure)
    ranks = Path("runs", resolved.name, options.run_id, RANKS)
    plan = _with_digests(plan, options.root / ranks / DIGESTS)
    if rank == 0:
        record = RunRecord.attach(options.manifest)
    else:
        inputs = Inputs(
            stage=resolved.recipe.stage,
            recipe=recipe_facts(resolved),
            code=code,
            seeds={"seed": resolved.recipe.seed},
        )
        record = RunRecord.fragment(options.root, ranks / str(rank), options.run_id, inputs)
    with record:
        try:
            local_rank = rank % resolved.recipe.topology.devices_per_host
            execute(
                plan,
                record,
                stop,
                live=False,
                heart=heart,
                local_rank=local_rank,
                profile=options.profile,
            )
        except StoppedError:
            raise
        except BaseException as error:
            with suppress(OSError):  # the disk may be what failed
                record.fail(error, rank=rank)
            raise


def _with_digests(plan: Plan, path: Path) -> Plan:
    """Return the plan with the digests of record files that the launcher wrote."""
    digests = RECORD_DIGESTS.validate_json(path.read_bytes())
    records = {
        role: replace(records, files=digests[role]) for role, records in plan.records.items()
    }
    return replace(plan, records=records)
