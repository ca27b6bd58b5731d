"""The package under test, built from the reference's sizes and weights."""

import mindspore as ms
import numpy as np

from tests.distill.tables import losses
from tests.model.networks import tiny
from tinybert.data.batch import Batch
from tinybert.distill.distiller import Distiller, FitDense
from tinybert.distill.normalizers import layer_inputs
from tinybert.model.bert import BertEncoder
from tinybert.model.layers import load_into
from tinybert.recipe.network import NetworkConfig

GATES = {"hidden": 2e-5, "pooled": 1e-4, "loss": 1e-6, "gradient": 2e-5, "scores": 2e-6}
"""Absolute, absolute, relative, relative L2, relative to the largest; never relaxed.

Hidden states are normed, so that they are of one size in all networks. Scores are not: 16 roundings
of the largest, which processors of different makers differ by.
"""


def config(sizes: dict, hidden_act: str) -> NetworkConfig:
    """Return a network of the reference's sizes, float32, without dropout."""
    return tiny(**sizes, hidden_act=hidden_act, initializer_range=0.02)


def distiller(
    teacher: NetworkConfig, student: NetworkConfig, weights: dict, padding: str, **others
) -> Distiller:
    """Return the distiller with these weights, and other losses than the published ones."""
    cell = Distiller(
        BertEncoder(teacher, "teacher."),
        BertEncoder(student, "student."),
        FitDense(student, teacher, "shared"),
        losses("uniform", padding=padding, **others),
    )
    load_into(cell, weights)
    return cell


def inputs(batch: dict, padding: str) -> list[ms.Tensor]:
    """Return the distiller's inputs for one batch."""
    return layer_batch(batch, padding).tensors()


def layer_batch(batch: dict, padding: str) -> Batch:
    """Return a batch with the distiller's loss normalizers."""
    rows = Batch(*(batch[name] for name in ("input_ids", "segment_ids", "input_mask")))
    return layer_inputs(rows, np.ones(len(rows.input_mask), bool), padding)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the L2 norm of the difference over that of the reference."""
    difference = np.linalg.norm((ours.astype(np.float64) - theirs).ravel())
    return float(difference / np.linalg.norm(theirs.astype(np.float64).ravel()))


def compiled_outputs(cell: Distiller):
    """Return a function of a batch: hidden states, scores and pooled of teacher and student."""

    @ms.jit
    def outputs(input_ids, segment_ids, input_mask):
        results = ()
        for encoder in (cell.teacher, cell.student):
            hidden, scores, _ = encoder(input_ids, segment_ids, input_mask)
            results += ((hidden, scores, encoder.pooled(hidden[-1])),)
        return results

    return outputs


def compiled_gradient(cell: Distiller):
    """Return a function of the distiller's inputs: its outputs and the trained gradients."""
    gradient = ms.value_and_grad(cell, None, cell.trainable_params(), has_aux=True)

    @ms.jit
    def value_and_gradient(*batch):
        return gradient(*batch)

    return value_and_gradient
