"""Rules about data, task, length, machine and expectations."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import chain

from tinybert.recipe.diagnose import ValidValues
from tinybert.recipe.distill_rules import layer_losses
from tinybert.recipe.keys import BATCH_SIZES, LENGTHS, WARMUPS, as_toml, dotted, listed
from tinybert.recipe.problems import Problem
from tinybert.recipe.task_types import TASK_KINDS

SOFT_LOSSES = ("loss", "soft_loss", "hard_loss")
"""The loss of phase 2, and its parts."""
PATHS = (
    ("data", "data_dir"),
    ("data", "train_data_dir"),
    ("data", "eval_data_dir"),
    ("data", "schema_dir"),
    ("data", "eval_schema_dir"),
    ("teacher", "load_teacher_ckpt_path"),
    ("student", "load_student_ckpt_path"),
    ("expect", "reference"),
)


def measured_names(written: ValidValues, stage: str) -> list[str]:
    """Return the names of all metrics that a run can have; none where the task is not known."""
    trainings: dict[str, Sequence[str]] = {"": ("loss",)} if stage == "finetune" else {}
    if stage == "general_distill":
        trainings = {"": layer_losses(written, ())}
    if stage == "task_distill":
        phases = {"phase1": layer_losses(written, ("phase1",)), "phase2": SOFT_LOSSES}
        trainings = {f"{name}_": losses for name, losses in phases.items() if written.has(name)}
    names = [
        f"{prefix}{kind}{name}"
        for prefix, losses in trainings.items()
        for kind in ("", "mean_")
        for name in losses
    ]
    if stage == "general_distill":
        held_out = trainings[""] if written.has("data", "eval_data_dir") else ()
        return [*names, *(f"eval_{name}" for name in held_out)]
    if stage == "task_distill" and not written.has("phase2"):
        return names
    kind, labels = written.get("task", "task_type"), written.get("task", "num_labels")
    if kind not in TASK_KINDS:
        return []
    measured = [name for name in TASK_KINDS[kind].measured if name != "bf1" or labels in (None, 2)]
    return [*measured, *names]


def run_problems(written: ValidValues, stage: str) -> Iterator[Problem]:
    """Yield every contradiction in and between the tables that describe no network."""
    yield from chain(_paths(written), _links(written), _schema(written), _task(written))
    yield from chain(_machine(written), _expectations(written, stage), _packing(written, stage))
    yield from chain(_teacher_cache(written, stage), _micro_batches(written))
    yield from _answers(written, stage)
    yield from _phases(written) if stage == "task_distill" else _batches(written, ("data",))
    if stage == "evaluate":
        yield from _nothing_trained(written)
    else:
        for table in written.trainings():
            yield from _length_and_schedule(written, table)


def _paths(written: ValidValues) -> Iterator[Problem]:
    for path in PATHS:
        value = written.get(*path)
        if isinstance(value, str) and (value.startswith("~") or "$" in value):
            message = f"`{path[-1]}` has a `~` or `$`, which is not expanded"
            cure = "write a path that is absolute, or relative to the directory of runner.py"
            yield written.at_value(path, message, cure)


def _links(written: ValidValues) -> Iterator[Problem]:
    for network in ("teacher", "student"):
        path = (network, f"load_{network}_ckpt_path")
        value = written.get(*path)
        if isinstance(value, str) and value.endswith((".json", ".toml")):
            kind = "manifest" if value.endswith(".json") else "recipe"
            cure = f"write {{ {kind} = {as_toml(value)} }}"
            yield written.at_value(path, f"a {kind} is no checkpoint", cure)
        for kind, ending in (("manifest", ".json"), ("recipe", ".toml")):
            linked = written.get(*path, kind)
            if isinstance(linked, str) and not linked.endswith(ending):
                message = f"a {kind} is a {ending} file, got {as_toml(linked)}"
                yield written.at_value((*path, kind), message)


def _schema(written: ValidValues) -> Iterator[Problem]:
    kind = written.get("data", "dataset_type")
    if kind == "tfrecord" and not written.has("data", "schema_dir"):
        message = 'missing key `schema_dir` in [data], which `dataset_type = "tfrecord"` needs'
        cure = "name the JSON file that lists the columns of the records"
        yield written.at_key(("data",), message, cure)
    for key in ("schema_dir", "eval_schema_dir"):
        if kind == "mindrecord" and written.has("data", key):
            message = f'`{key}` does not go with `dataset_type = "mindrecord"`'
            cure = "leave it out: MindRecord files carry their schema"
            yield written.at_key(("data", key), message, cure)


def _batches(written: ValidValues, table: tuple[str, ...]) -> Iterator[Problem]:
    yield from written.exactly_one(table, BATCH_SIZES)
    rows = written.get(*table, "global_batch_size")
    hosts = written.get("topology", "hosts")
    devices = written.get("topology", "devices_per_host")
    if rows and hosts and devices and rows % (hosts * devices):
        message = f"`global_batch_size` {rows} does not divide into {hosts * devices} devices"
        cure = "write a multiple of `hosts` * `devices_per_host`"
        yield written.at_value((*table, "global_batch_size"), message, cure)
    parts = written.get("data", "micro_batches")
    if parts and written.has(*table, "batch_size"):
        message = "`batch_size` depends on the number of devices, and `micro_batches` must not"
        cure = "write `global_batch_size`, the rows of all micro-batches of a step"
        yield written.at_key((*table, "batch_size"), message, cure)
    if parts and rows and rows % parts:
        message = f"`global_batch_size` {rows} does not divide into {parts} micro-batches"
        cure = "write a multiple of `micro_batches` in [data]"
        yield written.at_value((*table, "global_batch_size"), message, cure)


def _micro_batches(written: ValidValues) -> Iterator[Problem]:
    path = ("data", "micro_batches")
    parts = written.get(*path)
    hosts = written.get("topology", "hosts")
    devices = written.get("topology", "devices_per_host")
    if parts and parts & (parts - 1):
        cure = f"write {1 << parts.bit_length() - 1} or {1 << parts.bit_length()}"
        yield written.at_value(path, f"`micro_batches` {parts} is no power of two", cure)
    elif parts and hosts and devices and parts % (hosts * devices):
        message = f"`micro_batches` {parts} does not divide into {hosts * devices} processes"
        cure = "`hosts` * `devices_per_host` must be a power of two that is no larger"
        yield written.at_value(path, message, cure)


def _packing(written: ValidValues, stage: str) -> Iterator[Problem]:
    packing = written.get("data", "packing")
    if packing == "blocks" and not written.has("data", "block_length"):
        message = 'missing key `block_length` in [data], which `packing = "blocks"` needs'
        yield written.at_key(("data",), message, "write 128, or what the longest row needs")
    if packing != "blocks" and written.has("data", "block_length"):
        message = '`block_length` is of `packing = "blocks"`'
        yield written.at_key(("data", "block_length"), message, "write it, or leave this out")
    layers = {"general_distill": ("distill",), "task_distill": ("phase1", "distill")}.get(stage)
    alone = stage == "general_distill" or not written.has("phase2")
    if packing == "blocks" and layers and alone and written.get(*layers, "padding") == "include":
        message = '`packing = "blocks"` leaves padding out, `padding = "include"` averages over it'
        cure = 'write `packing = "none"`, or `padding = "ignore"`'
        yield written.at_value(("data", "packing"), message, cure)


def _teacher_cache(written: ValidValues, stage: str) -> Iterator[Problem]:
    if written.has("runtime", "teacher_cache_gib") and stage != "task_distill":
        message = "`teacher_cache_gib` keeps what the teacher of a task distillation computes"
        cure = "leave it out: it is an option of task_distill recipes"
        yield written.at_key(("runtime", "teacher_cache_gib"), message, cure)


def _task(written: ValidValues) -> Iterator[Problem]:
    kind = written.get("task", "task_type")
    labels = written.get("task", "num_labels")
    metric = written.get("task", "assessment_method")
    if kind is None:
        return
    facts = TASK_KINDS[kind]
    if labels and facts.least_labels == facts.most_labels != labels:
        outputs = {
            "regression": "a regression has one output",
            "question_answering": "question answering has two outputs, start and end",
        }
        message = f"{outputs[kind]}, got `num_labels = {labels}`"
        yield written.at_value(("task", "num_labels"), message, f"write {facts.most_labels}")
    elif labels and labels < facts.least_labels:
        message = f'`task_type = "{kind}"` needs at least {facts.least_labels} labels'
        yield written.at_value(("task", "num_labels"), message)
    if metric and metric not in facts.selecting:
        message = f'"{metric}" does not measure `task_type = "{kind}"`'
        cure = "use " + listed([f'"{name}"' for name in facts.selecting])
        yield written.at_value(("task", "assessment_method"), message, cure)
    elif metric == "bf1" and labels and labels > 2:
        message = f'"bf1" is for 2 labels, here are {labels}'
        yield written.at_value(("task", "assessment_method"), message, 'use "mf1"')


def _answers(written: ValidValues, stage: str) -> Iterator[Problem]:
    """Check the keys of question answering, whose questions are measured over all their rows."""
    kind = written.get("task", "task_type")
    if kind is None:
        return
    if kind != "question_answering":
        for key in ("max_answer_length", "no_answer_threshold"):
            if written.has("task", key):
                message = f'`{key}` does not go with `task_type = "{kind}"`'
                yield written.at_key(("task", key), message, "leave it out")
        return
    if not written.has("task", "max_answer_length"):
        message = "missing key `max_answer_length` in [task], which question_answering needs"
        yield written.at_key(("task",), message, "write the most tokens of an answer, such as 30")
    key = "drop_remainder" if stage == "evaluate" else "eval_drop_remainder"
    if written.get("data", key):
        message = f"`{key} = true` would leave out parts of a question's context"
        yield written.at_value(("data", key), message, "write false")


def _phases(written: ValidValues) -> Iterator[Problem]:
    phases = [name for name in ("phase1", "phase2") if written.has(name)]
    if not phases:
        yield written.at_key((), "missing table [phase1] or [phase2]", "write at least one of them")
    for name in phases:
        yield from _batches(written, (name,))


def _nothing_trained(written: ValidValues) -> Iterator[Problem]:
    for key in ("steps", "finite_loss"):
        if written.has("expect", key):
            message = f"`{key}` is about training, and an evaluation does not train"
            yield written.at_key(("expect", key), message, "leave it out")


def _length_and_schedule(written: ValidValues, table: tuple[str, ...]) -> Iterator[Problem]:
    schedule = (*table, "optimizer", "schedule")
    yield from written.exactly_one((*table, "training"), LENGTHS)
    yield from written.exactly_one(schedule, WARMUPS)
    yield from written.not_above((*schedule, "end_learning_rate"), (*schedule, "learning_rate"))
    yield from written.not_above((*schedule, "warmup_steps"), (*table, "training", "train_steps"))
    save = written.get(*table, "checkpoints", "save_ckpt_step")
    sink = written.get("runtime", "data_sink_steps")
    if written.get("runtime", "enable_data_sink") and save and sink and save % sink:
        message = f"`save_ckpt_step` {save} is no multiple of `data_sink_steps` {sink}"
        cure = "a checkpoint can be saved only between two calls of the device"
        yield written.at_value((*table, "checkpoints", "save_ckpt_step"), message, cure)


def _machine(written: ValidValues) -> Iterator[Problem]:
    ids = written.get("topology", "device_ids")
    count = written.get("topology", "devices_per_host")
    if ids and count and len(ids) != count:
        message = f"`device_ids` has {len(ids)} items for `devices_per_host = {count}`"
        yield written.at_value(("topology", "device_ids"), message)
    if ids and len(set(ids)) != len(ids):
        yield written.at_value(("topology", "device_ids"), "`device_ids` names a device twice")
    hosts = written.get("topology", "hosts")
    if hosts and hosts > 1 and written.get("topology", "master_port") == 65535:
        message = "the first of several hosts listens on the port after `master_port`, too"
        yield written.at_value(("topology", "master_port"), message, "use at most 65534")
    if hosts and hosts > 1:
        for key in ("master_address", "master_port"):
            if not written.has("topology", key):
                message = f"missing key `{key}` in [topology], which {hosts} hosts need"
                yield written.at_key(("topology",), message)


def _expectations(written: ValidValues, stage: str) -> Iterator[Problem]:
    if written.has("expect", "tolerance") and not written.has("expect", "reference"):
        message = "`tolerance` says how far from a `reference`, and there is none"
        cure = "write `reference` in [expect], or remove `tolerance`"
        yield written.at_key(("expect", "tolerance"), message, cure)
    steps = written.get("expect", "steps")
    tables = [(*table, "training") for table in written.trainings()]
    planned = [written.get(*table, "train_steps") for table in tables]
    if steps and planned and all(planned) and steps != sum(planned):
        places = listed([f"[{dotted(table)}]" for table in tables], "and")
        message = f"`steps` expects {steps}, `train_steps` in {places} says {sum(planned)}"
        yield written.at_value(("expect", "steps"), message)
    known = measured_names(written, stage)
    metrics = written.get("expect", "metrics")
    for name in metrics if isinstance(metrics, dict) else ():
        path = ("expect", "metrics", name)
        if known and name not in known:
            message = f"this run has no metric `{dotted((name,))}`"
            near = get_close_matches(name, known, 3, 0.5) or known[:6]
            yield written.at_key(path, message, "use " + listed([f"`{each}`" for each in near]))
        if not written.has(*path, "min") and not written.has(*path, "max"):
            yield written.at_key(
                path, f"metric `{dotted((name,))}` has no bound", "write `min`, `max` or both"
            )
        yield from written.not_above((*path, "min"), (*path, "max"))
