"""What the built objects really do, read from them and not from the recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

import mindspore as ms
from mindspore import Parameter
from mindspore.communication import GlobalComm, get_group_size

from tinybert.errors import TrainingError
from tinybert.model.graph_masks import MaskedNetwork
from tinybert.train.graph import CompiledGraph
from tinybert.train.multi_step import MultiStep
from tinybert.train.step import TrainingStep

Facts = Mapping[str, Any]


def sampled_steps(total_steps: int, warmup_steps: int) -> list[int]:
    """Return the updates whose learning rates are recorded: ends, quarters, end of the warmup."""
    last = total_steps - 1
    steps = {0, 1, warmup_steps - 1, warmup_steps, last // 4, last // 2, 3 * last // 4, last}
    return sorted(step for step in steps if 0 <= step <= last)


def read_topology() -> dict[str, Any]:
    """Return the device and the number of processes that the framework computes on."""
    processes = get_group_size() if GlobalComm.INITED else 1
    return {"device": ms.get_context("device_target"), "processes": processes}


def read_runtime(called: TrainingStep | MultiStep) -> dict[str, Any]:
    """Return how the compiled step, or steps, are executed."""
    sink, steps, step = False, 1, called
    if isinstance(called, MultiStep):
        sink, steps, step = True, called.steps, called.step
    return {
        "mode": "graph",
        "enable_data_sink": sink,
        "data_sink_steps": steps,
        "dropout_masks": "graph" if isinstance(step.network, MaskedNetwork) else "host",
    }


def read_step(step: TrainingStep) -> dict[str, Any]:
    """Return schedule, loss scale, clipping and decay groups of a step before its first run."""
    rates = step.learning_rates.asnumpy()
    optimizer = step.optimizer
    decays = list(zip(optimizer.parameters, optimizer.decay, strict=True))
    return {
        "total_steps": len(rates),
        "warmup_steps": step.schedule.warmup_steps,
        "learning_rates": {
            str(s): float(rates[s]) for s in sampled_steps(len(rates), step.schedule.warmup_steps)
        },
        "loss_scale": {
            "loss_scale_value": float(step.loss_scale.asnumpy()),
            "scale_factor": step.scale_factor,
            "scale_window": step.scale_window,
        },
        "optimizer": {
            "optimizer": type(optimizer).__name__,
            "betas": list(optimizer.betas),
            "eps": optimizer.eps,
            "clip_norm": step.clip_norm,
            "decay_groups": {
                repr(value): sorted(p.name for p, decay in decays if decay == value)
                for value in sorted(set(optimizer.decay))
            },
        },
    }


def read_compiled_graph(graph: CompiledGraph, scopes: Mapping[str, str]) -> dict[str, Any]:
    """Return the graph's digest and its matrix products by type of their inputs.

    Args:
        graph: The compiled step.
        scopes: Part of the operators' scope that tells a network, by the network's name.
    """
    return {
        "graph_digest": graph.digest,
        "matrix_products": {
            name: graph.matrix_product_inputs(scope) for name, scope in scopes.items()
        },
    }


def parameter_counts(groups: Mapping[str, Sequence[Parameter]]) -> dict[str, int]:
    """Return the number of scalars in each group of parameters."""
    return {name: sum(p.size for p in parameters) for name, parameters in groups.items()}


def require_as_requested(requested: Facts, effective: Facts) -> None:
    """Raise a TrainingError that lists every requested fact that is not what was built."""
    differences = _differences(requested, effective, "")
    if differences:
        raise TrainingError(
            "what was built is not what the recipe asks for:"
            + "".join(f"\n  - {difference}" for difference in differences),
            cure="this is a defect of the program or the framework; please report it",
        )


def _differences(requested: Any, effective: Any, path: str) -> list[str]:
    if isinstance(requested, Mapping) and isinstance(effective, Mapping):
        found = []
        for key, value in requested.items():
            found += _differences(value, effective.get(key), f"{path}.{key}" if path else key)
        return found
    if requested == effective:
        return []
    return [f"{path}: requested {requested!r}, built {effective!r}"]
