"""Record files through mindspore.dataset, unshuffled, in blocks of rows.

A checked TFRecord file is read in this process. MindRecord cannot be checked enough to trust
the framework with it, which may end its process on a damaged file: that is then a process of
its own (`python -m tinybert.data.reader`), which sends frames through a pipe, file after file:

    tag (R rows, D end of a file, E error) | uint64 length | an .npz of a block's columns, or JSON
"""

import io
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from io import FileIO
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

Reader = Callable[[Path], Iterator[Columns]]
_Row = dict[str, npt.NDArray[np.generic]]


def read_tfrecord(path: Path, columns: Sequence[Column]) -> Iterator[Columns]:
    """Yield blocks of a file whose framing and messages were checked.

    Yields:
        Arrays (rows, length), int64 or float32, by column name.
    """
    import mindspore
    import mindspore.dataset

    schema = mindspore.dataset.Schema()
    for column in columns:
        kind = mindspore.float32 if column.kind == "float" else mindspore.int64
        schema.add_column(column.name, kind, [column.length])
    data = mindspore.dataset.TFRecordDataset(
        [str(path)],
        schema=schema,
        columns_list=[column.name for column in columns],
        shuffle=False,
        num_parallel_workers=1,
    ).batch(BLOCK_ROWS, drop_remainder=False, num_parallel_workers=1)
    yield from data.create_dict_iterator(num_epochs=1, output_numpy=True)


@contextmanager
def mindrecord_reader(paths: Sequence[Path], columns: Sequence[Column]) -> Iterator[Reader]:
    """Start a process that reads MindRecord files in their order.

    Yields:
        A function that is called with each of `paths` in turn, and yields blocks of that file:
        arrays (rows, length), integers or float32, by column name. It raises InputError if the
        framework refuses the file, ends on it, hangs, or reads a row of another length.
    """
    receiver, sender = os.pipe()
    with tempfile.TemporaryFile() as log, open(receiver, "rb", buffering=0) as pipe:
        try:
            process = _start(paths, columns, sender, log)
        finally:
            os.close(sender)

        def read(path: Path) -> Iterator[Columns]:
            try:
                while (block := _receive(pipe, path)) is not None:
                    yield block
            except EOFError:
                raise _ended(path, process.wait(), log) from None

        try:
            yield read
        finally:
            process.kill()
            process.wait()


def _ended(path: Path, status: int, log: BinaryIO) -> InputError:
    log.seek(0)
    tail = " ".join(log.read().decode(errors="replace").split())[-_TAIL_CHARACTERS:]
    return InputError(
        f"the framework ended while reading the file (status {status}): {tail}",
        where=str(path),
        cure="restore the file and its .db from their source",
    )


def _start(
    paths: Sequence[Path], columns: Sequence[Column], sender: int, log: BinaryIO
) -> "subprocess.Popen[bytes]":
    package_parent = Path(__file__).resolve().parents[2]
    search = [str(package_parent), os.environ.get("PYTHONPATH", "")]
    request = [[str(path) for path in paths], [asdict(column) for column in columns], sender]
    return subprocess.Popen(
        [sys.executable, "-m", "tinybert.data.reader", json.dumps(request)],
        pass_fds=[sender],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search)), "GLOG_v": "3"},
    )


def _receive(pipe: FileIO, path: Path) -> Columns | None:
    if not select.select([pipe], [], [], _SILENCE_SECONDS)[0]:
        raise InputError(
            f"the framework was silent for {_SILENCE_SECONDS} s while reading the file",
            where=str(path),
        )
    head = _exactly(pipe, 9)
    body = _exactly(pipe, struct.unpack("<Q", head[1:])[0])
    if head[:1] == b"R":
        with np.load(io.BytesIO(body), allow_pickle=False) as block:
            return dict(block)
    if head[:1] == b"E":
        row, message = json.loads(body)
        raise InputError(message, where=str(path) if row is None else place(path, row + 1))
    return None


def _exactly(pipe: FileIO, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = pipe.read(size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _send(pipe: BinaryIO, tag: bytes, body: bytes) -> None:
    pipe.write(tag + struct.pack("<Q", len(body)) + body)
    pipe.flush()


def _serve(path: str, columns: Sequence[Column], pipe: BinaryIO) -> None:
    """Read one MindRecord file and send its blocks."""
    import mindspore.dataset

    names = [column.name for column in columns]
    block: list[_Row] = []
    try:
        data = mindspore.dataset.MindDataset(
            [path], columns_list=names, shuffle=False, num_parallel_workers=1
        )
        rows = data.create_dict_iterator(num_epochs=1, output_numpy=True)
        for number, row in enumerate(rows):
            for column in columns:
                if row[column.name].size != column.length:
                    found = f"column `{column.name}` holds {row[column.name].size} values"
                    _send_error(pipe, number, f"{found}, not {column.length}")
                    return
            block.append(row)
            if len(block) == BLOCK_ROWS:
                _send_block(pipe, names, block)
                block = []
    except RuntimeError as error:
        lines = str(error).splitlines()
        reason = next((line for line in lines if line.startswith("[ERROR]")), lines[0])
        _send_error(pipe, None, f"the framework cannot read the file: {reason[:_TAIL_CHARACTERS]}")
        return
    if block:
        _send_block(pipe, names, block)
    _send(pipe, b"D", b"")


def _send_block(pipe: BinaryIO, names: Sequence[str], block: Sequence[_Row]) -> None:
    body = io.BytesIO()
    np.savez(body, **{name: np.stack([row[name].reshape(-1) for row in block]) for name in names})
    _send(pipe, b"R", body.getvalue())


def _send_error(pipe: BinaryIO, row: int | None, message: str) -> None:
    _send(pipe, b"E", json.dumps([row, message]).encode())


def _main() -> None:
    paths, columns, sender = json.loads(sys.argv[1])
    with open(sender, "wb") as pipe:
        for path in paths:
            _serve(path, [Column(**column) for column in columns], pipe)


if __name__ == "__main__":
    _main()
