"""What a run will do, and every problem with its files, before anything is built."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from tinybert.data.phases import TrainingPhase, training_phase, trainings
from tinybert.data.questions import find_questions
from tinybert.data.rows import RowFormat
from tinybert.data.sampler import Sampler
from tinybert.data.source import RecordSource, inspect
from tinybert.distill.layer_map import layer_map
from tinybert.errors import InputError, collect, counted
from tinybert.files import FileDigest
from tinybert.model.names import TRAINING_STATE
from tinybert.model.parameters import fit_shapes
from tinybert.model.weights import LoadedWeights, read_weights
from tinybert.plan.compatibility import agreed_labels, roles_with_trained_heads, vocabulary_problems
from tinybert.plan.parent_runs import LinkedRun, find_parent_run
from tinybert.recipe.load import ResolvedRecipe
from tinybert.recipe.model import AnyRecipe, Evaluate, GeneralDistill, TaskDistill
from tinybert.recipe.network import ROLES, NetworkConfig, Role, head, networks
from tinybert.recipe.tables import Source, block_length, device_count, global_batch_size
from tinybert.recipe.task_types import TASK_KINDS

log = structlog.get_logger()


@dataclass(frozen=True)
class RecordSet:
    """One set of record files."""

    source: RecordSource
    rows: int
    files: tuple[FileDigest, ...] | None = None
    """Digests of its files, where the launcher of this process has hashed them."""

    def counts(self, name: str) -> list[int]:
        """Return what `prepare` counted in each directory of the records, where it did."""
        try:
            prepared = self.source.sidecars()
        except InputError:  # a problem of the plan
            return []
        return [sidecar.counts[name] for _, sidecar in prepared if name in sidecar.counts]

    @property
    def longest_row(self) -> int | None:
        """Tokens of the longest row; None where the records do not state it."""
        longest = max(self.counts("longest_row"), default=None)
        return None if longest is None else min(longest, self.source.format.seq_length)

    @property
    def mean_length(self) -> int | None:
        """Mean number of tokens of a row, rounded up; None where the records do not state it."""
        tokens = sum(self.counts("tokens"))
        return None if not tokens or not self.rows else -(-tokens // self.rows)


@dataclass(frozen=True)
class Plan:
    """A recipe and its files, which fit together."""

    resolved: ResolvedRecipe
    root: Path
    """Directory that relative paths start from; `runs/` and `manifests/` are in it."""
    networks: dict[Role, NetworkConfig]
    """`teacher`, `student`, or both."""
    records: dict[str, RecordSet]
    """`data` to train on, `eval_data` to evaluate on."""
    checkpoints: dict[str, Path]
    """Where the weights of `teacher` and `student` come from; without entry: from the seed, or,
    for the student, from the teacher."""
    parents: dict[str, LinkedRun]
    """The runs that `checkpoints` were taken from, where they were."""
    phases: tuple[TrainingPhase, ...]
    """The trainings, in order; an evaluation has none."""
    labels: tuple[str, ...] | None
    """Label names of the records in the order of their ids, where prepared records name them."""

    @property
    def block_length(self) -> int | None:
        """The length of the blocks that rows are packed in; None: they are not packed."""
        return block_length(self.resolved.recipe.data)

    @property
    def micro_batches(self) -> int | None:
        """The parts that every global batch is cut into; None: one a process."""
        return self.resolved.recipe.data.micro_batches

    @property
    def copied_layers(self) -> tuple[int, ...] | None:
        """Layers of the teacher that the student begins as; None: it does not."""
        recipe = self.resolved.recipe
        if not isinstance(recipe, GeneralDistill | TaskDistill) or recipe.student.init != "teacher":
            return None
        training = recipe if isinstance(recipe, GeneralDistill) else recipe.phase1
        assert training is not None
        teacher, student = (self.networks[role].num_hidden_layers for role in ROLES)
        return layer_map(training.distill.layer_map, teacher, student)


def make_plan(
    resolved: ResolvedRecipe, root: Path, pending: Collection[Role] = ()
) -> tuple[Plan, list[InputError]]:
    """Look at files without reading them whole, and turn durations into steps.

    Args:
        resolved: The recipe.
        root: Where its relative paths start.
        pending: Networks from runs that are still to come: nothing is known of their files.

    Returns:
        The plan, and every problem with its files; with problems, the plan lacks what they hide.
    """
    recipe, problems = resolved.recipe, list[InputError]()
    configs = networks(recipe)
    records = _records(recipe, root, configs, problems)
    checkpoints, parents = _checkpoints(resolved, root, pending, problems)
    phases: list[TrainingPhase] = []
    for training in trainings(recipe) if "data" in records else ():
        with collect(problems):
            phases.append(training_phase(recipe, training, records["data"].rows))
    problems += _length_problems(resolved, records, phases)
    if isinstance(recipe, Evaluate) and "eval_data" in records:
        with collect(problems):
            size = global_batch_size(recipe.data, recipe.topology)
            rows = records["eval_data"].rows
            Sampler(rows, size, recipe.seed, False, recipe.data.drop_remainder)
    plan = Plan(resolved, root, configs, records, checkpoints, parents, tuple(phases), None)
    return replace(plan, labels=_agreed_labels(plan, problems)), problems


def _length_problems(
    resolved: ResolvedRecipe, records: Mapping[str, RecordSet], phases: Sequence[TrainingPhase]
) -> Iterator[InputError]:
    """Yield what the number and the lengths of the rows make impossible."""
    recipe, where = resolved.recipe, str(resolved.path)
    steps = sum(phase.total_steps for phase in phases)
    wanted = recipe.expect.steps if recipe.expect else None
    if wanted is not None and len(phases) == len([*trainings(recipe)]) and wanted != steps:
        message = f"[expect] asks for {wanted} steps, and the run will have {steps}"
        yield InputError(
            message, where=where, cure=f"write `steps = {steps}`, or change the length"
        )
    block = block_length(recipe.data)
    for each in records.values() if block is not None else ():
        longest = each.longest_row
        if block is not None and longest is not None and longest > block:
            message = f"a row of {longest} tokens is longer than `block_length` {block}"
            cure = f"write block_length = {longest} or more in [data]"
            yield InputError(message, where=str(each.source.paths[0].parent), cure=cure)


def _records(
    recipe: AnyRecipe, root: Path, configs: dict[Role, NetworkConfig], problems: list[InputError]
) -> dict[str, RecordSet]:
    """Return each set of records that is there and can be counted; collect the problems."""
    data, sets = recipe.data, dict[str, RecordSet]()
    task = None if isinstance(recipe, GeneralDistill) else recipe.task
    label = None if task is None else TASK_KINDS[task.task_type].label
    num_labels = task.num_labels if task is not None and label == "classes" else None
    for role, key in (
        ("data", "data_dir"),
        ("data", "train_data_dir"),
        ("eval_data", "eval_data_dir"),
    ):
        place = getattr(data, key, None)
        if place is None:
            continue
        own = getattr(data, "eval_schema_dir", None) if role == "eval_data" else None
        with collect(problems):
            source = RecordSource.find(
                place,
                root,
                dataset_type=data.dataset_type,
                schema_dir=own or data.schema_dir,
                format=RowFormat(
                    seq_length=data.seq_length,
                    vocab_size=min(config.vocab_size for config in configs.values()),
                    type_vocab_size=min(config.type_vocab_size for config in configs.values()),
                    input_mask_from_dataset=data.input_mask_from_dataset,
                    token_type_ids_from_dataset=data.token_type_ids_from_dataset,
                    label=label,
                    num_labels=num_labels,
                ),
            )
            inspection = inspect(source)
            problems.extend(inspection.problems)
            if inspection.rows is not None:
                sets[role] = RecordSet(source, inspection.rows)
    return sets


def _checkpoints(
    resolved: ResolvedRecipe, root: Path, pending: Collection[Role], problems: list[InputError]
) -> tuple[dict[str, Path], dict[str, LinkedRun]]:
    """Return the checkpoints of the networks, and the runs that they are taken from.

    A network that begins from the seed has none. Problems are collected.
    """
    checkpoints, parents = dict[str, Path](), dict[str, LinkedRun]()
    for role in ROLES:
        table = getattr(resolved.recipe, role)
        source: Source | None = getattr(table, f"load_{role}_ckpt_path", None)
        if source is None or role in pending:
            continue
        with collect(problems):
            if isinstance(source, str):
                checkpoints[role] = _existing(root / source)
            else:
                parents[role] = find_parent_run(source, root, resolved.device)
                checkpoints[role] = parents[role].checkpoint
    return checkpoints, parents


def _existing(path: Path) -> Path:
    if not path.exists():
        cure = "name a .safetensors or .ckpt file, or a directory with a Hugging Face model"
        raise InputError("no such checkpoint", where=str(path), cure=cure)
    return path


def _agreed_labels(plan: Plan, problems: list[InputError]) -> tuple[str, ...] | None:
    """Return the label names of the records, if all agree on them and on the vocabulary."""
    recipe, records = plan.resolved.recipe, plan.records
    try:
        prepared = [pair for each in records.values() for pair in each.source.sidecars()]
    except InputError:  # already among the problems
        return None
    complete = not problems
    with collect(problems):
        vocab_size = min(config.vocab_size for config in plan.networks.values())
        problems += vocabulary_problems(prepared, vocab_size, plan.checkpoints, plan.parents)
        if not isinstance(recipe, GeneralDistill):
            if recipe.task.task_type == "question_answering" and "eval_data" in records:
                find_questions(records["eval_data"].source)
            return agreed_labels(recipe, prepared, plan.checkpoints, complete=complete)
    return None


def read_checkpoint(plan: Plan, role: Role) -> LoadedWeights:
    """Read a network's checkpoint; log what is left out, and what begins from the seed instead.

    A network with a trained head takes its head; a student of layers its projection, if the
    checkpoint has one of the recipe's kind.

    Raises:
        InputError: It is damaged, or of another network; one error lists all.
    """
    recipe = plan.resolved.recipe
    trained_head = None
    if not isinstance(recipe, GeneralDistill) and role in roles_with_trained_heads(recipe):
        trained_head = head(recipe, role)
    projection = None
    if isinstance(recipe, TaskDistill) and recipe.phase1 is not None and role == "student":
        kind = recipe.phase1.distill.fit_dense
        projection = fit_shapes(plan.networks["student"], plan.networks["teacher"], kind)
    weights = read_weights(
        plan.checkpoints[role],
        plan.networks[role],
        f"{role}.",
        head=trained_head,
        fit_dense=projection,
        check=plan.parents[role].check_tensors if role in plan.parents else None,
    )
    if names := [name for name in weights.dropped if not TRAINING_STATE.search(name)]:
        log.info("weights left out", network=role, names=names)
    if weights.absent:
        log.info("weights from the seed", network=role, names=list(weights.absent))
    return weights


def read_checkpoints(plan: Plan) -> dict[str, LoadedWeights]:
    """Read the weights of the networks that do not begin from the seed.

    Raises:
        InputError: As `read_checkpoint`.
    """
    return {role: read_checkpoint(plan, role) for role in ROLES if role in plan.checkpoints}


def changed_records(plan: Plan, known: Sequence[InputError]) -> Iterator[InputError]:
    """Yield which prepared record files hold other bytes than `prepare` wrote, beside those known.

    Records without records.json are not read: their bytes were recorded nowhere.
    """
    places = {problem.where for problem in known}
    for records in plan.records.values():
        try:
            if records.source.sidecars():
                records.source.digest_files()
        except InputError as error:
            if error.where not in places:
                places.add(error.where)
                yield error


def checkpoint_problems(plan: Plan) -> Iterator[InputError]:
    """Yield why a run could not begin from its checkpoints."""
    for role in ROLES:
        try:
            if role in plan.checkpoints:
                read_checkpoint(plan, role)
        except InputError as error:
            yield error


def describe(plan: Plan) -> str:
    """Return the plan for people: what runs on what, on which rows, for how many steps."""
    topology = plan.resolved.recipe.topology
    processes = device_count(topology)
    lines = [
        f"recipe       {plan.resolved.path} ({plan.resolved.recipe.stage})",
        f"device       {topology.device}, {processes} process{'es' * (processes > 1)}",
    ]
    for role, config in plan.networks.items():
        shape = f"{config.num_hidden_layers} x {config.hidden_size}"
        origin = plan.checkpoints.get(role, "the seed")
        if role == "student" and plan.copied_layers is not None:
            origin = f"layers {', '.join(map(str, plan.copied_layers))} of the teacher"
        lines.append(f"{role:<12} {shape}, from {origin}")
    for name, records in plan.records.items():
        files = counted(len(records.source.paths), "file")
        lines.append(f"{name:<12} {records.rows:,} rows in {files}")
    parts = f" in {plan.micro_batches} micro-batches" if plan.micro_batches else ""
    for phase in plan.phases:
        lines.append(
            f"{'training':<12} {phase.name}: {phase.total_steps:,} steps of "
            f"{phase.global_batch_size} rows{parts}, {phase.sampler.batches_per_epoch:,} an epoch, "
            f"{phase.schedule.warmup_steps:,} of warmup"
        )
    return "\n".join(lines)
