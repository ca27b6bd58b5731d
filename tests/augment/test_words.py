import pytest

from tests.augment.conftest import IDS, WORDS
from tinybert.augment.words import read_kept_words


def found(reader, text, **options):
    (read,) = reader(**options).read([text])
    return [(text[word.start : word.end], word.text, word.piece, word.token) for word in read.words]


def test_words_are_what_the_tokenizer_parts_and_know_whether_they_are_one_piece(reader):
    assert found(reader, "  The MOVIE's unreal, Zzz 3 中国!") == [
        ("The", "the", 0, IDS["the"]),
        ("MOVIE", "movie", 1, IDS["movie"]),
        ("s", "s", 3, None),  # unknown to this vocabulary
        ("unreal", "unreal", 4, None),
        ("Zzz", "zzz", 7, None),
        ("中", "中", 9, IDS["中"]),
        ("国", "国", 10, IDS["国"]),
    ]


def test_words_beyond_the_room_stay(reader):
    assert [word for word, *_ in found(reader, "a unreal film", room=2)] == ["a"]
    assert [word for word, *_ in found(reader, "a unreal film", room=3)] == ["a", "unreal"]
    (read,) = reader(room=2).read(["a unreal film"])
    assert read.input_ids == [IDS["a"], IDS["un"]]


def test_kept_words_stay_however_they_are_written(reader, tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("THE\n\nisn't\n")
    kept = read_kept_words(path, reader().tokenizer)
    assert kept == {"the", "isn", "'", "t"}
    assert [word for word, *_ in found(reader, "the film", kept=kept)] == ["film"]


def test_only_whole_words_with_a_letter_take_a_words_place(reader):
    tokens = [WORDS[id] for id in reader().word_tokens()]
    assert tokens == "the a film movie is was good bad great not very it un 中 国 银 行 x".split()
    words = {"film": True, "zzz": True, "Film": False, "u.s.": False, "a b": False, "3": False}
    assert {word: reader().is_word(word) for word in words} == words


@pytest.mark.parametrize(
    ("text", "others", "answer"),
    [
        ("The  movie, is Good.", {"movie": "film", "good": "bad"}, "The  film, is bad."),
        ("中国银行", {"国": "行"}, "中行银行"),
        ("中国银行", {"国": "film"}, "中film银行"),
        ("中国银行", {"国": "film", "银": "movie"}, "中film movie行"),
        ("x中a", {"中": "film"}, "x film a"),
        ("a,a", {"a": "x"}, "x,x"),
    ],
)
def test_replaced_words_are_read_as_the_words_that_they_are(reader, text, others, answer):
    words = reader()
    (read,) = words.read([text])
    replaced = words.replace(text, [(w, others[w.text]) for w in read.words if w.text in others])
    assert replaced == answer
    (before,) = words.read([text])
    (after,) = words.read([replaced])
    assert [others.get(word.text, word.text) for word in before.words] == [
        word.text for word in after.words
    ]
