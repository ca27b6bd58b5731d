"""Names of stages, metrics, devices and times for people."""

import re
from typing import Any

from markupsafe import Markup

from tinybert.manifest.document import Run, parse_utc

STAGES = {
    "general_distill": "General distillation",
    "task_distill": "Task distillation",
    "finetune": "Fine-tuning",
    "evaluate": "Evaluation",
}
SPACE = "\N{NO-BREAK SPACE}"
PHASE = re.compile(r"^phase(\d) ")
METRICS = {
    "accuracy": "Accuracy",
    "bf1": "F1",
    "mf1": "Mean F1",
    "micro_f1": "F1 over all labels",
    "entity_f1": "Entity F1",
    "exact_match": "Exact match",
    "f1": "F1 of answers",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "matthews": "Matthews correlation",
    "eval_loss": "Held-out loss",
    "mean_loss": "Mean loss",
}


def metric_words(name: str) -> str:
    """Return the name of a metric, whether of the best evaluation or of the last."""
    plain = name.removeprefix("best ")
    words = METRICS.get(plain, PHASE.sub(r"phase \1 ", plain.replace("_", " ")))
    return words[:1].upper() + words[1:]


def stage_words(run: Run) -> str:
    """Return the name of a run's stage."""
    stage = run.manifest.inputs.stage
    return STAGES.get(stage, stage)


def device_words(run: Run) -> str:
    """Return what a run computed on; empty before it started."""
    if run.manifest.environment is None:
        return ""
    topology = run.manifest.environment.topology
    count = topology.processes
    return topology.device if count == 1 else f"{count} x {topology.device}"


def time_words(run: Run) -> str:
    """Return when a run began, in UTC."""
    created = run.manifest.volatile.created
    time = parse_utc(created)
    if time is None:
        return created
    return f"{time.day} {time:%B %Y, %H:%M} UTC"


def summary_of(recipe: str) -> str:
    """Return what a recipe's opening comment says of it first, beside the command that runs it."""
    paragraphs: list[list[str]] = [[]]
    for line in recipe.splitlines():
        if not line.startswith("#"):
            break
        text = line[1:].strip()
        if text.startswith((":schema", "python ")) or not text:
            paragraphs.append([])
        else:
            paragraphs[-1].append(text)
    return next((" ".join(lines) for lines in paragraphs if lines), "")


def network_words(values: dict[str, Any], role: str) -> str:
    """Return layers and width of a network of a recipe; empty without it."""
    table = values.get(role) or {}
    layers, width = table.get("num_hidden_layers"), table.get("hidden_size")
    if not layers or not width:
        return ""
    return f"{layers}{SPACE}\N{MULTIPLICATION SIGN}{SPACE}{width}"


def change_words(name: str, a: Markup, b: Markup, rises: bool | None) -> Markup:
    """Return how a metric went from one run to another; None: it is the same."""
    if rises is None:
        return Markup("{} is {} in both.").format(name, a)
    return Markup("{} {} from {} to {}.").format(name, "rose" if rises else "fell", a, b)
