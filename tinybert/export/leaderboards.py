"""The files that leaderboards want.

Sources: gluebenchmark.com/faq, and the page about submissions of github.com/CLUEbenchmark/CLUE.
"""

from dataclasses import dataclass

from tinybert.recipe.task_types import TaskType


@dataclass(frozen=True)
class Submission:
    """A file of predictions, as a leaderboard wants it."""

    file: str
    """Its name."""
    task: str
    """Of `prepare`, whose labels are the official ones."""
    task_type: TaskType = "classification"


SUBMISSIONS = {
    **{
        name: Submission(f"{name}.tsv", name)
        for name in ("CoLA", "SST-2", "MRPC", "QQP", "QNLI", "RTE", "WNLI")
    },
    "STS-B": Submission("STS-B.tsv", "STS-B", "regression"),
    "MNLI-m": Submission("MNLI-m.tsv", "MNLI"),
    "MNLI-mm": Submission("MNLI-mm.tsv", "MNLI"),
    "AX": Submission("AX.tsv", "MNLI"),
    "TNEWS-1.0": Submission("tnews10_predict.json", "TNEWS"),
    "TNEWS-1.1": Submission("tnews11_predict.json", "TNEWS"),
    "CLUENER": Submission("cluener_predict.json", "cluener", "ner"),
    "CMRC-2018": Submission("cmrc2018_predict.json", "CMRC-2018", "question_answering"),
    "SQuAD-1.1": Submission("predictions.json", "SQuAD-1.1", "question_answering"),
    "SQuAD-2.0": Submission("predictions.json", "SQuAD-2.0", "question_answering"),
}
"""By the name of the leaderboard's part."""
