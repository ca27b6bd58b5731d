"""The checkpoints of a training: files that are whole or absent, with all that a resume needs."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mindspore import Parameter, Tensor, ops
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as message
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tinybert.atomic import atomic_replace
from tinybert.errors import InputError
from tinybert.files import open_safetensors
from tinybert.manifest.checkpoints import TensorTable, tensor_digest, tensor_table
from tinybert.manifest.trace import Commitment
from tinybert.model.parameters import Array

GO_BACK = "remove the file to go on from the one before it, or start anew with --fresh"
"""What a user can do about a checkpoint that cannot be used."""
Check = Callable[[Mapping[str, Array]], None]
"""Raises an error unless the arrays of a file are the ones that are expected."""
_NAME = re.compile(r"step-([0-9]{8,18})\.safetensors")


@message(frozen=True, config=ConfigDict(ser_json_inf_nan="constants"))
class Best:
    """The best evaluation so far: its step, the recipe's metric, and all metrics."""

    global_step: int
    metric: float
    metrics: dict[str, float] = field(default_factory=dict)


_BEST: TypeAdapter[Best | None] = TypeAdapter(Best | None)


def assign_arrays(parameters: Iterable[Parameter], arrays: Mapping[str, Array]) -> None:
    """Set parameters by their names, also of a graph that has run, which ignores `set_data`."""
    for parameter in parameters:
        ops.assign(parameter, Tensor(arrays[parameter.name]))


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one training, `step-00000020.safetensors` and so on.

    The weights of the best evaluation are in `best.safetensors`, apart from these.
    """

    folder: Path
    """Created when the first checkpoint is saved."""
    weights: Sequence[Parameter]
    """What is kept of the best evaluation."""
    state: Sequence[Parameter]
    """What a checkpoint has besides: moments, counters, loss scale."""
    keep: int
    """How many are kept, the newest."""
    every: int
    """Steps between two of them. One that a stop leaves between these does not count, and is
    removed when the next is saved, so that a stop does not change what is kept."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the metadata of every file has besides, such as the label order."""
    writes: bool = True
    """Whether files are written; false on all processes of a run but the first."""
    cure: str = GO_BACK
    """What a user can do about a file that cannot be used."""

    @property
    def parameters(self) -> list[Parameter]:
        """What is saved and restored."""
        return [*self.weights, *self.state]

    @property
    def best_path(self) -> Path:
        """The file of the best evaluation's weights."""
        return self.folder / "best.safetensors"

    def path(self, global_step: int) -> Path:
        """Return the file of the checkpoint after `global_step` steps."""
        return self.folder / f"step-{global_step:08d}.safetensors"

    def save(self, global_step: int, best: Best | None) -> None:
        """Write the checkpoint after `global_step` steps, with the best evaluation so far."""
        metadata = {"best": _BEST.dump_json(best).decode()}
        self._write(self.path(global_step), self.parameters, metadata)

    def expired(self, saved: Iterable[Path], own: Path, *, interim: bool = False) -> list[Path]:
        """Return which checkpoints are to be removed when another was saved.

        Args:
            saved: The checkpoints before it.
            own: The new one.
            interim: Whether a stop asks for it, so that it does not count.
        """
        steps = {path: self.step_of(path) or 0 for path in (*saved, own)}
        counted = [path for path in steps if path != own and steps[path] % self.every == 0]
        counted += [] if interim else [own]
        kept = {own, *sorted(counted, key=lambda path: steps[path])[-self.keep :]}
        return [path for path in steps if path not in kept]

    def save_best(self) -> dict[str, Array]:
        """Write the weights as those of the best evaluation; return them."""
        return self._write(self.best_path, self.weights, {})

    def step_of(self, path: Path) -> int | None:
        """Return the steps before a checkpoint; None if the file has no name of one."""
        name = _NAME.fullmatch(path.name)
        return int(name[1]) if name and path == self.path(int(name[1])) else None

    def table(self) -> TensorTable:
        """Return the tensor table of the parameters as they are."""
        return tensor_table({p.name: p.asnumpy() for p in self.parameters})

    def commitment(self, table: TensorTable, metrics: Mapping[str, float]) -> Commitment:
        """Return what the trace records of a checkpoint with this table and these metrics."""
        weights = {parameter.name: table[parameter.name] for parameter in self.weights}
        return Commitment(tensor_digest(table), tensor_digest(weights), metrics)

    def restore(self, path: Path, check: Check) -> Best | None:
        """Set every parameter from a checkpoint; return the best evaluation it knew.

        Raises:
            InputError: The file is missing or damaged, or holds other names or shapes than this
                run.
        """
        arrays, metadata = self._read(path)
        try:
            best = _BEST.validate_json(metadata.get("best", "null"))
        except ValueError as error:
            raise self._damaged(path, error) from error
        self._assign(path, self.parameters, arrays, check)
        return best

    def restore_best(self, check: Check) -> None:
        """Set the weights from the file of the best evaluation; see `restore`."""
        arrays, _ = self._read(self.best_path)
        self._assign(self.best_path, self.weights, arrays, check)

    def _read(self, path: Path) -> tuple[dict[str, Array], Mapping[str, str]]:
        """Return arrays and metadata of a file."""
        try:
            with open_safetensors(path) as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
        except FileNotFoundError as error:
            message = "the checkpoint is missing"
            raise InputError(message, where=str(path), cure=self.cure) from error
        except (SafetensorError, OSError, ValueError) as error:
            raise self._damaged(path, error) from error

    def _damaged(self, path: Path, error: Exception) -> InputError:
        return InputError(f"damaged checkpoint: {error}", where=str(path), cure=self.cure)

    def _assign(
        self,
        path: Path,
        parameters: Sequence[Parameter],
        arrays: Mapping[str, Array],
        check: Check,
    ) -> None:
        """Set parameters from the arrays of a file."""
        wanted = {parameter.name: parameter.shape for parameter in parameters}
        read = {name: array.shape for name, array in arrays.items()}
        if wanted != read:
            other = sorted(set(wanted.items()) ^ set(read.items()))
            names = ", ".join(dict.fromkeys(name for name, _ in other))
            message = f"checkpoint of another network: {names}"
            raise InputError(message, where=str(path), cure=self.cure)
        check(arrays)
        assign_arrays(parameters, arrays)

    def _write(
        self, path: Path, parameters: Sequence[Parameter], metadata: Mapping[str, str]
    ) -> dict[str, Array]:
        arrays = {parameter.name: parameter.asnumpy() for parameter in parameters}
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_replace(path) as temporary:
                save_file(arrays, temporary, metadata={**self.metadata, **metadata})
        return arrays
