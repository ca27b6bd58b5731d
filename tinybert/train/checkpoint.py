"""Checkpoints of a run: everything that a resume needs, in files that are whole or absent."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mindspore import Parameter, Tensor
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tinybert.atomic import replacing
from tinybert.errors import InputError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Best:
    """The best evaluation so far: its step and the value of the recipe's metric."""

    global_step: int
    metric: float


class CheckpointFolder:
    """The checkpoints of one run, `step-00000020.safetensors` and so on.

    Args:
        folder: Created when the first checkpoint is saved.
        parameters: What is saved and restored: weights, moments, counters, loss scale.
        keep: How many are kept, the newest.
    """

    def __init__(self, folder: Path, parameters: Iterable[Parameter], keep: int) -> None:
        self.folder = folder
        self.parameters = {parameter.name: parameter for parameter in parameters}
        self.keep = keep

    def path(self, global_step: int) -> Path:
        """Return the file of the checkpoint after `global_step` steps."""
        return self.folder / f"step-{global_step:08d}.safetensors"

    def save(self, global_step: int, best: Best | None) -> dict[str, Array]:
        """Write the checkpoint after `global_step` steps, drop the oldest, return its arrays."""
        arrays = {name: parameter.asnumpy() for name, parameter in self.parameters.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.path(global_step)) as temporary:
            save_file(arrays, temporary, metadata={"best": _encode(best)})
        for old in self.files()[: -self.keep]:
            old.unlink()
        return arrays

    def files(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.safetensors"))

    def step_of(self, path: Path) -> int:
        """Return the steps that a checkpoint has behind it."""
        return int(path.stem.removeprefix("step-"))

    def restore(self, path: Path) -> tuple[Best | None, dict[str, Array]]:
        """Set every parameter from the file; return the best evaluation it knew, and the arrays.

        Raises:
            InputError: The file is damaged, or holds other names or shapes than this run.
        """
        cure = "remove the file to go on from the one before it, or start anew with --fresh"
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}
                best = _decode((file.metadata() or {}).get("best", "null"))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"damaged checkpoint: {error}", where=str(path), cure=cure) from error
        wanted = {name: parameter.shape for name, parameter in self.parameters.items()}
        found = {name: array.shape for name, array in arrays.items()}
        if wanted != found:
            other = sorted(set(wanted.items()) ^ set(found.items()))
            names = ", ".join(dict.fromkeys(name for name, _ in other))
            raise InputError(f"checkpoint of another network: {names}", where=str(path), cure=cure)
        for name, parameter in self.parameters.items():
            parameter.set_data(Tensor(arrays[name]))
        return best, arrays


def _encode(best: Best | None) -> str:
    if best is None:
        return "null"
    return json.dumps({"global_step": best.global_step, "metric": float(best.metric).hex()})


def _decode(text: str) -> Best | None:
    value = json.loads(text)
    if value is None:
        return None
    return Best(value["global_step"], float.fromhex(value["metric"]))
