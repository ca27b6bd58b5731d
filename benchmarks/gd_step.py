"""Time the forward and backward pass of a general-distillation step, paired with PyTorch.

    python benchmarks/gd_step.py --teacher bert-base --steps 15

Both sides do the same arithmetic from the same weights and are timed in turn, step by step, so
that a busy machine slows both. Without PyTorch and transformers only our side is timed. Dropout
masks are made beforehand here: in training they are made in another thread.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mindspore as ms
import numpy as np

from tinybert.data.batch import Batch
from tinybert.distill.distiller import Distiller, FitDense
from tinybert.distill.layer_map import layer_map
from tinybert.distill.normalizers import layer_inputs
from tinybert.model.bert import BertEncoder
from tinybert.model.dropout import dropout_sites, keep_masks
from tinybert.model.layers import load_into
from tinybert.model.parameters import encoder_shapes, fit_shapes, seeded
from tinybert.recipe.network import NetworkConfig

COMMON = {
    "vocab_size": 30522,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
TEACHERS = {
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
}
STUDENT = {"hidden_size": 384, "intermediate_size": 1536}
TORCH_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def network(sizes: dict, arguments: argparse.Namespace, rate: float) -> NetworkConfig:
    """Return a description of one network."""
    return NetworkConfig(
        **COMMON,
        **sizes,
        hidden_act=arguments.activation,
        initializer_range=0.02,
        use_relative_positions=False,
        enable_fused_layernorm=arguments.step_by_step_layernorm,
        dtype="float32",
        compute_type=arguments.compute_type,
        hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
    )


def ours(
    teacher: NetworkConfig, student: NetworkConfig, weights: dict, batch: dict, padding: str
) -> Callable[[], float]:
    """Return our step, already compiled."""
    cell = Distiller(
        BertEncoder(teacher, "teacher."),
        BertEncoder(student, "student."),
        FitDense(student, teacher, "shared"),
        layer_map=layer_map("uniform", teacher.num_hidden_layers, student.num_hidden_layers),
        attention_weight=1.0,
        hidden_weight=1.0,
        padding=padding,
    )
    load_into(cell, weights)
    rows, length = batch["input_mask"].shape
    ordinals = np.arange(rows, dtype=np.uint64)
    hidden, attention, _ = keep_masks(1, dropout_sites(student, length), ordinals)
    given = layer_inputs(Batch(*batch.values()), np.ones(rows, bool), padding)
    inputs = given._replace(hidden_keep=hidden, attention_keep=attention).tensors()
    gradient = ms.value_and_grad(cell, None, cell.trainable_params(), has_aux=True)

    @ms.jit
    def compiled(*batch):
        return gradient(*batch)

    def step() -> float:
        losses, gradients = compiled(*inputs)
        gradients[-1].asnumpy()
        return float(losses[0])

    began = time.perf_counter()
    step()
    print(f"compiled in {time.perf_counter() - began:.1f} s")
    return step


def theirs(
    teacher: NetworkConfig, student: NetworkConfig, weights: dict, batch: dict
) -> Callable[[], float] | None:
    """Return PyTorch's step, or None where it is not installed."""
    try:
        import torch

        from tests.parity import reference
    except ImportError as error:
        print(f"without PyTorch: {error}")
        return None
    torch.set_num_threads(2)
    keys = (*COMMON, "hidden_size", "num_hidden_layers", "intermediate_size")
    sizes = [
        {key: getattr(config, key) for key in keys}
        | {"hidden_act": TORCH_ACTIVATIONS[config.hidden_act]}
        for config in (teacher, student)
    ]
    distillation = reference.Distillation(*sizes, weights, torch.float32)
    for module in distillation.student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = student.hidden_dropout_prob
            module.train()
    trained = list(distillation.trained().values())

    def step() -> float:
        loss = sum(distillation.loss(batch))
        torch.autograd.grad(loss, trained)
        return loss.item()

    step()
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", choices=TEACHERS, default="minilm")
    parser.add_argument("--student-layers", type=int, default=None)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--activation", choices=TORCH_ACTIVATIONS, default="gelu_tanh")
    parser.add_argument("--compute-type", choices=("float32", "float16"), default="float32")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--padding", choices=("include", "ignore"), default="include")
    parser.add_argument("--step-by-step-layernorm", action="store_true")
    arguments = parser.parse_args()

    ms.set_device("CPU")
    teacher = network(TEACHERS[arguments.teacher], arguments, 0.0)
    depth = arguments.student_layers or (4 if teacher.num_hidden_layers == 12 else 3)
    student = network(STUDENT | {"num_hidden_layers": depth}, arguments, arguments.dropout)
    weights = {
        f"{name}.{key}": value
        for name, config in (("teacher", teacher), ("student", student))
        for key, value in seeded(encoder_shapes(config), seed=1, std=0.02, prefix=name).items()
    }
    weights |= seeded(fit_shapes(student, teacher, "shared"), seed=1, std=0.02, prefix="")
    generator = np.random.default_rng(1)
    shape = (arguments.rows, arguments.length)
    batch = {
        "input_ids": generator.integers(1, COMMON["vocab_size"], shape).astype(np.int32),
        "segment_ids": np.zeros(shape, np.int32),
        "input_mask": np.ones(shape, np.int32),
    }
    mine = ours(teacher, student, weights, batch, arguments.padding)
    other = theirs(teacher, student, weights, batch)
    sides = {"tinybert": mine} | ({"pytorch": other} if other else {})
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.steps):
        for name, step in sides.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    for name, times in seconds.items():
        print(f"{name:9} median {statistics.median(times):.3f} s, best {min(times):.3f} s")
    if other:
        pairs = zip(seconds["pytorch"], seconds["tinybert"], strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        print(f"speed relative to PyTorch: {ratio:.2f} (median of pairs)")


if __name__ == "__main__":
    main()
