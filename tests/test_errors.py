"""Errors of the machine are told apart from those of the program."""

import errno

import pytest

from tinybert.errors import counted, of_machine


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_the_system_refuses_is_one_message(number):
    error = of_machine(OSError(number, "No space left on device", "/runs/trace.jsonl"))
    assert str(error) == (
        "the system refused: no space left on device\n"
        "  --> /runs/trace.jsonl\n"
        "help: check the disk, its quota and its rights; what was saved before is whole"
    )
    assert error.exit_code == 4


def test_a_file_that_the_program_should_have_made_is_its_own_defect():
    assert of_machine(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP])
def test_what_is_in_the_way_is_named(number):
    assert str(of_machine(OSError(number, "Not a directory", "runs/tiny"))) == (
        "the system refused: not a directory\n  --> runs/tiny\nhelp: see what is at this path"
    )


def test_too_little_memory_is_one_message():
    assert str(of_machine(MemoryError())) == (
        "there is not enough memory\nhelp: allow more, or use less at once"
    )


def test_one_thing_has_no_plural():
    assert [counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
