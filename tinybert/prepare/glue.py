"""The tasks of GLUE, and TNEWS of CLUE, as their files have them.

Sources: gluebenchmark.com, cluebenchmarks.com; the label orders are those of the BERT and CLUE
baselines. Test files carry no labels, but MRPC's own (msr_paraphrase_test.txt).
"""

from dataclasses import dataclass

from tinybert.prepare.reading import TableFormat


@dataclass(frozen=True)
class GlueTask:
    """Where a task's files keep texts and label."""

    texts: tuple[str, ...]
    """Columns of the text, or of both texts of a pair."""
    label: str
    """Column of the label."""
    labels: tuple[str, ...] | None
    """Label names in the order of their ids; None: labels are numbers."""
    columns: tuple[str, ...] = ()
    """All columns of files without a header."""
    format: TableFormat = "tsv"
    """How the files are written."""
    damaged: bool = False
    """Rows of a wrong number of columns are left out and counted, and empty texts are kept."""
    samples: int | None = None
    """Augmented rows of a row in TinyBERT's own program (data_augmentation.py); None: it has not
    this task."""


_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
_BINARY = ("0", "1")

GLUE_TASKS = {
    "CoLA": GlueTask(
        ("sentence",),
        "label",
        _BINARY,
        columns=("source", "label", "mark", "sentence"),
        samples=30,
    ),
    "SST-2": GlueTask(("sentence",), "label", _BINARY, samples=20),
    "MRPC": GlueTask(("#1 String", "#2 String"), "Quality", _BINARY, samples=30),
    "STS-B": GlueTask(_PAIR, "score", None, samples=30),
    # The training file has questions with line ends in them, whose rows the field leaves out
    # (363,846 rows remain), and two empty questions.
    "QQP": GlueTask(("question1", "question2"), "is_duplicate", _BINARY, damaged=True, samples=10),
    "MNLI": GlueTask(_PAIR, "gold_label", ("contradiction", "entailment", "neutral"), samples=10),
    "QNLI": GlueTask(("question", "sentence"), "label", _ENTAILMENT, samples=20),
    "RTE": GlueTask(_PAIR, "label", _ENTAILMENT, samples=30),
    "WNLI": GlueTask(_PAIR, "label", _BINARY),
    "TNEWS": GlueTask(
        ("sentence",),
        "label",
        tuple(str(code) for code in range(100, 117) if code not in (105, 111)),
        format="jsonl",
    ),
}
