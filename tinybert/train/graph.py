"""Read back what was compiled, from the intermediate representation that the framework saves."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GRAPHS = "graphs"
"""Folder of a run where the framework saves what it compiles."""

_NODE = re.compile(r"^  %(\d+)\([^)]*\) = (.*)$")
_CALL = re.compile(r"^(?:PrimFunc_)?([A-Za-z_]\w*)\(")
_TENSOR = re.compile(r"Tensor\[(\w+)\]")
_ATTRIBUTES = re.compile(r" (?:cnode|primitive|cnode_primal)_attrs: \{.*$")
_SCOPE = re.compile(r"^      # Fullname with scope: \((.*)\)$")
_REFERENCE = re.compile(r"ref_key=[^,>]+")
_NAME = re.compile(r"@[^\s,()\[\]]+|%para\d+_\w+")
_MATRIX_PRODUCTS = frozenset({"MatMul", "MatMulExt", "BatchMatMul", "BatchMatMulExt", "Dense"})


@dataclass(frozen=True)
class Operator:
    """One operator of a compiled graph.

    `scope` is its path through the cells, such as `Default/network-Distiller/student-BertEncoder`;
    `inputs` are the element types of the tensors that it takes, such as `Float16`.
    """

    name: str
    scope: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class CompiledGraph:
    """The operators of a compiled graph, in order, and a digest of what they compute.

    The digest leaves out pointers, debug names and source positions, which differ between equal
    compilations.
    """

    operators: tuple[Operator, ...]
    digest: str

    def matrix_product_inputs(self, scope: str) -> dict[str, int]:
        """Return how many matrix products of a scope have inputs of each element type."""
        counts: dict[str, int] = {}
        for operator in self.operators:
            if operator.name in _MATRIX_PRODUCTS and scope in operator.scope:
                types = "x".join(sorted(set(operator.inputs)))
                counts[types] = counts.get(types, 0) + 1
        return dict(sorted(counts.items()))


def saving_environment(folder: Path) -> dict[str, str]:
    """Return the environment variables that make the framework save the graphs it compiles.

    They are read when the framework is imported.
    """
    return {
        "MS_DEV_SAVE_GRAPHS": "1",
        "MS_DEV_SAVE_GRAPHS_PATH": str(folder),
        "MS_DEV_DUMP_IR_PASSES": "validate",
    }


def read_graph(folder: Path, cell: str) -> CompiledGraph:
    """Read the graph of `construct` of a cell, named by its class, that was saved last.

    Raises:
        FileNotFoundError: No such graph was saved.
    """
    for path in sorted(folder.rglob("*_validate_*.ir"), key=_serial, reverse=True):
        text = path.read_text(encoding="utf-8")
        if f"_{cell}_construct" in text.partition("\n")[0]:
            return _parse(text)
    raise FileNotFoundError(f"no graph of {cell} in {folder}")


def _serial(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def _parse(text: str) -> CompiledGraph:
    operators = []
    hasher = hashlib.sha256()
    names: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return names.setdefault(match.group(), f"{match.group()[0]}{len(names)}")

    for call, types, scope in _nodes(text):
        hasher.update(f"{_NAME.sub(number, call)}\n{_NAME.sub(number, types)}\n".encode())
        if found := _CALL.match(call):
            inputs = _TENSOR.findall(types.partition(" -> ")[0])
            operators.append(Operator(found[1], scope, tuple(inputs)))
    return CompiledGraph(tuple(operators), hasher.hexdigest())


def _nodes(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each node's call, without attributes, the types of its inputs and outputs, its scope.

    A node is a line with the call, one with types, sometimes one with shapes, and comments, the
    first of which is the scope.
    """
    call = types = ""
    for line in text.splitlines():
        if node := _NODE.match(line):
            call, types = _ATTRIBUTES.sub("", node[2]), ""
        elif call and line.startswith("      : ") and not types:
            types = _REFERENCE.sub("", line.strip())
        elif call and (scope := _SCOPE.match(line)):
            yield call, types, scope[1]
            call = ""
