"""Checkpoints of a run: everything that a resume needs, in files that are whole or absent."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mindspore import Parameter, Tensor
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tinybert.atomic import atomic_replace
from tinybert.errors import InputError
from tinybert.manifest.checkpoints import TensorTable, tensor_table
from tinybert.model.parameters import Array
from tinybert.strict_json import parse_json

GO_BACK = "remove the file to go on from the one before it, or start anew with --fresh"
"""What a user can do about a checkpoint that cannot be used."""


@dataclass(frozen=True)
class Best:
    """The best evaluation so far: its step, the recipe's metric, and all metrics."""

    global_step: int
    metric: float
    metrics: dict[str, float] = field(default_factory=dict)


class CheckpointFolder:
    """The checkpoints of one training, `step-00000020.safetensors` and so on.

    The weights of the best evaluation are in `best.safetensors`, apart from these.

    Args:
        folder: Created when the first checkpoint is saved.
        parameters: What is saved and restored: weights, moments, counters, loss scale.
        keep: How many are kept, the newest.
        every: Steps between two of them. One that a stop leaves between these does not count,
            and goes when the next is saved, so that a stop does not change what is kept.
        best: The weights that are kept of the best evaluation.
        metadata: What every file says besides, such as the label order.
        writes: Whether files are written; false on all processes of a run but the first.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Iterable[Parameter],
        keep: int,
        *,
        every: int = 1,
        best: Iterable[Parameter] = (),
        metadata: Mapping[str, str] | None = None,
        writes: bool = True,
    ) -> None:
        self.folder = folder
        self.parameters = {parameter.name: parameter for parameter in parameters}
        self.keep = keep
        self.every = every
        self.best_path = folder / "best.safetensors"
        self.best_parameters = {parameter.name: parameter for parameter in best}
        self.metadata = dict(metadata or {})
        self.writes = writes

    def path(self, global_step: int) -> Path:
        """Return the file of the checkpoint after `global_step` steps."""
        return self.folder / f"step-{global_step:08d}.safetensors"

    def save(self, global_step: int, best: Best | None) -> dict[str, Array]:
        """Write the checkpoint after `global_step` steps; return its arrays.

        Args:
            global_step: Steps before it.
            best: The best evaluation so far.
        """
        return self._write(self.path(global_step), self.parameters, {"best": encode_best(best)})

    def expired(self, saved: Iterable[Path], own: Path, *, interim: bool = False) -> list[Path]:
        """Return which checkpoints go when another was saved.

        Args:
            saved: The checkpoints before it.
            own: The new one.
            interim: Whether a stop asks for it, so that it does not count.
        """
        counted = [path for path in sorted(saved) if self.step_of(path) % self.every == 0]
        counted = [path for path in counted if path != own] + ([] if interim else [own])
        kept = {own, *sorted(counted)[-self.keep :]}
        return [path for path in saved if path not in kept]

    def save_best(self) -> dict[str, Array]:
        """Write the weights as those of the best evaluation; return them."""
        return self._write(self.best_path, self.best_parameters, {})

    def step_of(self, path: Path) -> int:
        """Return the steps that a checkpoint has behind it."""
        return int(path.stem.removeprefix("step-"))

    def table(self) -> TensorTable:
        """Return the tensor table of the parameters as they are."""
        return tensor_table({name: p.asnumpy() for name, p in self.parameters.items()})

    def restore(self, path: Path, check: Callable[[Mapping[str, Array]], None]) -> Best | None:
        """Set every parameter from the file; return the best evaluation it knew.

        Args:
            path: The checkpoint.
            check: Raises an error unless its arrays are the ones that are expected.

        Raises:
            InputError: The file is damaged, or holds other names or shapes than this run.
        """
        cure = GO_BACK
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}
                best = decode_best((file.metadata() or {}).get("best", "null"))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"damaged checkpoint: {error}", where=str(path), cure=cure) from error
        wanted = {name: parameter.shape for name, parameter in self.parameters.items()}
        found = {name: array.shape for name, array in arrays.items()}
        if wanted != found:
            other = sorted(set(wanted.items()) ^ set(found.items()))
            names = ", ".join(dict.fromkeys(name for name, _ in other))
            raise InputError(f"checkpoint of another network: {names}", where=str(path), cure=cure)
        check(arrays)
        for name, parameter in self.parameters.items():
            parameter.set_data(Tensor(arrays[name]))
        return best

    def _write(
        self, path: Path, parameters: Mapping[str, Parameter], metadata: Mapping[str, str]
    ) -> dict[str, Array]:
        arrays = {name: parameter.asnumpy() for name, parameter in parameters.items()}
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_replace(path) as temporary:
                save_file(arrays, temporary, metadata={**self.metadata, **metadata})
        return arrays


def encode_best(best: Best | None) -> str:
    """Return an evaluation as text, its numbers exact."""
    if best is None:
        return "null"
    metrics = {name: float(value).hex() for name, value in best.metrics.items()}
    content = {"global_step": best.global_step, "metric": float(best.metric).hex()}
    return json.dumps(content | {"metrics": metrics})


def decode_best(text: str) -> Best | None:
    """Return what `encode_best` wrote."""
    value = parse_json(text)
    if value is None:
        return None
    metrics = {name: float.fromhex(number) for name, number in value["metrics"].items()}
    return Best(value["global_step"], float.fromhex(value["metric"]), metrics)
