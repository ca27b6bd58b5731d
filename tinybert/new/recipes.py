"""The recipes of a chain: fine-tuning, general and task distillation, evaluation.

Every value has its origin behind it; the comment that opens a recipe explains the origins.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from tinybert.new.sources import RecordsPlace, Student, TaskRecords, Teacher
from tinybert.recipe.keys import as_toml
from tinybert.recipe.tables import TaskType

WIDTH = 100
"""Columns of a comment."""
BATCH = 32
FINETUNE_STEPS, PHASE1_STEPS, PHASE2_STEPS, GENERAL_STEPS = 100, 300, 150, 300
"""Steps at least, where the published epochs of few rows have fewer."""
PUBLISHED = {"finetune": 3, "phase1": 20, "phase2": 3, "general": 3}
"""Epochs: of the BERT paper (appendix A.3), and of the TinyBERT paper (section 4.2)."""
KINDS: dict[str, TaskType] = {"class": "classification", "number": "regression", "token": "ner"}
METRICS = {"classification": "accuracy", "regression": "pearson", "ner": "entity_f1"}
ORIGINS = (
    "behind each value: `teacher`, its config.json; `records`, the records.json of the data; "
    "`paper`, TinyBERT (arXiv 1909.10351, section 4); `bert`, BERT (arXiv 1810.04805, appendix "
    "A.3); `here`, chosen for small data on one machine; `you`, the command above; `form`, what "
    "the files or the machine are."
)

Entry = tuple[str, Any, str]
"""Key, value, origin."""
HEAD: Entry = ("head", "linear", "form")
Tables = Mapping[str, Sequence[Entry]]
"""Entries by the name of their table; the first is the top."""


@dataclass(frozen=True)
class Chain:
    """What all recipes of a chain are made of."""

    name: str
    teacher: Teacher
    student: Student
    records: TaskRecords
    corpus: RecordsPlace | None
    """Of the general distillation; None: there is none."""
    device: str
    threads: int
    folder: str
    """Where the recipes go, as recipes name it."""
    command: str
    """The command line that makes them."""

    @property
    def task_type(self) -> TaskType:
        """What the head predicts."""
        return KINDS[self.records.task.label]

    def path(self, kind: str) -> str:
        """Return where the recipe of a kind goes, as recipes name it."""
        return f"{self.folder}/{self.name}_{kind}.toml"


def recipes(chain: Chain) -> dict[str, str]:
    """Return the text of each recipe by its path, in the order in which they run."""
    texts = {chain.path("finetune"): _finetune(chain)}
    if chain.corpus is not None:
        texts[chain.path("general")] = _general(chain, chain.corpus)
    texts[chain.path("distill")] = _distill(chain)
    texts[chain.path("evaluate")] = _evaluate(chain)
    return texts


def _finetune(chain: Chain) -> str:
    rows = chain.records.train.sidecar.rows
    teacher = [*_sizes(chain.teacher.config), *_dropout(chain), HEAD]
    return _text(
        chain,
        "finetune",
        f"Fine-tuning of {chain.teacher.place}: the teacher of {chain.name}_distill.toml.",
        {
            "": [("stage", "finetune", ""), ("seed", 1, "here")],
            "network": _network(chain),
            "teacher": [("load_teacher_ckpt_path", chain.teacher.place, "you"), *teacher],
            "task": _task(chain),
            "data": [*_task_data(chain), ("global_batch_size", _batch(rows), "bert")],
            **_training(
                "", rows, 5e-5, "bert", PUBLISHED["finetune"], FINETUNE_STEPS, evaluated=True
            ),
            **_machine(chain),
            "expect": [("finite_loss", True, "here")],
        },
    )


def _general(chain: Chain, corpus: RecordsPlace) -> str:
    rows = corpus.sidecar.rows
    student = [("init", "seeded", "here"), *_student_sizes(chain), *_dropout(chain)[:2]]
    return _text(
        chain,
        "general",
        f"General distillation of {chain.teacher.place} on plain text: what the student of "
        f"{chain.name}_distill.toml begins from.",
        {
            "": [("stage", "general_distill", ""), ("seed", 1, "here")],
            "network": _network(chain),
            "teacher": [
                ("load_teacher_ckpt_path", chain.teacher.place, "you"),
                *_sizes(chain.teacher.config),
            ],
            "student": student,
            "data": [
                ("dataset_type", corpus.sidecar.dataset_type, "records"),
                ("data_dir", corpus.place, "you"),
                *_schema(corpus, "schema_dir"),
                *_rows(corpus),
                ("do_shuffle", True, "paper"),
                ("global_batch_size", _batch(rows), "here"),
            ],
            "distill": _losses(chain),
            **_training("", rows, 5e-4, "here", PUBLISHED["general"], GENERAL_STEPS),
            **_machine(chain),
            "expect": [("finite_loss", True, "here")],
        },
    )


def _distill(chain: Chain) -> str:
    rows = chain.records.train.sidecar.rows
    start: Entry = ("init", "seeded", "here")
    if chain.corpus is not None:
        start = ("load_student_ckpt_path", {"recipe": chain.path("general")}, "chain")
    hard = 1.0 if chain.task_type == "regression" else 0.0
    teacher = [*_sizes(chain.teacher.config), HEAD]
    student = [*_student_sizes(chain), *_dropout(chain), HEAD]
    batch: Entry = ("global_batch_size", _batch(rows), "paper")
    return _text(
        chain,
        "distill",
        f"Task distillation into {chain.student.num_hidden_layers} layers of width "
        f"{chain.student.hidden_size}: layers first, then predictions.",
        {
            "": [("stage", "task_distill", ""), ("seed", 1, "here")],
            "network": _network(chain),
            "teacher": [
                ("load_teacher_ckpt_path", {"recipe": chain.path("finetune")}, "chain"),
                *teacher,
            ],
            "student": [start, *student],
            "task": _task(chain),
            "data": _task_data(chain),
            "phase1": [batch],
            "phase1.distill": _losses(chain),
            **_training("phase1.", rows, 5e-4, "here", PUBLISHED["phase1"], PHASE1_STEPS),
            "phase2": [batch],
            "phase2.distill": [
                ("temperature", 1.0, "paper"),
                ("hard_label_weight", hard, "paper"),
            ],
            **_training(
                "phase2.", rows, 2e-4, "here", PUBLISHED["phase2"], PHASE2_STEPS, evaluated=True
            ),
            **_machine(chain, cache=True),
            "expect": [("finite_loss", True, "here")],
        },
    )


def _evaluate(chain: Chain) -> str:
    student = [*_student_sizes(chain), HEAD]
    rows = chain.records.dev.sidecar.rows
    return _text(
        chain,
        "evaluate",
        f"Evaluation of the student of {chain.name}_distill.toml on the dev set.",
        {
            "": [("stage", "evaluate", ""), ("seed", 1, "here")],
            "network": _network(chain),
            "student": [
                ("load_student_ckpt_path", {"recipe": chain.path("distill")}, "chain"),
                *student,
            ],
            "task": _task(chain),
            "data": [*_eval_data(chain), ("global_batch_size", _batch(rows), "here")],
            **_machine(chain),
        },
    )


def _network(chain: Chain) -> list[Entry]:
    config = chain.teacher.config
    keys = (
        *("vocab_size", "num_attention_heads", "hidden_act", "layer_norm_eps"),
        *("max_position_embeddings", "type_vocab_size", "initializer_range"),
    )
    return [
        *((key, getattr(config, key), "teacher") for key in keys),
        ("use_relative_positions", False, "teacher"),
        ("enable_fused_layernorm", False, "here"),
        ("dtype", "float32", "here"),
        ("compute_type", "float32", "here"),
    ]


def _sizes(network: Any, origin: str = "teacher") -> list[Entry]:
    keys = ("hidden_size", "num_hidden_layers", "intermediate_size")
    return [(key, getattr(network, key), origin) for key in keys]


def _student_sizes(chain: Chain) -> list[Entry]:
    *sizes, (key, width, _) = _sizes(chain.student, "you")
    return [*sizes, (key, width, chain.student.origin)]


def _dropout(chain: Chain) -> list[Entry]:
    config = chain.teacher.config
    return [
        ("hidden_dropout_prob", config.hidden_dropout_prob, "teacher"),
        ("attention_probs_dropout_prob", config.attention_probs_dropout_prob, "teacher"),
        ("classifier_dropout_prob", chain.teacher.classifier_dropout, "teacher"),
    ]


def _task(chain: Chain) -> list[Entry]:
    labels = chain.records.task.labels
    return [
        ("task_type", chain.task_type, "records"),
        ("task_name", chain.name, "you"),
        ("num_labels", 1 if labels is None else len(labels), "records"),
        ("assessment_method", METRICS[chain.task_type], "here"),
    ]


def _task_data(chain: Chain) -> list[Entry]:
    train, dev = chain.records.train, chain.records.dev
    return [
        ("dataset_type", train.sidecar.dataset_type, "records"),
        ("train_data_dir", train.place, "you"),
        ("eval_data_dir", dev.place, "you"),
        *_schema(train, "schema_dir"),
        *_schema(dev, "eval_schema_dir"),
        *_rows(train),
        ("do_shuffle", True, "paper"),
    ]


def _eval_data(chain: Chain) -> list[Entry]:
    dev = chain.records.dev
    return [
        ("dataset_type", dev.sidecar.dataset_type, "records"),
        ("eval_data_dir", dev.place, "you"),
        *_schema(dev, "schema_dir"),
        *_rows(dev),
    ]


def _schema(records: RecordsPlace, key: str) -> list[Entry]:
    if records.sidecar.dataset_type == "mindrecord":
        return []
    return [(key, f"{records.place}/schema.json", "records")]


def _rows(records: RecordsPlace) -> list[Entry]:
    seq_length = records.sidecar.seq_length
    return [
        ("seq_length", seq_length, "records"),
        ("drop_remainder", False, "here"),
        ("input_mask_from_dataset", True, "form"),
        ("token_type_ids_from_dataset", True, "form"),
        ("packing", "blocks", "here"),
        ("block_length", max(128, seq_length), "here"),
    ]


def _losses(chain: Chain) -> list[Entry]:
    ours, theirs = chain.student.num_hidden_layers, chain.teacher.config.num_hidden_layers
    layers: Entry = ("layer_map", "uniform", "paper")
    if theirs % ours:
        layers = ("layer_map", [round((m + 1) * theirs / ours) for m in range(ours)], "here")
    return [
        layers,
        ("weights", {"attention": 1.0, "hidden": 1.0}, "paper"),
        ("padding", "ignore", "here"),
        ("fit_dense", "shared", "paper"),
    ]


def _batch(rows: int) -> int:
    return min(BATCH, rows)


def _training(
    table: str,
    rows: int,
    learning_rate: float,
    origin: str,
    epochs: int,
    least_steps: int,
    *,
    evaluated: bool = False,
) -> dict[str, list[Entry]]:
    """Return the tables of a training, whose names begin with `table`.

    With few rows the published `epochs` would be a few steps: then there are more.
    """
    an_epoch = math.ceil(rows / _batch(rows))
    enough = max(epochs, math.ceil(least_steps / an_epoch))
    published = "bert" if origin == "bert" else "paper"
    return {
        f"{table}optimizer": [
            ("optimizer", "AdamWeightDecay", "bert"),
            ("weight_decay", 0.01, "bert"),
            ("eps", 1e-6, "bert"),
            ("betas", [0.9, 0.999], "bert"),
            ("clip_norm", 1.0, "bert"),
            ("clip_by", "global_norm", "bert"),
            ("no_decay", ["layernorm", "bias"], "bert"),
        ],
        f"{table}optimizer.schedule": [
            ("learning_rate", learning_rate, origin),
            ("end_learning_rate", 0.0, published),
            ("power", 1.0, published),
            ("warmup_ratio", 0.1, published),
            ("decay_from", "warmup_end", published),
        ],
        f"{table}loss_scale": [
            ("loss_scale_value", 65536, "here"),
            ("scale_factor", 2, "here"),
            ("scale_window", 1000, "here"),
        ],
        f"{table}training": [
            ("epoch_size", enough, published if enough == epochs else f"here: {least_steps} steps")
        ],
        f"{table}checkpoints": [
            ("save_ckpt_step", an_epoch if evaluated else an_epoch * enough, "here"),
            ("max_ckpt_num", 1, "here"),
        ],
    }


def _machine(chain: Chain, *, cache: bool = False) -> dict[str, list[Entry]]:
    runtime: list[Entry] = [
        ("enable_data_sink", False, "here"),
        ("data_sink_steps", 1, "here"),
        ("threads", chain.threads, "form"),
    ]
    return {
        "topology": [
            ("device", chain.device, "you"),
            ("hosts", 1, "here"),
            ("devices_per_host", 1, "here"),
        ],
        "runtime": [*runtime, *([("teacher_cache_gib", 1.0, "here")] if cache else [])],
    }


def _text(chain: Chain, kind: str, title: str, tables: Tables) -> str:
    """Return a recipe: its opening comment, and its tables."""
    linked = ", and a finished run of the recipe that it links to, which the command above runs"
    before = "" if kind in ("finetune", "general") else linked
    up = "../" * chain.folder.count("/") or "./"
    schema = [f"#:schema {up}recipe.schema.json"] if chain.folder.startswith("recipes/") else []
    lines = [
        *schema,
        f"# python runner.py run --with-parents {chain.path(kind)}",
        "#",
        *_comment("", title),
        "#",
        *_comment("Made by", chain.command),
        *_comment("Values", ORIGINS),
        *_comment("Expected", "unknown: not yet run."),
        *_comment("Needs", f"the files that it names{before}."),
    ]
    for name, entries in tables.items():
        lines += ["", *([f"[{name}]"] if name else []), *_lines(entries)]
    return "\n".join(lines) + "\n"


def _comment(name: str, text: str) -> list[str]:
    first, indent = (f"# {name:<12}", "#" + " " * 13) if name else ("# ", "# ")
    return fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ).splitlines()


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield `key = value`, with the origins below each other."""
    written = [f"{key} = {as_toml(value)}" for key, value, _ in entries]
    column = min(56, max(map(len, written)))
    for line, (_, _, origin) in zip(written, entries, strict=True):
        yield f"{line:{column}}  # {origin}" if origin else line
