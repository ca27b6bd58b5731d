"""A shared library made without a compiler, whose functions jump to addresses in a table.

It is a file of the ELF format for x86-64 (System V ABI, AMD64 supplement): the functions `call0`,
`call1` and so on, and the array `table`. Function i jumps to the address at place i, so that it has
the arguments and the result of what is there.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import starmap

MACHINE = "x86_64"
"""The processor that executes it, as `platform.machine` has it."""
PAGE = 4096
HEADER, SEGMENT, SYMBOL, ENTRY, ADDRESS = 64, 56, 24, 16, 8  # sizes in bytes
JUMP = 8
"""Bytes of a function."""
LOADED, DYNAMIC, STACK = 1, 2, 0x6474E551  # kinds of segments
EXECUTE, WRITE, READ = 1, 2, 4
HASH, STRINGS, SYMBOLS, STRINGS_SIZE, SYMBOL_SIZE, END = 4, 5, 6, 10, 11, 0  # dynamic entries
FUNCTION, OBJECT = 0x12, 0x11  # global symbols


def function_name(place: int) -> str:
    """Return the name of the function that jumps to the address at a place."""
    return f"call{place}"


def shared_library(count: int) -> bytes:
    """Return the file of a library with so many functions.

    One part of it is read and executed: headers, symbols, their names, and functions. The next
    pages are written to: what the loader notes, and the table.
    """
    names = [*map(function_name, range(count)), "table"]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    symbols_at = HEADER + 4 * SEGMENT
    hash_at = symbols_at + SYMBOL * (1 + len(names))
    hashes = struct.pack(f"<{4 + len(names)}I", *_one_chain(len(names)))
    strings_at = hash_at + len(hashes)
    functions_at = _round_up(strings_at + len(strings), JUMP)
    dynamic_at = _round_up(functions_at + JUMP * count, PAGE)
    table_at = dynamic_at + 6 * ENTRY
    end = table_at + ADDRESS * count

    functions = [functions_at + JUMP * place for place in range(count)]
    symbols = [(FUNCTION, at, JUMP) for at in functions] + [(OBJECT, table_at, ADDRESS * count)]
    dynamic = (
        *(HASH, hash_at, STRINGS, strings_at, SYMBOLS, symbols_at),
        *(STRINGS_SIZE, len(strings), SYMBOL_SIZE, SYMBOL, END, 0),
    )
    segments = (
        (LOADED, READ | EXECUTE, 0, functions_at + JUMP * count, PAGE),
        (LOADED, READ | WRITE, dynamic_at, end - dynamic_at, PAGE),
        (DYNAMIC, READ | WRITE, dynamic_at, len(dynamic) * ADDRESS, ADDRESS),
        (STACK, READ | WRITE, 0, 0, ENTRY),
    )
    contents = {
        0: _header() + b"".join(starmap(_segment, segments)),
        symbols_at: b"".join(_symbols(strings, names, symbols)),
        hash_at: hashes,
        strings_at: strings,
        functions_at: b"".join(
            _jump(table_at + ADDRESS * place - at) for place, at in enumerate(functions)
        ),
        dynamic_at: struct.pack(f"<{len(dynamic)}Q", *dynamic),
        table_at: bytes(ADDRESS * count),
    }
    file = b""
    for at, content in contents.items():
        file = file.ljust(at, b"\0") + content
    return file


def _header() -> bytes:
    shared_object, x86_64, version, no_flags = 3, 62, 1, 0
    kind = b"\x7fELF" + bytes((2, 1, version))  # 64 bits, little-endian
    sizes = HEADER, SEGMENT, 4, 0, 0, 0
    fields = shared_object, x86_64, version, 0, HEADER, 0, no_flags, *sizes
    return struct.pack("<16sHHIQQQIHHHHHH", kind, *fields)


def _segment(kind: int, allowed: int, at: int, size: int, alignment: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, allowed, at, at, at, size, size, alignment)


def _symbols(
    strings: bytes, names: Sequence[str], symbols: Sequence[tuple[int, int, int]]
) -> Iterator[bytes]:
    """Yield the symbols; the first one of every library is empty."""
    yield bytes(SYMBOL)
    defined = 1  # any number but 0
    place = 1  # of the name
    for name, (kind, at, size) in zip(names, symbols, strict=True):
        yield struct.pack("<IBBHQQ", place, kind, 0, defined, at, size)
        place += len(name) + 1


def _one_chain(count: int) -> Iterator[int]:
    """Yield a hash table of one bucket: each symbol follows on the one before, the last on none."""
    yield from (1, count + 1, 1, 0)
    yield from (*range(2, count + 1), 0)


def _jump(distance: int) -> bytes:
    """Return `jmp [rip + distance]`; rip is at the end of the 6 bytes."""
    return b"\xff\x25" + struct.pack("<i", distance - 6) + b"\x90\x90"


def _round_up(at: int, multiple: int) -> int:
    return -(-at // multiple) * multiple
