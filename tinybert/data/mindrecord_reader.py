"""MindRecord files through mindspore.dataset, in a process of its own.

The format cannot be checked enough to trust the framework with a file: on a damaged one it may end
its process. That process sends blocks of rows, file after file, None at the end of each, or an
error. It is started by `subprocess`: `multiprocessing` would unblock the signals that are held.
"""

import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tinybert.data.example import Column, Columns
from tinybert.data.tfrecord import place
from tinybert.errors import InputError

BLOCK_ROWS = 1024
_SILENCE_SECONDS = 300  # importing the framework on a busy machine takes tens of seconds
_TAIL_CHARACTERS = 300
_PROGRAM = """
import os, sys
os.environ["GLOG_v"] = "3"
sys.path[:] = {path}
from tinybert.data.mindrecord_reader import serve
serve({descriptor})
"""


def read_mindrecords(
    rows: Mapping[Path, int], columns: Sequence[Column]
) -> Generator[tuple[Path, Columns], None, None]:
    """Yield blocks of MindRecord files, each with its file; close the iterator to end the process.

    Args:
        rows: The files, in their order, with their numbers of rows.
        columns: What is read.

    Yields:
        The file; arrays (rows, length), integers or float32, by column name.

    Raises:
        InputError: The framework refuses a file, ends on it, hangs, or reads other rows.
    """
    here, there = Pipe()
    with tempfile.TemporaryFile() as log, here:
        with there:
            program = _PROGRAM.format(path=sys.path, descriptor=there.fileno())
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            with suppress(ConnectionError):  # it has ended, which the next line reports
                here.send((list(rows), columns))
            for path, expected in rows.items():
                count = 0
                while (block := _receive(here, path, process, log)) is not None:
                    count += len(block["input_ids"])
                    yield path, block
                if count != expected:
                    raise InputError(
                        "the framework reads other rows than the file holds "
                        f"({count} of {expected})",
                        where=str(path),
                    )
        finally:
            process.kill()
            process.wait()


def _receive(
    connection: Connection, path: Path, process: "subprocess.Popen[bytes]", log: BinaryIO
) -> Columns | None:
    """Return the next block of a file, None at its end."""
    try:
        if not connection.poll(_SILENCE_SECONDS):
            raise InputError(
                f"the framework was silent for {_SILENCE_SECONDS} s while reading the file",
                where=str(path),
            )
        block: Columns | InputError | None = connection.recv()
    except (EOFError, ConnectionError):
        status = process.wait()
        log.seek(0)
        tail = " ".join(log.read().decode(errors="replace").split())[-_TAIL_CHARACTERS:]
        raise InputError(
            f"the framework ended while reading the file (status {status}): {tail}",
            where=str(path),
            cure="restore the file and its .db from their source",
        ) from None
    if isinstance(block, InputError):
        raise block
    return block


def serve(descriptor: int) -> None:
    """Read the files that are asked for, in this process, and send their blocks.

    Args:
        descriptor: Of the connection to the process that asks.
    """
    with Connection(descriptor) as connection:
        paths, columns = connection.recv()
        try:
            for path in paths:
                for block in _blocks(path, columns):
                    connection.send(block)
                connection.send(None)
        except InputError as error:
            connection.send(error)


def _blocks(path: Path, columns: Sequence[Column]) -> Iterator[Columns]:
    import mindspore.dataset

    names = [column.name for column in columns]
    block: list[Mapping[str, npt.NDArray[np.generic]]] = []
    try:
        data = mindspore.dataset.MindDataset(
            [str(path)], columns_list=names, shuffle=False, num_parallel_workers=1
        )
        for number, row in enumerate(data.create_dict_iterator(num_epochs=1, output_numpy=True), 1):
            for column in columns:
                if row[column.name].size != column.length:
                    raise InputError(
                        f"column `{column.name}` holds {row[column.name].size} values, not "
                        f"{column.length}",
                        where=place(path, number),
                    )
            block.append(row)
            if len(block) == BLOCK_ROWS:
                yield _stack(block, names)
                block = []
    except RuntimeError as error:
        lines = str(error).splitlines()
        reason = next((line for line in lines if line.startswith("[ERROR]")), lines[0])
        raise InputError(
            f"the framework cannot read the file: {reason[:_TAIL_CHARACTERS]}", where=str(path)
        ) from error
    if block:
        yield _stack(block, names)


def _stack(rows: Sequence[Mapping[str, npt.NDArray[np.generic]]], names: Sequence[str]) -> Columns:
    return {name: np.stack([row[name].reshape(-1) for row in rows]) for name in names}  # type: ignore[misc]
