import pytest

from tinybert.errors import InputError
from tinybert.prepare.text import find_texts, paragraphs, split_sentences


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("He came at 5 p.m. and left.", ["He came at 5 p.m. and left."]),
        ('He said "Go." Then (so.) "We" went.', ['He said "Go."', "Then (so.)", '"We" went.']),
        ("Version 2.10 is out. 3 men came.", ["Version 2.10 is out.", "3 men came."]),
        (
            "\u5929\u6c14\u597d\u3002\u6211\u4eec\u8d70\u3002",
            ["\u5929\u6c14\u597d\u3002", "\u6211\u4eec\u8d70\u3002"],
        ),
        ("Fin. \u00c9t\u00e9.", ["Fin.", "\u00c9t\u00e9."]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_sentences_end_where_the_rule_says(paragraph, sentences):
    assert split_sentences(paragraph) == sentences


def test_inputs_are_found_in_order_without_hidden_files(tmp_path):
    for name in ("b/2", "b/1", "b/.hidden", "b/.git/x", "c1", "c0", "a"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    inputs = [str(tmp_path / name) for name in ("b", "c*", "a")]
    found = [str(path.relative_to(tmp_path)) for path in find_texts(inputs)]
    assert found == ["b/1", "b/2", "c0", "c1", "a"]


MARK = b"\xef\xbb\xbf"
TITLED = b'<doc id="1" title="A">\nA\n\nOne.\n\nTwo.\n</doc>\n\n<doc id="2">\nB\n\nThree.\n</doc>\n'
FORMATS = {
    "text": b"One.\r\n Two. \n\n\t\nThree.\n",
    "text with a mark": MARK + b"\n\nOne.\nTwo.\n\nThree.",
    "wiki": TITLED,
    "wiki with a mark": MARK + b"\n " + TITLED.replace(b"\n\n", b"\n"),
    "jsonl": b'{"id": 1, "text": "One.\\n\\n Two."}\n\n{"text": "Three.", "title": "B"}\n',
    "jsonl with a mark": MARK + b' \n{"text": "One.\\nTwo."}\n{"text": "Three."}\n',
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("named", [False, True])
def test_every_format_holds_documents_of_paragraphs(name, named, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(FORMATS[name])
    format = name.split()[0] if named else None
    sizes = []
    assert list(paragraphs(path, format, sizes.append)) == [(0, "One."), (0, "Two."), (1, "Three.")]
    assert sum(sizes) == path.stat().st_size


def test_a_format_that_is_named_is_not_guessed(tmp_path):
    path = tmp_path / "text"
    path.write_text("{Braces} begin this text.\n")
    with pytest.raises(InputError, match="the line is not JSON"):
        list(paragraphs(path, None, lambda size: None))
    assert list(paragraphs(path, "text", lambda size: None)) == [(0, "{Braces} begin this text.")]
    for format, message in (("wiki", "text between two documents"), ("jsonl", "is not JSON")):
        with pytest.raises(InputError, match=message) as error:
            list(paragraphs(path, format, lambda size: None))
        assert error.value.cure == ""
