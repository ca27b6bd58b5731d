"""What the built objects really do, read from them and not from the recipe."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace

import mindspore as ms
import numpy as np
from mindspore import Parameter
from mindspore.communication import GlobalComm, get_group_size

from tinybert.data.packing import Packing
from tinybert.errors import TrainingError, bulleted
from tinybert.manifest.built import (
    BuiltTopology,
    LossScaleFacts,
    OptimizerFacts,
    PackingFacts,
    TrainingFacts,
    TrainingRuntimeFacts,
)
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.model.bert import Embeddings, SelfAttention
from tinybert.model.graph_masks import MaskedNetwork
from tinybert.train.graph import CompiledGraph
from tinybert.train.step import CompiledStep, TrainingStep

_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")


def sampled_steps(total_steps: int, warmup_steps: int) -> list[int]:
    """Return the updates whose learning rates are recorded: ends, quarters, end of the warmup."""
    last = total_steps - 1
    steps = {0, 1, warmup_steps - 1, warmup_steps, last // 4, last // 2, 3 * last // 4, last}
    return sorted(step for step in steps if 0 <= step <= last)


def read_topology() -> BuiltTopology:
    """Return the device and the number of processes that the framework computes on."""
    processes = get_group_size() if GlobalComm.INITED else 1
    return BuiltTopology(device=ms.get_context("device_target"), processes=processes)


def read_runtime(compiled_step: CompiledStep) -> TrainingRuntimeFacts:
    """Return how the compiled step, or steps, are executed."""
    masked = isinstance(compiled_step.step.network, MaskedNetwork)
    return TrainingRuntimeFacts(
        mode="graph",
        enable_data_sink=compiled_step.enable_data_sink,
        micro_batches=compiled_step.micro_batches,
        data_sink_steps=compiled_step.steps_per_call,
        dropout_masks="graph" if masked else "host",
    )


def read_step(step: TrainingStep) -> TrainingFacts:
    """Return schedule, loss scale, update rule and padding of a step before its first run."""
    rates = step.learning_rates.asnumpy()
    optimizer = step.optimizer
    cells = [cell for _, cell in step.network.cells_and_names()]
    decays = list(zip(optimizer.parameters, optimizer.decay, strict=True))
    return TrainingFacts(
        num_attention_heads={
            _network(cell.query.weight): cell.heads
            for cell in cells
            if isinstance(cell, SelfAttention)
        },
        padding_idx={
            _network(cell.word): cell.padding_idx
            for cell in cells
            if isinstance(cell, Embeddings) and cell.padding_idx is not None
        },
        total_steps=len(rates),
        warmup_steps=step.schedule.warmup_steps,
        decay_start=step.schedule.decay_start,
        learning_rates={
            str(s): float(rates[s]) for s in sampled_steps(len(rates), step.schedule.warmup_steps)
        },
        loss_scale=LossScaleFacts(
            loss_scale_value=float(step.loss_scale.asnumpy()),
            scale_factor=step.scale_factor,
            scale_window=step.scale_window,
        ),
        optimizer=OptimizerFacts(
            optimizer=type(optimizer).__name__,
            betas=list(optimizer.betas),
            eps=optimizer.eps,
            clip_norm=step.clip_norm,
            clip_by=step.clip_by,
            bias_correction=optimizer.corrections is not None,
            decay_groups={
                repr(value): sorted(p.name for p, decay in decays if decay == value)
                for value in sorted(set(optimizer.decay))
            },
        ),
    )


def _network(parameter: Parameter) -> str:
    """Return the network whose prefix a parameter's name has."""
    return str(parameter.name).partition(".")[0]


def with_networks(
    facts: TrainingFacts, groups: Mapping[str, Sequence[Parameter]], global_batch_size: int
) -> TrainingFacts:
    """Return facts with the size and the first weights of the networks, and a step's rows."""
    return replace(
        facts,
        global_batch_size=global_batch_size,
        parameters={name: sum(p.size for p in group) for name, group in groups.items()},
        initial_weights={
            name: tensor_digest(tensor_table({p.name: p.asnumpy() for p in group}))
            for name, group in groups.items()
        },
        layers_from_teacher=_copied_layers(groups),
    )


def _copied_layers(groups: Mapping[str, Sequence[Parameter]]) -> list[int]:
    """Return which layers of the teacher the student's are, or none unless all are copies."""
    teacher, student = (_layers(groups.get(role, ())) for role in ("teacher", "student"))
    copied = []
    for layer in student.values():
        same = (number for number, other in teacher.items() if _equal(layer, other))
        copied.append(next(same, None))
    return [] if None in copied else [number for number in copied if number is not None]


def _layers(group: Sequence[Parameter]) -> dict[int, dict[str, Parameter]]:
    """Return the parameters of each layer, counted from 1, by what follows its name."""
    layers: dict[int, dict[str, Parameter]] = {}
    for parameter in group:
        if found := _LAYER.search(parameter.name):
            layers.setdefault(int(found[1]) + 1, {})[parameter.name[found.end() :]] = parameter
    return layers


def _equal(layer: Mapping[str, Parameter], other: Mapping[str, Parameter]) -> bool:
    """Return whether a layer has another one's weights, in its own type."""
    return layer.keys() == other.keys() and all(
        np.array_equal(own := parameter.asnumpy(), other[name].asnumpy().astype(own.dtype))
        for name, parameter in layer.items()
    )


def with_packing(facts: TrainingFacts, packing: Packing | None) -> TrainingFacts:
    """Return facts with the shapes of packed batches, if they are packed."""
    if packing is None:
        return facts
    return replace(
        facts,
        packing=PackingFacts(
            block_length=packing.block_length,
            block_counts=list(packing.block_counts),
            fill=packing.fill,
        ),
    )


def with_graph(
    facts: TrainingFacts, graph: CompiledGraph, scopes: Mapping[str, str]
) -> TrainingFacts:
    """Return facts with the graph's digest and its matrix products by type of their inputs.

    `scopes` has the part of the operators' scope that identifies a network, by its name.
    """
    return replace(
        facts,
        graph_digest=graph.digest,
        matrix_products={
            name: graph.matrix_product_inputs(scope) for name, scope in scopes.items()
        },
    )


def require_as_requested(requested: object, built: object) -> None:
    """Raise a TrainingError that lists every requested fact that is not what was built.

    Both are a section, or values by name: as the recipe asks for them, and as they were read back.
    """
    differences = list(_differences(requested, built, ""))
    if differences:
        raise TrainingError(
            "what was built is not what the recipe asks for:" + bulleted(differences),
            cure="this is a defect of the program or the framework; please report it",
        )


def _differences(requested: object, built: object, path: str) -> Iterator[str]:
    values, others = _values(requested), _values(built)
    if values is not None and others is not None:
        for key, value in values.items():
            yield from _differences(value, others.get(key), f"{path}.{key}" if path else key)
    elif requested != built:
        yield f"{path}: requested {requested!r}, built {built!r}"


def _values(facts: object) -> Mapping[str, object] | None:
    """Return the values of a section, or of a mapping, by name."""
    if is_dataclass(facts):
        return {field.name: getattr(facts, field.name) for field in fields(facts)}
    return facts if isinstance(facts, Mapping) else None
