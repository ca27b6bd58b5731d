"""The predictions that an evaluation kept, checked by the digest in its manifest."""

from tinybert.errors import InputError
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.manifest.document import Run
from tinybert.metrics.predictions import Predictions


def kept_predictions(run: Run) -> Predictions | None:
    """Return the predictions of an evaluation, read from its folder; None if it kept none.

    Raises:
        InputError: They are missing or damaged, or are not those of the manifest.
    """
    outcome = run.manifest.outcome
    if run.manifest.inputs.stage != "evaluate" or not outcome.checkpoints:
        return None
    kept = outcome.checkpoints[-1]
    predictions = Predictions.load(run.folder / kept.file)
    if tensor_digest(tensor_table(predictions.arrays())) != kept.tensor_digest:
        raise InputError("other predictions", where=str(run.folder / kept.file))
    return predictions
