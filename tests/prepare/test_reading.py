from collections import Counter

from tinybert.prepare.reading import read_lines, read_table


def test_only_a_line_feed_ends_a_line(write):
    path = write("raw", "\ufeffa\u2028b\x0cc\r\nd\re\n\ufefff")
    sizes = []
    assert list(read_lines(path, sizes.append)) == [
        (1, "a\u2028b\x0cc"),
        (2, "d\re"),
        (3, "\ufefff"),
    ]
    assert sum(sizes) == path.stat().st_size


def test_rows_name_their_lines(write):
    path = write("raw", 't,l\n\n"a\n\nb",x\nc,y\n')
    rows = list(read_table(path, "csv", ["l", "t"], lambda size: None))
    assert rows == [(f"{path}:5", ["x", "a\n\nb"]), (f"{path}:6", ["y", "c"])]


def test_broken_rows_are_counted_where_they_may_be_left_out(write):
    path = write("raw", "t\tl\na\na\tb\na\tb\tc\n")
    damaged = Counter()
    rows = list(read_table(path, "tsv", ["t"], lambda size: None, damaged=damaged))
    assert rows == [(f"{path}:3", ["a"])]
    assert damaged == {"left_out_rows": 2}
