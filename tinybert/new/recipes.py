"""The recipes of a chain: fine-tuning, general and task distillation, evaluation.

Every value is followed by its origin; the comment that opens a recipe explains the origins.
"""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill

from tinybert.new import entries
from tinybert.new.entries import HEAD, Chain, Entry
from tinybert.new.sources import RecordsPlace
from tinybert.recipe.keys import as_toml

WIDTH = 100
"""Columns of a comment."""
ORIGINS = (
    "after each value: `teacher` or `student`, its config.json; `records`, the records.json of "
    "the data; `paper`, TinyBERT (arXiv 1909.10351, section 4); `bert`, BERT (arXiv 1810.04805, "
    "appendix A.3); `here`, chosen for small data on one machine; `you`, the command above; "
    "`form`, what the files or the machine are."
)
Tables = Mapping[str, Sequence[Entry]]
"""Entries by the name of their table; the first is the top."""


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
    teacher = [*entries.sizes(chain, "teacher"), *entries.dropout(chain, "teacher"), HEAD]
    return _text(
        chain,
        "finetune",
        f"Fine-tuning of {chain.teacher.place}: the teacher of {chain.name}_distill.toml.",
        {
            "": [("stage", "finetune", ""), ("seed", 1, "here")],
            "network": entries.network_table(chain, "teacher"),
            "teacher": [("load_teacher_ckpt_path", chain.teacher.place, "you"), *teacher],
            "task": entries.task(chain),
            "data": [*entries.task_data(chain), ("global_batch_size", entries.batch(rows), "bert")],
            **entries.training("", rows, entries.FINETUNE, evaluated=True),
            **entries.machine(chain),
            "expect": [("finite_loss", True, "here")],
        },
    )


def _general(chain: Chain, corpus: RecordsPlace) -> str:
    rows = corpus.sidecar.rows
    student = [
        entries.student_weights(chain),
        *entries.sizes(chain, "student"),
        *entries.own(chain, "student"),
    ]
    return _text(
        chain,
        "general",
        f"General distillation of {chain.teacher.place} on plain text: what the student of "
        f"{chain.name}_distill.toml begins from.",
        {
            "": [("stage", "general_distill", ""), ("seed", 1, "here")],
            "network": entries.network_table(chain, "teacher", "student"),
            "teacher": [
                ("load_teacher_ckpt_path", chain.teacher.place, "you"),
                *entries.sizes(chain, "teacher"),
                *entries.own(chain, "teacher"),
            ],
            "student": [*student, *entries.dropout(chain, "student")[:2]],
            "data": [
                ("dataset_type", corpus.sidecar.dataset_type, "records"),
                ("data_dir", corpus.place, "you"),
                *entries.schema_entry(corpus, "schema_dir"),
                *entries.rows(corpus),
                ("do_shuffle", True, "paper"),
                ("global_batch_size", entries.batch(rows), "here"),
            ],
            "distill": entries.losses(chain),
            **entries.training("", rows, entries.GENERAL),
            **entries.machine(chain),
            "expect": [("finite_loss", True, "here")],
        },
    )


def _distill(chain: Chain) -> str:
    rows = chain.records.train.sidecar.rows
    start = entries.student_weights(chain)
    if chain.corpus is not None:
        start = ("load_student_ckpt_path", {"recipe": chain.path("general")}, "chain")
    hard = 1.0 if chain.task_type == "regression" else 0.0
    teacher = [*entries.sizes(chain, "teacher"), *entries.own(chain, "teacher"), HEAD]
    student = [
        *entries.sizes(chain, "student"),
        *entries.own(chain, "student"),
        *entries.dropout(chain, "student"),
    ]
    batch: Entry = ("global_batch_size", entries.batch(rows), "paper")
    return _text(
        chain,
        "distill",
        f"Task distillation into {chain.student.config.num_hidden_layers} layers of width "
        f"{chain.student.config.hidden_size}: layers first, then predictions.",
        {
            "": [("stage", "task_distill", ""), ("seed", 1, "here")],
            "network": entries.network_table(chain, "teacher", "student"),
            "teacher": [
                ("load_teacher_ckpt_path", {"recipe": chain.path("finetune")}, "chain"),
                *teacher,
            ],
            "student": [start, *student, HEAD],
            "task": entries.task(chain),
            "data": entries.task_data(chain),
            "phase1": [batch],
            "phase1.distill": entries.losses(chain),
            **entries.training("phase1.", rows, entries.PHASE1),
            "phase2": [batch],
            "phase2.distill": [
                ("temperature", 1.0, "paper"),
                ("hard_label_weight", hard, "paper"),
            ],
            **entries.training("phase2.", rows, entries.PHASE2, evaluated=True),
            **entries.machine(chain, cache=True),
            "expect": [("finite_loss", True, "here")],
        },
    )


def _evaluate(chain: Chain) -> str:
    student = [*entries.sizes(chain, "student"), HEAD]
    rows = chain.records.dev.sidecar.rows
    return _text(
        chain,
        "evaluate",
        f"Evaluation of the student of {chain.name}_distill.toml on the dev set.",
        {
            "": [("stage", "evaluate", ""), ("seed", 1, "here")],
            "network": entries.network_table(chain, "student"),
            "student": [
                ("load_student_ckpt_path", {"recipe": chain.path("distill")}, "chain"),
                *student,
            ],
            "task": entries.task(chain),
            "data": [*entries.eval_data(chain), ("global_batch_size", entries.batch(rows), "here")],
            **entries.machine(chain),
        },
    )


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
    for name, table in tables.items():
        lines += ["", *([f"[{name}]"] if name else []), *_lines(table)]
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


def _lines(table: Sequence[Entry]) -> Iterator[str]:
    """Yield `key = value`, with the origins below each other."""
    written = [f"{key} = {as_toml(value)}" for key, value, _ in table]
    column = min(56, max(map(len, written)))
    for line, (_, _, origin) in zip(written, table, strict=True):
        yield f"{line:{column}}  # {origin}" if origin else line
