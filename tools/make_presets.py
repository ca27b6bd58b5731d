"""Write the recipes that reproduce published settings: `python -m tools.make_presets [ROOT]`.

The text of each kind of recipe is a template in `tools/presets/`; this file has what differs
between recipes of a kind. A test compares the files in `recipes/` with what is made here, and the
values in them with the published ones.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from textwrap import fill

from tinybert.atomic import write_bytes

TEMPLATES = Path(__file__).parent / "presets"
WIDTH = 100
"""Columns of a comment."""
README = "by that example's README"
"""Source of a result: `research/nlp/tinybert/README.md` of the MindSpore models."""
PAPER = "by the TinyBERT paper without data augmentation, for a student of 4 x 312"
"""Source of a result: the table "TinyBERT without data augmentation" of arXiv 1909.10351."""
NOT_RUN = "unknown: not yet run on Ascend hardware."


@dataclass(frozen=True)
class Encoder:
    """A pretrained BERT-base, and what is made from it before the task is known."""

    name: str
    vocab_size: int
    """Tokens of its `vocab.txt`."""
    checkpoint: str
    wikipedia: str
    """Directory of WikiExtractor's files; the records are in `data/` under the same name."""
    general_distillation: str
    """Recipe whose student a task distillation starts from."""

    @property
    def vocabulary(self) -> str:
        """The file with its tokens."""
        return self.checkpoint.replace(".ckpt", "_vocab.txt")


ENGLISH = Encoder(
    name="BERT-base, uncased",
    vocab_size=30522,
    checkpoint="checkpoints/bert_base.ckpt",
    wikipedia="wiki_en",
    general_distillation="recipes/gd_bert_base_8p.toml",
)
CHINESE = Encoder(
    name="BERT-base, Chinese",
    vocab_size=21128,
    checkpoint="checkpoints/bert_base_chinese.ckpt",
    wikipedia="wiki_zh",
    general_distillation="recipes/gd/gd_bert_base_chinese_8p.toml",
)


@dataclass(frozen=True)
class Task:
    """A task of GLUE or CLUE, with published results."""

    key: str
    """Its name in paths."""
    name: str
    task_type: str
    num_labels: int
    assessment_method: str
    student: str
    """The published result nearest to that of the task distillation, with its source."""
    teacher: str = ""
    """BERT-base on the GLUE test set; TinyBERT paper, main table of results."""
    in_example: bool = False
    """Whether the MindSpore TinyBERT example has this task."""
    save_ckpt_step: int = 100
    """Steps between the checkpoints that are evaluated; fewer where the task has few rows."""
    data_sink_steps: int = 100
    encoder: Encoder = ENGLISH
    raw: str = "glue/{name}/{part}.tsv"
    dev_sets: tuple[str, ...] = ("dev",)
    """The first chooses the checkpoint of a training."""

    def path(self, recipe: str) -> str:
        """Return the path of a recipe of this task."""
        return f"recipes/{self.key}/{recipe}.toml"

    def records(self, part: str) -> str:
        """Return the directory of the records of a part."""
        return f"data/{self.key}/{part}"

    def prepare(self, part: str) -> str:
        """Return the command that makes the records of a part."""
        raw = self.raw.format(name=self.name, part=part)
        ner = self.task_type == "ner"
        what = f"ner {raw} --input-format cluener" if ner else f"glue {self.name} {raw}"
        return (
            f"python runner.py prepare {what} --lowercase --vocab {self.encoder.vocabulary} "
            f"--seq-length 128 --output {self.records(part)}"
        )

    def values(self) -> dict[str, object]:
        """Return the values that every recipe of the task has."""
        return {
            "vocab_size": self.encoder.vocab_size,
            "task_type": self.task_type,
            "task_name": self.name,
            "num_labels": self.num_labels,
            "assessment_method": self.assessment_method,
            "train_data_dir": self.records("train"),
            "eval_data_dir": self.records(self.dev_sets[0]),
            "save_ckpt_step": self.save_ckpt_step,
            "data_sink_steps": self.data_sink_steps,
        }


def _augmented(score: str) -> str:
    return (
        "no figure without data augmentation is published; the paper's student of 4 x 312, with "
        f"data augmentation: {score} on the GLUE test set"
    )


TASKS = (
    Task(
        key="sst2",
        name="SST-2",
        task_type="classification",
        num_labels=2,
        assessment_method="accuracy",
        student=f"accuracy 0.9028 {README}, which counts 780 of 864 rows; here all 872 rows of "
        "the dev set count",
        teacher="accuracy 93.4",
        in_example=True,
    ),
    Task(
        key="qnli",
        name="QNLI",
        task_type="classification",
        num_labels=2,
        assessment_method="accuracy",
        student=f"accuracy 0.8860 {README}",
        teacher="accuracy 90.9",
        in_example=True,
        save_ckpt_step=500,
    ),
    Task(
        key="mnli",
        name="MNLI",
        task_type="classification",
        num_labels=3,
        assessment_method="accuracy",
        student=f"accuracy 0.8116 {README}; 80.5 on the matched dev set, {PAPER}",
        teacher="accuracy 83.9 matched, 83.4 mismatched,",
        in_example=True,
        save_ckpt_step=500,
        dev_sets=("dev_matched", "dev_mismatched"),
    ),
    Task(
        key="mrpc",
        name="MRPC",
        task_type="classification",
        num_labels=2,
        assessment_method="bf1",
        student=f"82.4 on the dev set, {PAPER}",
        teacher="87.5",
        save_ckpt_step=50,
        data_sink_steps=50,
    ),
    Task(
        key="cola",
        name="CoLA",
        task_type="classification",
        num_labels=2,
        assessment_method="matthews",
        student=f"Matthews correlation 29.8 on the dev set, {PAPER}",
        teacher="Matthews correlation 52.8",
        save_ckpt_step=50,
        data_sink_steps=50,
    ),
    Task(
        key="rte",
        name="RTE",
        task_type="classification",
        num_labels=2,
        assessment_method="accuracy",
        student=_augmented("66.6"),
        teacher="accuracy 67.0",
        save_ckpt_step=50,
        data_sink_steps=50,
    ),
    Task(
        key="stsb",
        name="STS-B",
        task_type="regression",
        num_labels=1,
        assessment_method="pearson",
        student=_augmented("80.4"),
        teacher="correlation 85.2",
        save_ckpt_step=50,
        data_sink_steps=50,
    ),
    Task(
        key="qqp",
        name="QQP",
        task_type="classification",
        num_labels=2,
        assessment_method="bf1",
        student=_augmented("71.3"),
        teacher="F1 71.1",
        save_ckpt_step=500,
    ),
    Task(
        key="tnews",
        name="TNEWS",
        task_type="classification",
        num_labels=15,
        assessment_method="accuracy",
        student=f"accuracy 0.53 {README}",
        in_example=True,
        save_ckpt_step=500,
        encoder=CHINESE,
        raw="tnews/{part}.json",
    ),
    Task(
        key="cluener",
        name="CLUENER",
        task_type="ner",
        num_labels=21,
        assessment_method="entity_f1",
        student="no entity F1 is published; that example's README has 0.915, an accuracy of "
        "positions that counts padding",
        in_example=True,
        encoder=CHINESE,
        raw="cluener/{part}.json",
    ),
)


@dataclass(frozen=True)
class Preset:
    """A recipe: the parts of its opening comment, and the values for its template."""

    path: str
    template: str
    title: str
    reproduces: str
    expected: str
    needs: str
    commands: Sequence[str]
    values: Mapping[str, object]
    takes: str = NOT_RUN

    def text(self) -> str:
        """Return the text of the recipe."""
        up = "../" * (self.path.count("/") - 1) or "./"
        head = [
            f"#:schema {up}recipe.schema.json",
            f"# python runner.py {self.path}",
            "#",
            fill(self.title, WIDTH, initial_indent="# ", subsequent_indent="# "),
            "#",
            _entry("Reproduces", self.reproduces),
            _entry("Expected", self.expected),
            _entry("Needs", self.needs),
            *map(_command, self.commands),
            _entry("Takes", self.takes),
        ]
        template = Template((TEMPLATES / f"{self.template}.toml.template").read_text())
        return "\n".join([*head, "", template.substitute(self.values)])


def _entry(name: str, text: str) -> str:
    """Return an entry of the opening comment, its lines below each other."""
    indent = "#" + " " * 13
    return fill(
        text,
        WIDTH,
        initial_indent=f"# {name:<12}",
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _command(text: str) -> str:
    """Return a command as lines of the opening comment; an option stays with its value."""
    lines, indent = [], "#" + " " * 15
    for part in text.replace(" --", "\n--").splitlines():
        longer = f"{lines[-1]} {part}" if lines else indent + part
        if lines and len(longer) + len(" \\") > WIDTH:
            lines[-1] += " \\"
            lines.append(f"{indent}    {part}")
        else:
            lines[-1:] = [longer]
    return "\n".join(lines)


def general_distillation(path: str, encoder: Encoder, cards: int, **text: str) -> Preset:
    """Return the recipe of a general distillation."""
    count = {1: "one", 8: "eight"}[cards]
    chinese = encoder is CHINESE
    teacher = "a Chinese BERT-base" if chinese else "BERT-base"
    return Preset(
        path=path,
        template="gd",
        title=f"General distillation of {teacher} into 4 layers of width 384, on {count} Ascend "
        f"card{'s' if cards > 1 else ''}.",
        needs=f"{count} Ascend 910B, {encoder.checkpoint} ({encoder.name}) with its vocabulary, "
        f"and {'Chinese' if chinese else 'English'} Wikipedia, as WikiExtractor writes it, as "
        "records:",
        commands=[
            f"python runner.py prepare corpus {encoder.wikipedia} --lowercase --vocab "
            f"{encoder.vocabulary} --seq-length 128 --output data/{encoder.wikipedia}"
        ],
        values={
            "vocab_size": encoder.vocab_size,
            "encoder": encoder.checkpoint,
            "data_dir": f"data/{encoder.wikipedia}",
            "devices_per_host": cards,
        },
        **text,
    )


def general_distillations() -> Iterator[Preset]:
    """Yield the recipes that do not depend on a task."""
    example = "the preset of the MindSpore TinyBERT example for general distillation"
    yield general_distillation(
        ENGLISH.general_distillation,
        ENGLISH,
        8,
        reproduces=f"{example}. (The paper's student has width 312 and 1200.)",
        expected=f"a final loss of 6.54, {README}.",
        takes="17.3 hours at 35.4 ms a step, by the same README; not yet run on Ascend hardware.",
    )
    yield general_distillation(
        "recipes/gd/gd_bert_base_1p.toml",
        ENGLISH,
        1,
        reproduces=f"{example}, on one card.",
        expected="no figure is published for one card; see gd_bert_base_8p.toml.",
    )
    yield general_distillation(
        CHINESE.general_distillation,
        CHINESE,
        8,
        reproduces=f"{example}, for the students of its Chinese tasks.",
        expected="no figure for Chinese is published; see gd_bert_base_8p.toml.",
    )


def fine_tuning(task: Task) -> Preset:
    """Return the recipe that trains the teacher of a task."""
    result = f"{task.teacher} on the GLUE test set (TinyBERT paper, table of results)."
    return Preset(
        path=task.path(f"finetune_{task.key}"),
        template="finetune",
        title=f"Fine-tuning of BERT-base on {task.name}: the teacher of td_{task.key}.toml.",
        reproduces=f"BERT-base on {task.name}, with batch, epochs and learning rate from the range "
        "that the BERT paper recommends.",
        expected=result if task.teacher else "no published figure is known.",
        needs=f"an Ascend 910B, {task.encoder.checkpoint} ({task.encoder.name}) with its "
        "vocabulary, and records:",
        commands=[task.prepare("train"), task.prepare(task.dev_sets[0])],
        values={**task.values(), "encoder": task.encoder.checkpoint},
    )


def task_distillation(task: Task) -> Preset:
    """Return the recipe of both phases of a task distillation."""
    example = "the preset of the MindSpore TinyBERT example for"
    return Preset(
        path=task.path(f"td_{task.key}"),
        template="td",
        title=f"Task distillation on {task.name}: both phases, from the student of the general "
        "distillation.",
        reproduces=f"{example} {task.name}, without data augmentation."
        if task.in_example
        else f"{example} its other tasks, on {task.name}; without data augmentation.",
        expected=f"{task.student}.",
        needs="an Ascend 910B, finished runs of the two recipes that it links to, and records:",
        commands=[task.prepare("train"), task.prepare(task.dev_sets[0])],
        values={
            **task.values(),
            "fine_tuning": task.path(f"finetune_{task.key}"),
            "general_distillation": task.encoder.general_distillation,
        },
    )


def evaluation(task: Task, dev_set: str) -> Preset:
    """Return the recipe that evaluates the student of a task on one of its dev sets."""
    part = dev_set.removeprefix("dev").lstrip("_")
    distillation = task.path(f"td_{task.key}")
    rows = "all 872 rows instead of 780" if task.key == "sst2" else "all rows"
    expected = {
        "sst2": f"accuracy 0.9028 {README}, on its part of the rows.",
        "mismatched": _augmented("81.8") + ".",
    }
    return Preset(
        path=task.path("_".join(filter(None, ["evaluate", task.key, part]))),
        template="evaluate",
        title=f"Evaluation of the student of td_{task.key}.toml on the "
        f"{part + ' ' if part else ''}dev set of {task.name}.",
        reproduces=f"the evaluation of the MindSpore TinyBERT example, on {rows}."
        if task.in_example and part != "mismatched"
        else "nothing published.",
        expected=expected.get(part or task.key, f"{task.student}."),
        needs=f"an Ascend 910B, a finished run of {distillation}, and records:",
        commands=[task.prepare(dev_set)],
        values={
            **task.values(),
            "eval_data_dir": task.records(dev_set),
            "task_distillation": distillation,
        },
    )


def presets() -> Iterator[Preset]:
    """Yield every recipe that this program writes."""
    yield from general_distillations()
    for task in TASKS:
        yield fine_tuning(task)
        yield task_distillation(task)
        for dev_set in task.dev_sets:
            yield evaluation(task, dev_set)


def write(root: Path) -> None:
    """Write all of them below `root`."""
    for preset in presets():
        path = root / preset.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, preset.text().encode())


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
