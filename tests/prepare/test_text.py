import pytest

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


def test_a_plain_file_is_one_document_and_a_wiki_file_many(tmp_path):
    plain, wiki = tmp_path / "plain", tmp_path / "wiki"
    plain.write_bytes(b"One.\r\n\r\n Two. \nThree.")
    wiki.write_bytes(
        b'<doc id="1" title="A">\nA\n\nOne.\n\nTwo.\n</doc>\n\n<doc id="2">\nB\n\nThree.\n</doc>\n'
    )
    assert [(doc, text) for doc, text, _ in paragraphs(plain)] == [
        (0, "One."),
        (0, "Two."),
        (0, "Three."),
    ]
    assert [(doc, text) for doc, text, _ in paragraphs(wiki)] == [
        (0, "One."),
        (0, "Two."),
        (1, "Three."),
    ]
