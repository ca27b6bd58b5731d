"""Evaluation: a network's predictions for labelled rows, and their metrics."""

import json

from tinybert.atomic import write_bytes
from tinybert.manifest.built import RuntimeFacts, TrainingFacts
from tinybert.manifest.canonical import digest
from tinybert.manifest.checkpoints import tensor_table
from tinybert.manifest.record import RunRecord
from tinybert.metrics.predictions import ARRAYS_FILE, LINES_FILE, Predictions
from tinybert.recipe.model import Evaluate
from tinybert.recipe.tables import global_batch_size
from tinybert.stages import tasks
from tinybert.stages.context import RunContext, StageResult
from tinybert.stages.facts import graph_facts, run_facts
from tinybert.train import effective
from tinybert.train.evaluation import AnswerEvaluation, Logits

ANSWERS_FILE = "answers.json"
"""Of questions: their answers by id."""


def evaluate(recipe: Evaluate, context: RunContext) -> StageResult:
    """Measure a network on labelled rows, and keep its predictions."""
    plan, record = context.plan, context.record
    (role,) = plan.networks
    network = tasks.task_network(plan, role, context.loaded)
    batch_size = global_batch_size(recipe.data, recipe.topology)
    drop_remainder = recipe.data.drop_remainder
    evaluation = tasks.evaluation(
        context, recipe, network, batch_size=batch_size, drop_remainder=drop_remainder
    )
    runtime = RuntimeFacts(
        mode="graph",
        enable_data_sink=False,
        micro_batches=evaluation.inference.ordered.micro_batches,
    )
    run = run_facts(plan, runtime)
    weights = list(network.get_parameters())
    facts = effective.with_networks(TrainingFacts(), {role: weights}, batch_size)
    facts = effective.with_packing(facts, evaluation.inference.ordered.packing)
    context.world.require_equal("networks and settings", digest(facts))
    context.provenance.check(record)
    record.start(run.with_training(facts, None), context.environment)
    context.report_activity("evaluating")
    logits, label_ids = evaluation.logits()
    context.provenance.write(record)
    facts = graph_facts(facts, context, "Prediction", {role: "/network-TaskNetwork/"})
    record.update(effective=run.with_training(facts, None))
    predictions = evaluation.predictions(logits, label_ids)
    _keep(record, predictions)
    if isinstance(evaluation, AnswerEvaluation):
        _keep_answers(record, evaluation, logits)
    metrics = evaluation.metrics_of(predictions)
    return StageResult(finished=True, optimizer_steps=0, samples=len(logits), metrics=metrics)


def _keep_answers(record: RunRecord, evaluation: AnswerEvaluation, logits: Logits) -> None:
    """Write the answers by the ids of the questions, as the official programs read them."""
    asked = evaluation.questions.questions
    pairs = zip(asked, evaluation.answers(logits), strict=True)
    texts = {question.id: answer.text for question, answer in pairs}
    content = json.dumps(texts, ensure_ascii=False, indent=1)
    write_bytes(record.directory / ANSWERS_FILE, f"{content}\n".encode())


def _keep(record: RunRecord, predictions: Predictions) -> None:
    """Write the predictions: as arrays, whose digest is in the outcome, and as lines."""
    path = record.directory / ARRAYS_FILE
    predictions.save(path)
    record.checkpoint(0, path, tensor_table(predictions.arrays()))
    write_bytes(record.directory / LINES_FILE, predictions.lines())
