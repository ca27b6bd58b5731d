"""The model card beside an export for transformers: README.md with numbers, lineage, how to check.

`card.md.jinja` is its text. The header is the metadata that Hugging Face reads.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined

from tinybert.errors import ManifestError
from tinybert.export.network import TrainedNetwork
from tinybert.export.source import Source
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.manifest.document import Run, newest_first
from tinybert.manifest.model import Number
from tinybert.model.checkpoint_files import WEIGHTS
from tinybert.plan.parent_runs import LinkedRun
from tinybert.report.assessed import AssessedRun
from tinybert.report.lineage import Ancestor, ancestors, parent_links
from tinybert.report.runs import main_metric
from tinybert.report.words import STAGES, metric_words, stage_words

CARD = "README.md"
WIDTH = 80
"""Characters of a line."""
PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "multi_label_classification": "text-classification",
    "ner": "token-classification",
    "question_answering": "question-answering",
}
METRIC_TYPES = {
    "bf1": "f1",
    "mf1": "f1",
    "micro_f1": "f1",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "entity_precision": "precision",
    "entity_recall": "recall",
    "entity_f1": "f1",
}
"""What Hugging Face calls metrics, where it is another name."""


@dataclass(frozen=True)
class CardMetric:
    """A metric of the exported network."""

    name: str
    value: float
    interval: str
    """Empty where it is not known."""

    @property
    def type(self) -> str:
        """Its name in the metadata."""
        return METRIC_TYPES.get(self.name, self.name)

    @property
    def words(self) -> str:
        """Its name for people."""
        return metric_words(self.name)


@dataclass(frozen=True)
class Measured:
    """Where metrics come from."""

    run: Run
    rows: int
    """Of the dev set; 0 where nothing was evaluated."""
    data: str
    """The dev set's directory, or that of the training records."""
    metrics: list[CardMetric]


def model_card(source: Source) -> str:
    """Return the card of a network as Markdown."""
    network, run = source.network, source.run
    templates = Environment(
        loader=PackageLoader("tinybert.export", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters |= {"code": code, "quoted": partial(json.dumps, ensure_ascii=False)}
    text = templates.get_template("card.md.jinja").render(
        title=_title(source),
        run=run,
        recipe=None if run is None else run.manifest.inputs.recipe,
        network=network,
        described=" ".join(_description(network, source)),
        pipeline=_pipeline(network),
        measured=None if run is None else _measured(run),
        chain=[] if run is None else list(ancestors(run.path, parent_links(run))),
        stage_words=stage_words,
        result_of=_result_of,
        tensors=tensor_digest(tensor_table(network.arrays)),
    )
    return _wrapped(text)


def _title(source: Source) -> str:
    if source.run is not None:
        return source.run.manifest.inputs.recipe.name
    file = source.file.absolute()
    return file.parent.name if file.name == WEIGHTS else file.stem


def code(text: object) -> str:
    """Return a name as code; what Markdown would take for something else is replaced."""
    plain = " ".join(str(text).split()).replace("`", "'").replace("|", "/")
    return f"`{plain}`"


def _description(network: TrainedNetwork, source: Source) -> Iterator[str]:
    """Yield sentences about the network and its texts."""
    config, head, texts = network.config, network.head, source.texts
    count = sum(array.size for array in network.arrays.values())
    yield (
        f"A BERT of {config.num_hidden_layers} layers of width {config.hidden_size}, with "
        f"{config.num_attention_heads} attention heads: {count:,} parameters."
    )
    if head is None:
        yield "It has no head: it gives hidden states, for a task to be learned."
    elif head.task_type == "regression":
        yield f"It gives {'a number' if head.num_labels == 1 else 'numbers'} to a text."
    elif head.task_type == "question_answering":
        yield "It answers a question with a part of a context."
    else:
        unit = "word" if head.task_type == "ner" else "pair of texts" if texts.pairs else "text"
        names = f": {', '.join(map(code, network.labels))}" if network.labels else ""
        some = "any" if head.task_type == "multi_label_classification" else "one"
        yield f"It gives {some} of {head.num_labels} labels to a {unit}{names}."
    yield f"It was trained on rows of at most {texts.seq_length} tokens."


def _pipeline(network: TrainedNetwork) -> str:
    if network.head is not None:
        return PIPELINES[network.head.task_type]
    return "fill-mask" if "cls.predictions.bias" in network.arrays else "feature-extraction"


def _measured(run: LinkedRun) -> Measured | None:
    """Return the newest evaluation of a run's network, or else what the run measured itself."""
    own = run.manifest.outcome
    for evaluation in _evaluations(run):
        if measured := _recorded(evaluation, evaluation.manifest.outcome.metrics, ""):
            return measured
    best = own.best_checkpoint is not None and run.recorded == own.best_checkpoint
    if best:
        return _recorded(run, own.best_metrics, "best ")
    return _recorded(run, own.metrics, "")


def _evaluations(run: Run) -> Iterator[Run]:
    """Yield the finished evaluations of the network that a run left, the newest first."""
    for path in newest_first(run.root):
        try:
            other = Run.load(path)
        except ManifestError:
            continue
        parents = [parent.outcome_digest for parent in other.manifest.inputs.parents]
        if other.manifest.inputs.stage == "evaluate" and other.status == "finished":
            if run.manifest.digests.outcome in parents:
                yield other


def _recorded(run: Run, metrics: dict[str, Number], prefix: str) -> Measured | None:
    """Return metrics of a run with their intervals, those of its last losses left out."""
    inputs, built = run.manifest.inputs, run.manifest.effective
    intervals = AssessedRun(run).intervals
    shown = [
        CardMetric(
            name,
            float(value),
            str(intervals[prefix + name]) if prefix + name in intervals else "",
        )
        for name, value in metrics.items()
        if "loss" not in name or name.startswith(("mean_", "eval_"))
    ]
    rows = built.rows.get("eval_data", 0) if built is not None else 0
    data = inputs.recipe.values.get("data") or {}
    place = data.get("eval_data_dir") or data.get("data_dir") or data.get("train_data_dir") or ""
    return Measured(run, rows, str(place), shown) if shown else None


def _result_of(ancestor: Ancestor) -> str:
    """Return stage and main metric of a run that led to another one."""
    if ancestor.run is None:
        return "its manifest is not here"
    name, value = main_metric(ancestor.run)
    stage = STAGES.get(ancestor.run.manifest.inputs.stage, "").lower()
    return stage if value is None else f"{stage}, {metric_words(name).lower()} {value:.4g}"


def _wrapped(text: str) -> str:
    """Return Markdown whose sentences are broken into lines; header, code and tables stay."""
    lines, fenced = [], 0
    for line in text.split("\n"):
        fenced += line.startswith(("```", "---"))
        plain = fenced % 2 or not line or line.startswith(("|", "#"))
        indent = "  " if line.startswith("- ") else ""
        wrap = textwrap.TextWrapper(
            WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        lines += [line] if plain else wrap.wrap(line)
    return "\n".join(lines)
