"""Damage that files take on disks, in transfers, in editors, and from people who mean harm.

Every function takes dice and the content of a good file, and returns what became of it: bytes, or
a `Place` for what is no regular file any more.
"""

import json
import os
from contextlib import contextmanager
from enum import Enum

SEED = 1
DEEP = "deep, see hostile_text"


class Place(Enum):
    """What may be in the place of a file."""

    NOTHING = "nothing"
    FOLDER = "a folder"
    PIPE = "a pipe"
    DEVICE = "a device"
    LOOP = "a link to itself"


def place(dice, content):
    return dice.choice(list(Place))


def flip_bits(dice, content):
    changed = bytearray(content)
    for _ in range(dice.choice([1, 1, 1, 8])):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(dice, content):
    size = dice.choice([0, 1, dice.randrange(len(content)), len(content) - 1])
    return content[:size]


def behead(dice, content):
    return content[dice.randrange(1, len(content)) :]


def insert(dice, content):
    at = dice.randrange(len(content) + 1)
    return content[:at] + dice.randbytes(dice.choice([1, 4, 64])) + content[at:]


def append(dice, content):
    return content + dice.choice([b"\n", b"\0", b"x", dice.randbytes(100), content])


def repeat_part(dice, content):
    first, last = _part(dice, content)
    return content[:last] + content[first:last] + content[last:]


def remove_part(dice, content):
    first, last = _part(dice, content)
    return content[:first] + content[last:]


def swap_parts(dice, content):
    first, last = _part(dice, content)
    middle = (first + last) // 2
    return content[:first] + content[middle:last] + content[first:middle] + content[last:]


def zero_part(dice, content):
    first, last = _part(dice, content)
    return content[:first] + bytes(last - first) + content[last:]


def huge_number(dice, content):
    """Overwrite a length, if one is there, by one of many bytes."""
    at = dice.randrange(min(len(content), 256))
    number = dice.choice([b"\xff" * 8, b"\xff" * 4, b"\x7f" + b"\xff" * 3, b"\xff" * 7 + b"\x7f"])
    return content[:at] + number + content[at + len(number) :]


def other_content(dice, content):
    return dice.choice(
        [
            b"text\n" * 40,
            b"{}",
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"\x1f\x8b" + dice.randbytes(200),
            b"\xef\xbb\xbf" + content,
            content.decode("latin-1").encode("utf-16"),
            dice.randbytes(len(content)),
            bytes(len(content)),
        ]
    )


BYTES = (
    flip_bits,
    flip_bits,
    cut,
    behead,
    insert,
    append,
    repeat_part,
    remove_part,
    swap_parts,
    zero_part,
    huge_number,
    other_content,
    place,
)
"""What happens to a file of any format; single bits most often."""


def change_lines(dice, content):
    lines = content.splitlines(keepends=True)
    at = dice.randrange(len(lines))
    match dice.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[dice.randrange(len(lines))])
        case 2:
            lines.insert(dice.randrange(len(lines)), lines.pop(at))
        case 3:
            lines.insert(at, dice.choice([b"\n", b"\r\n", b" \n", b"\0\n", b"\x1b[31m\n"]))
        case 4:
            lines[at] = lines[at].strip() * dice.choice([2, 1000]) + b"\n"
        case _:
            lines = [line.rstrip(b"\n") + b"\r\n" for line in lines]
    return b"".join(lines)


HOSTILE = (
    *(None, True, False, 0, -1, 0.5, 2**31, 2**53, 2**63, 2**64, 10**400, 1e308),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "x" * 1_000_000,
        "\0",
        "\ud800",
        "\x1b[2J\u202e",
        "a\nb",
    ),
    *("../../../outside", "/dev/zero", "/etc/passwd", ".", "..", "~", "a/b"),
    *([], {}, [[]], [None], {"a": 1}, [0] * 10_000, {str(n): n for n in range(10_000)}, DEEP),
)
"""Values that nobody expects in the place of another."""


def change_json(dice, content):
    """Change one place of a JSON document."""
    document = json.loads(content)
    holder, key = dice.choice(places(document))
    match dice.randrange(6):
        case 0 | 1 | 2:
            holder[key] = dice.choice(HOSTILE)
        case 3:
            del holder[key]
        case 4 if isinstance(holder, dict):
            holder[dice.choice(["unknown", "", key.upper(), f"{key} "])] = holder.pop(key)
        case 5 if isinstance(holder, dict):
            holder[f"{key}{DEEP}"] = holder[key]  # becomes a doubled key
        case _:
            (_, holder, key), (_, other, at) = dice.choices(leaves(document), k=2)
            holder[key], other[at] = other[at], holder[key]
    return hostile_text(document)


def hostile_text(document):
    """Return a document as JSON text, with what the standard library does not write."""
    text = json.dumps(document, indent=2)
    return text.replace(f'"{DEEP}"', "[" * 50_000 + "]" * 50_000).replace(DEEP, "").encode()


def places(document):
    """Return (container, key) of every value of a JSON document."""
    found = []
    pending = [document]
    while pending:
        holder = pending.pop()
        keys = range(len(holder)) if isinstance(holder, list) else list(holder)
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], list | dict):
                pending.append(holder[key])
    return found


def leaves(document):
    """Return (path, container, key) of every value that holds no other, in the document's order."""
    found = []

    def visit(holder, path):
        keys = range(len(holder)) if isinstance(holder, list) else list(holder)
        for key in keys:
            if isinstance(holder[key], list | dict) and holder[key]:
                visit(holder[key], (*path, key))
            else:
                found.append(((*path, key), holder, key))

    visit(document, ())
    return found


def edited(dice, value):
    """Return another value of the same kind, as somebody writes it who wants to deceive."""
    match value:
        case bool():
            return not value
        case int():
            return max(0, value + dice.choice([-1, 1, 7]))
        case float():
            return value * dice.choice([0.5, 0.999, 1.001, 2.0])
        case str() if len(value) == 64 and all(letter in "0123456789abcdef" for letter in value):
            at = dice.randrange(64)
            return value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
        case str() if value.removeprefix("-").startswith("0x"):
            return (float.fromhex(value) * dice.choice([0.5, 2.0]) + 1e-3).hex()
        case str():
            return dice.choice([value + "x", value[:-1], value.swapcase() or "x", "other"])
        case None:
            return dice.choice([0, "x", True])
        case _:
            return dice.choice([0, "x", None])


def change_header(dice, content):
    """Change the JSON header of a safetensors file, and its length with it."""
    size = int.from_bytes(content[:8], "little")
    header = change_json(dice, content[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


@contextmanager
def replaced(path, damage):
    """Put damage in the place of a file, and the file back at the end."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    try:
        match damage:
            case bytes():
                path.write_bytes(damage)
            case Place.FOLDER:
                path.mkdir()
            case Place.PIPE:
                os.mkfifo(path)
            case Place.DEVICE:
                path.symlink_to("/dev/zero")
            case Place.LOOP:
                path.symlink_to(path.name)
        yield
    finally:
        if damage is Place.FOLDER:
            path.rmdir()
        aside.replace(path)


def _part(dice, content):
    first = dice.randrange(len(content))
    return first, min(len(content), first + dice.choice([1, 8, 100, len(content)]))
