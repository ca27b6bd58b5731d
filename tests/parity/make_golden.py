"""Write the golden files from transformers and PyTorch alone: python tests/parity/make_golden.py.

Weights and inputs are float32; the reference runs in float64, so that a difference is ours.
`common.safetensors` holds weights and inputs; `gelu.safetensors` and `gelu_tanh.safetensors` the
results with each activation; `settings.json` every number that a test needs besides.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parent))

import reference
from reference import COMMON, STUDENT, TEACHER

GOLDEN = Path(__file__).parent / "golden"
OPTIMIZER = {"betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0.01, "clip_norm": 1.0}
SCHEDULE = {"peak": 1e-3, "end": 1e-6, "power": 1.0, "warmup": 4, "total": 20}
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}
INJECTED_RATE = 0.01
INJECTED_FACTOR = 2.0**-4


def main() -> None:
    torch.set_num_threads(1)
    generator = np.random.default_rng(20191023)
    weights = reference.random_weights(TEACHER, "teacher.", generator)
    weights |= reference.random_weights(STUDENT, "student.", generator)
    fit = generator.standard_normal((TEACHER["hidden_size"], STUDENT["hidden_size"])) * 0.5
    weights["fit_dense.weight"] = fit.astype(np.float32)
    bias = generator.standard_normal(TEACHER["hidden_size"]) * 0.5
    weights["fit_dense.bias"] = bias.astype(np.float32)
    rows = [
        reference.random_batch(generator, 4, 12, COMMON["vocab_size"])
        for _ in range(SCHEDULE["total"])
    ]
    batches = {k: np.stack([row[k] for row in rows]) for k in rows[0]}
    GOLDEN.mkdir(exist_ok=True)
    save_file(weights | batches, GOLDEN / "common.safetensors")
    losses = {}
    for name, hidden_act in ACTIVATIONS.items():
        results, losses[name] = expected(weights, rows, hidden_act)
        save_file(results, GOLDEN / f"{name}.safetensors")
    settings = {
        "teacher": TEACHER,
        "student": STUDENT,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "injected": {"learning_rate": INJECTED_RATE, "factor": INJECTED_FACTOR},
        "losses": losses,
    }
    (GOLDEN / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")


def expected(weights: dict, rows: list, hidden_act: str) -> tuple[dict, dict]:
    """Return tensors by name, float32, and the losses as numbers."""
    sizes = [sizes | {"hidden_act": hidden_act} for sizes in (TEACHER, STUDENT)]
    network = reference.Distillation(*sizes, weights, torch.float64)
    results: dict[str, torch.Tensor] = {}
    for name in ("teacher", "student"):
        with torch.no_grad():
            hidden, scores, pooled = reference.run(getattr(network, name), rows[0])
        results |= {f"{name}.hidden.{i}": x for i, x in enumerate(hidden)}
        results |= {f"{name}.scores.{i}": x for i, x in enumerate(scores)}
        results[f"{name}.pooled"] = pooled
    losses: dict[str, object] = {}
    for padding in ("include", "ignore"):
        attention, fitted = network.loss(rows[0], padding)
        losses[padding] = {"attention": attention.item(), "hidden": fitted.item()}
        gradients = torch.autograd.grad(attention + fitted, list(network.trained().values()))
        results |= {
            f"gradient.{padding}.{name}": gradient
            for name, gradient in zip(network.trained(), gradients, strict=True)
        }
    fresh = reference.Distillation(*sizes, weights, torch.float64)
    rates = reference.learning_rates(**SCHEDULE)
    losses["curve"] = reference.train(fresh, rows, rates, OPTIMIZER)
    if hidden_act == "gelu":
        results |= updated(network.trained(), results)
    else:  # what the other file holds already, as far as the activation goes
        results = {
            k: v
            for k, v in results.items()
            if not k.startswith(("gradient.ignore", "teacher.scores"))
        }
    arrays = {k: np.ascontiguousarray(v.detach().numpy(), np.float32) for k, v in results.items()}
    return arrays, losses


def updated(named: dict, results: dict) -> dict[str, torch.Tensor]:
    """Return the weights after two updates with the same injected gradients.

    They are the float32 values of the loss's gradients times a factor that leaves some norms
    under the clip.
    """
    gradients = {
        name: results[f"gradient.include.{name}"].float().double() * INJECTED_FACTOR
        for name in named
    }
    norms = [float(gradient.norm()) for gradient in gradients.values()]
    assert min(norms) < OPTIMIZER["clip_norm"] / 2 and max(norms) > OPTIMIZER["clip_norm"] * 2
    state: dict = {}
    for _ in range(2):
        reference.clip_and_update(named, gradients, state, learning_rate=INJECTED_RATE, **OPTIMIZER)
    return {f"updated.{name}": value for name, value in named.items()}


if __name__ == "__main__":
    main()
