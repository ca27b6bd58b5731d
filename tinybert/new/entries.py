"""The content of a chain's recipes: each table as keys with their values and origins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinybert.new.sources import Pretrained, RecordsPlace, Student, TaskRecords
from tinybert.recipe.network import Role
from tinybert.recipe.task_types import TASK_KINDS, TASK_TYPES, TaskType

BATCH = 32
METRICS: dict[TaskType, str] = {
    "classification": "accuracy",
    "regression": "pearson",
    "multi_label_classification": "micro_f1",
    "ner": "entity_f1",
    "question_answering": "f1",
}

Entry = tuple[str, Any, str]
"""Key, value, origin."""
HEAD: Entry = ("head", "linear", "form")
EQUAL_WIDTHS: Entry = ("fit_dense", "none", "here: the widths are equal")
SHARED_KEYS = (
    *("vocab_size", "num_attention_heads", "hidden_act", "layer_norm_eps"),
    *("max_position_embeddings", "type_vocab_size", "initializer_range"),
)
"""Keys of `[network]`, as far as both networks of a recipe have the same value."""


@dataclass(frozen=True)
class Chain:
    """What all recipes of a chain are made of."""

    name: str
    teacher: Pretrained
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
        label = self.records.task.label
        assert label is not None  # `TaskRecords.task` has refused records without labels
        return TASK_TYPES[label]

    @property
    def differing_keys(self) -> list[str]:
        """What `[teacher]` and `[student]` each have a value for."""
        ours, theirs = self.student.config, self.teacher.config
        return [key for key in SHARED_KEYS if getattr(ours, key) != getattr(theirs, key)]

    def path(self, kind: str) -> str:
        """Return where the recipe of a kind goes, as recipes name it."""
        return f"{self.folder}/{self.name}_{kind}.toml"


def network_table(chain: Chain, *roles: Role) -> list[Entry]:
    """Return what the networks of a recipe share."""
    different = chain.differing_keys if len(roles) > 1 else ()
    return [
        *_described(chain, roles[0], [key for key in SHARED_KEYS if key not in different]),
        ("use_relative_positions", False, "teacher"),
        ("enable_fused_layernorm", False, "here"),
        ("dtype", "float32", "here"),
        ("compute_type", "float32", "here"),
    ]


def own(chain: Chain, role: Role) -> list[Entry]:
    """Return what a network does not share with the other one of its recipe."""
    return _described(chain, role, chain.differing_keys)


def _described(chain: Chain, role: Role, keys: Sequence[str]) -> list[Entry]:
    model = chain.teacher if role == "teacher" else chain.student
    origin = "teacher" if role == "teacher" else chain.student.origin
    return [(key, getattr(model.config, key), origin) for key in keys]


def sizes(chain: Chain, role: Role) -> list[Entry]:
    """Return the sizes of a network."""
    model = chain.teacher if role == "teacher" else chain.student
    origins = ("teacher",) * 3 if role == "teacher" else chain.student.size_origins
    keys = ("hidden_size", "num_hidden_layers", "intermediate_size")
    return [
        (key, getattr(model.config, key), origin) for key, origin in zip(keys, origins, strict=True)
    ]


def dropout(chain: Chain, role: Role) -> list[Entry]:
    """Return the dropout of a network that is trained, the head's last."""
    model = chain.teacher if role == "teacher" else chain.student
    *_, (_, _, origin) = rates = _described(
        chain, role, ("hidden_dropout_prob", "attention_probs_dropout_prob")
    )
    last: Entry = ("classifier_dropout_prob", model.classifier_dropout, origin)
    if chain.task_type == "question_answering":
        last = ("classifier_dropout_prob", 0.0, "bert")
    return [*rates, last]


def student_weights(chain: Chain) -> Entry:
    """Return where the student begins that no earlier recipe has trained."""
    if chain.student.place is None:
        return "init", chain.student.init, "here" if chain.student.init == "seeded" else "you"
    return "load_student_ckpt_path", chain.student.place, "you"


def task(chain: Chain) -> list[Entry]:
    """Return `[task]`."""
    labels, fewest = chain.records.task.labels, TASK_KINDS[chain.task_type].least_labels
    answers: list[Entry] = []
    if chain.task_type == "question_answering":
        answers.append(("max_answer_length", 30, "bert"))
        if chain.records.task.name == "SQuAD-2.0":
            answers.append(("no_answer_threshold", 0.0, "bert"))
    return [
        ("task_type", chain.task_type, "records"),
        ("task_name", chain.name, "you"),
        ("num_labels", fewest if labels is None else len(labels), "records"),
        ("assessment_method", METRICS[chain.task_type], "here"),
        *answers,
    ]


def task_data(chain: Chain) -> list[Entry]:
    """Return `[data]` of a training on a task's rows, without the batch size."""
    train, dev = chain.records.train, chain.records.dev
    return [
        ("dataset_type", train.sidecar.dataset_type, "records"),
        ("train_data_dir", train.place, "you"),
        ("eval_data_dir", dev.place, "you"),
        *schema_entry(train, "schema_dir"),
        *schema_entry(dev, "eval_schema_dir"),
        *rows(train),
        ("do_shuffle", True, "paper"),
    ]


def eval_data(chain: Chain) -> list[Entry]:
    """Return `[data]` of an evaluation, without the batch size."""
    dev = chain.records.dev
    return [
        ("dataset_type", dev.sidecar.dataset_type, "records"),
        ("eval_data_dir", dev.place, "you"),
        *schema_entry(dev, "schema_dir"),
        *rows(dev),
    ]


def schema_entry(records: RecordsPlace, key: str) -> list[Entry]:
    """Return where the schema of TFRecord files is; MindRecord files have none."""
    if records.sidecar.dataset_type == "mindrecord":
        return []
    return [(key, f"{records.place}/schema.json", "records")]


def rows(records: RecordsPlace) -> list[Entry]:
    """Return the form of rows, and how they are packed."""
    seq_length = records.sidecar.seq_length
    return [
        ("seq_length", seq_length, "records"),
        ("drop_remainder", False, "here"),
        ("input_mask_from_dataset", True, "form"),
        ("token_type_ids_from_dataset", True, "form"),
        ("packing", "blocks", "here"),
        ("block_length", max(64, seq_length), "here"),
    ]


def losses(chain: Chain) -> list[Entry]:
    """Return the losses between layers: without those of attention where the heads differ."""
    ours, theirs = chain.student.config.num_hidden_layers, chain.teacher.config.num_hidden_layers
    layers: Entry = ("layer_map", "uniform", "paper")
    if theirs % ours:
        layers = ("layer_map", [round((m + 1) * theirs / ours) for m in range(ours)], "here")
    weights: Entry = ("weights", {"attention": 1.0, "hidden": 1.0}, "paper")
    if "num_attention_heads" in chain.differing_keys:
        weights = ("weights", {"attention": 0.0, "hidden": 1.0}, "here: the heads differ")
    return [
        layers,
        weights,
        ("padding", "ignore", "here"),
        ("fit_dense", "shared", "paper") if chain.student.init == "seeded" else EQUAL_WIDTHS,
    ]


def batch(rows: int) -> int:
    """Return the rows of a step."""
    return min(BATCH, rows)


@dataclass(frozen=True)
class TrainingPreset:
    """Learning rate and length of a training."""

    learning_rate: float
    origin: str
    """Of the learning rate."""
    epochs: int
    """Published: in the BERT paper (appendix A.3), or in the TinyBERT paper (section 4.2)."""
    least_steps: int
    """Where few rows have fewer steps in so many epochs, there are more epochs."""


FINETUNE = TrainingPreset(5e-5, "bert", 3, 100)
GENERAL = TrainingPreset(5e-4, "here", 3, 300)
PHASE1 = TrainingPreset(5e-4, "here", 20, 300)
PHASE2 = TrainingPreset(2e-4, "here", 3, 150)


def training(
    table: str, rows: int, preset: TrainingPreset, *, evaluated: bool = False
) -> dict[str, list[Entry]]:
    """Return the tables of a training on so many rows, whose names begin with `table`."""
    an_epoch = math.ceil(rows / batch(rows))
    enough = max(preset.epochs, math.ceil(preset.least_steps / an_epoch))
    published = "bert" if preset.origin == "bert" else "paper"
    epochs_origin = published if enough == preset.epochs else f"here: {preset.least_steps} steps"
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
            ("learning_rate", preset.learning_rate, preset.origin),
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
        f"{table}training": [("epoch_size", enough, epochs_origin)],
        f"{table}checkpoints": [
            ("save_ckpt_step", an_epoch if evaluated else an_epoch * enough, "here"),
            ("max_ckpt_num", 1, "here"),
        ],
    }


def machine(chain: Chain, *, cache: bool = False) -> dict[str, list[Entry]]:
    """Return the tables of the devices, with or without a cache of the teacher's outputs."""
    runtime: list[Entry] = [
        ("enable_data_sink", False, "here"),
        ("data_sink_steps", 1, "here"),
        ("threads", chain.threads, "form"),
    ]
    return {
        "topology": [
            ("device", chain.device, "here" if chain.device == "CPU" else "you"),
            ("hosts", 1, "here"),
            ("devices_per_host", 1, "here"),
        ],
        "runtime": [*runtime, *([("teacher_cache_gib", 1.0, "here")] if cache else [])],
    }
