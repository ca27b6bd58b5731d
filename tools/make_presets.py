"""Write the recipes that reproduce published results: `python -m tools.make_presets [ROOT]`.

The text of each kind of recipe is a template in `tools/presets/`; `tools/published.py` has what
differs between recipes of a kind, with the source of each value. A test compares the files in
`recipes/` with what is made here, and the values in them with the published ones.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from textwrap import fill

from tinybert.atomic import write_bytes
from tools.published import CHINESE, ENGLISH, EXAMPLE, PAPER, TASKS, Encoder, Source, Student, Task

TEMPLATES = Path(__file__).parent / "presets"
WIDTH = 100
"""Columns of a comment."""
NOT_RUN = "unknown: not yet run on Ascend hardware."


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
    """What makes its records."""
    values: Mapping[str, object]
    differs: str = ""
    """In what it differs from the published program on purpose."""
    takes: str = NOT_RUN

    def text(self) -> str:
        """Return the text of the recipe."""
        up = "../" * (self.path.count("/") - 1) or "./"
        entries = {"Reproduces": self.reproduces, "Differs": self.differs}
        entries |= {"Expected": self.expected, "Needs": self.needs}
        lines = [
            f"#:schema {up}recipe.schema.json",
            f"# python runner.py {self.path}",
            "#",
            fill(self.title, WIDTH, initial_indent="# ", subsequent_indent="# "),
            "#",
            *(_entry(name, text) for name, text in entries.items() if text),
            *map(_command, self.commands),
            _entry("Takes", self.takes),
        ]
        template = Template((TEMPLATES / f"{self.template}.toml.template").read_text())
        return "\n".join([*lines, "", template.substitute(self.values)])


def _entry(name: str, text: str) -> str:
    """Return an entry of the opening comment, its lines below each other."""
    first, indent = f"# {name:<12}", "#" + " " * 13
    return fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _command(text: str) -> str:
    """Return a command as lines of the opening comment; an option stays with its value."""
    lines: list[str] = []
    indent = "#" + " " * 15
    for part in text.replace(" --", "\n--").splitlines():
        longer = f"{lines[-1]} {part}" if lines else indent + part
        if lines and len(longer) + len(" \\") > WIDTH:
            lines[-1] += " \\"
            lines.append(f"{indent}    {part}")
        else:
            lines[-1:] = [longer]
    return "\n".join(lines)


def _general_distillation(
    source: Source, path: str, encoder: Encoder, student: Student, cards: int, **text: str
) -> Preset:
    """Return the recipe of a general distillation."""
    count = {1: "one", 8: "eight"}[cards]
    batch = "batch_size = 32"  # example, gd_config.yaml
    if cards == 8:  # authors, README.md: 256 rows
        batch = "global_batch_size = 256\nmicro_batches = 8"
    language = "Chinese" if encoder is CHINESE else "English"
    return Preset(
        path=path,
        template="gd",
        title=f"General distillation of {encoder.name} into {student}, on {count} Ascend "
        f"card{'s' if cards > 1 else ''}.",
        needs=f"{count} Ascend 910B, {encoder.checkpoint} ({encoder.name}) with its vocabulary, "
        f"and {language} Wikipedia, as WikiExtractor writes it, as records:",
        commands=[
            f"python runner.py prepare corpus {encoder.wikipedia} --lowercase --vocab "
            f"{encoder.vocabulary} --seq-length 128 --output data/{encoder.wikipedia}"
        ],
        values={
            **source.network,
            **source.general,
            **asdict(student),
            "vocab_size": encoder.vocab_size,
            "encoder": encoder.checkpoint,
            "data_dir": f"data/{encoder.wikipedia}",
            "batch": batch,
            "devices_per_host": cards,
            # example, scripts/run_standalone_gd.sh and scripts/run_distributed_gd_ascend.sh
            "save_ckpt_step": 100 if cards == 1 else 10000,
        },
        **text,
    )


def general_distillations() -> Iterator[Preset]:
    """Yield the recipes that do not depend on a task."""
    (student,) = EXAMPLE.students
    once = "gradients are averaged over the cards once; its code divides them by 8 again."
    yield _general_distillation(
        EXAMPLE,
        ENGLISH.general_distillation,
        ENGLISH,
        student,
        8,
        reproduces=f"{EXAMPLE.name}: gd_config.yaml, on eight cards.",
        differs=once,
        expected="a final loss of 6.54, by that example's README.",
        takes="17.3 hours at 35.4 ms a step, by the same README; not yet run on Ascend hardware.",
    )
    yield _general_distillation(
        EXAMPLE,
        "recipes/gd/gd_bert_base_1p.toml",
        ENGLISH,
        student,
        1,
        reproduces=f"{EXAMPLE.name}: gd_config.yaml, on one card.",
        differs="rows are shuffled; its code never shuffles TFRecord files on one card.",
        expected="no figure is published for one card; see gd_bert_base_8p.toml.",
    )
    yield _general_distillation(
        EXAMPLE,
        CHINESE.general_distillation,
        CHINESE,
        student,
        8,
        reproduces=f"{EXAMPLE.name}: gd_config.yaml, for the students of its Chinese tasks.",
        differs=once,
        expected="no figure for Chinese is published; see gd_bert_base_8p.toml.",
    )
    for student in PAPER.students:
        yield _general_distillation(
            PAPER,
            f"recipes/gd/paper_gd_{student.key}.toml",
            ENGLISH,
            student,
            8,
            reproduces=f"{PAPER.name} (section 4.2): 3 epochs of Wikipedia, with the batch of the "
            "authors' README and the defaults of their general_distill.py. The paper itself says: "
            "else as in BERT's pre-training, which has a learning rate of 1e-4 and 10,000 steps of "
            "warmup.",
            expected="no loss is published.",
            takes="two days on eight V100, by the authors; not yet run on Ascend hardware.",
        )


def _records(task: Task, part: str) -> str:
    """Return the command that makes the records of a part of a task."""
    raw = task.raw.format(name=task.name, part=part)
    ner = task.task_type == "ner"
    what = f"ner {raw} --input-format cluener" if ner else f"glue {task.name} {raw}"
    return (
        f"python runner.py prepare {what} --lowercase --vocab {task.encoder.vocabulary} "
        f"--seq-length {task.seq_length} --output data/{task.key}/{part}"
    )


def _path(source: Source, kind: str, task: Task, student: Student | None = None) -> str:
    """Return the path of a recipe; a student is named where a source has several."""
    name = f"{source.prefix}{kind}_{task.key}"
    if student is not None and len(source.students) > 1:
        name += f"_{student.key}"
    return f"recipes/{task.key}/{name}.toml"


def _values(source: Source, task: Task) -> dict[str, object]:
    """Return the values that the recipes of a task share."""
    return {
        **source.network,
        "vocab_size": task.encoder.vocab_size,
        "task_type": task.task_type,
        "task_name": task.name,
        "num_labels": task.num_labels,
        "assessment_method": task.assessment_method,
        "train_data_dir": f"data/{task.key}/train",
        "eval_data_dir": f"data/{task.key}/{task.dev_sets[0]}",
        "seq_length": task.seq_length,
        "block_length": max(64, task.seq_length),
    }


def _fine_tuning(source: Source, task: Task) -> Preset:
    """Return the recipe that trains the teacher of a task."""
    students = (Path(_path(source, "td", task, student)).name for student in source.students)
    score = f"{task.measure} {task.teacher_result} on the GLUE test set, by the TinyBERT paper."
    return Preset(
        path=_path(source, "finetune", task),
        template="finetune",
        title=f"Fine-tuning of {task.encoder.name} on {task.name}: the teacher of "
        f"{' and '.join(students)}.",
        reproduces="the teacher of the TinyBERT paper, as the authors' fine_tune_bert.py trains it."
        if source is PAPER
        else "BERT-base with batch, epochs and learning rate from the range that the BERT paper "
        "recommends.",
        expected=score if task.teacher_result else "no published figure is known.",
        needs=f"an Ascend 910B, {task.encoder.checkpoint} ({task.encoder.name}) with its "
        "vocabulary, and records:",
        commands=[_records(task, "train"), _records(task, task.dev_sets[0])],
        values={
            **_values(source, task),
            **source.finetune,
            "encoder": task.encoder.checkpoint,
            "epoch_size": task.teacher_epochs if source is PAPER else 3,
            "save_ckpt_step": 500 if task.many_rows else 100,
        },
    )


def _expected(source: Source, task: Task, student: Student, dev_set: int) -> str:
    """Return the published results that are nearest to those of a recipe."""
    results = []
    if source is EXAMPLE and task.example_result and dev_set == 0:
        results.append(f"{task.example_result}, by that example's README")
    if task.dev_results and student.num_hidden_layers == 4:
        whose = "" if source is PAPER else ", for 4 layers of width 312"
        results.append(
            f"{task.measure} {task.dev_results[dev_set]} on this dev set, by the TinyBERT paper "
            f"without data augmentation{whose}"
        )
    if source is PAPER or not results:
        of_student = [each.num_hidden_layers for each in PAPER.students]
        score = task.paper_results[of_student.index(student.num_hidden_layers)]
        whose = "" if source is PAPER else " for 4 layers of width 312"
        results.append(
            f"with data augmentation (`prepare augment`) the paper has {task.measure} {score} "
            f"on the GLUE test set{whose}"
        )
    return "; ".join(results) + "."


def _task_distillation(source: Source, task: Task, student: Student) -> Preset:
    """Return the recipe of both phases of a task distillation."""
    end = task.encoder.end_learning_rate
    if source is PAPER:
        parent, epochs = f"recipes/gd/paper_gd_{student.key}.toml", task.paper_epochs
        reproduces = (
            "the TinyBERT paper (section 4.2), without its data augmentation; what it leaves open "
            "is as in the authors' task_distill.py and README."
        )
        differs = "the teacher has no dropout; the authors' code leaves it on."
    else:
        parent, epochs = task.encoder.general_distillation, 10
        reproduces = f"{source.name}: its {task.config}, without data augmentation."
        if not task.example_result:
            reproduces = f"{source.name}, on a task that it does not have: as {task.config}."
        differs = (
            "rows are shuffled (its code never shuffles TFRecord files on one card), all dev rows "
            "count (it drops the last partial batch), and the teacher keeps the head that it was "
            f"trained with (it puts a ReLU before it){task.example_differs}."
        )
    return Preset(
        path=_path(source, "td", task, student),
        template="td",
        title=f"Task distillation on {task.name} into {student}: both phases, from the student of "
        "the general distillation.",
        reproduces=reproduces,
        differs=differs,
        expected=_expected(source, task, student, 0),
        needs="an Ascend 910B, finished runs of the two recipes that it links to, and records:",
        commands=[_records(task, "train"), _records(task, task.dev_sets[0])],
        values={
            **_values(source, task),
            "phase1_end_learning_rate": end,
            "phase2_end_learning_rate": end,
            **source.distill,
            **asdict(student),
            "hard_label_weight": task.hard_label_weight,
            "phase1_epochs": epochs,
            "fine_tuning": _path(source, "finetune", task),
            "general_distillation": parent,
        },
    )


def _evaluation(source: Source, task: Task, student: Student, dev_set: int) -> Preset:
    """Return the recipe that evaluates a student on one dev set of its task."""
    name = task.dev_sets[dev_set]
    part = name.removeprefix("dev").lstrip("_")
    parent = _path(source, "td", task, student)
    path = _path(source, "evaluate", task)
    return Preset(
        path=path.replace(".toml", f"_{part}.toml") if part else path,
        template="evaluate",
        title=f"Evaluation of the student of {Path(parent).name} on the "
        f"{part + ' ' if part else ''}dev set of {task.name}.",
        reproduces=f"the evaluation of {source.name}, on all rows of the dev set.",
        expected=_expected(source, task, student, dev_set),
        needs=f"an Ascend 910B, a finished run of {parent}, and records:",
        commands=[_records(task, name)],
        values={
            **_values(source, task),
            **asdict(student),
            "eval_data_dir": f"data/{task.key}/{name}",
            "task_distillation": parent,
        },
    )


def presets() -> Iterator[Preset]:
    """Yield every recipe that this program writes."""
    yield from general_distillations()
    for task in TASKS:
        for source in (EXAMPLE, PAPER) if task.paper_results else (EXAMPLE,):
            yield _fine_tuning(source, task)
            for student in source.students:
                yield _task_distillation(source, task, student)
        for dev_set in range(len(task.dev_sets)):
            yield _evaluation(EXAMPLE, task, EXAMPLE.students[0], dev_set)


def write(root: Path) -> None:
    """Write all of them below `root`."""
    for preset in presets():
        path = root / preset.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, preset.text().encode())


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
