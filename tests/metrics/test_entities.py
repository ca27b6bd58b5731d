import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybert.data.labels import IGNORED as X
from tinybert.errors import InputError
from tinybert.metrics.entities import entity_scores, find_entities
from tinybert.prepare.ner import CLUENER_TYPES

NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
O, BP, IP, BL, IL = range(5)  # noqa: E741
TAGS = ["O", *(f"{place}-{kind}" for place in "BIES" for kind in ("PER", "LOC"))]


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("", []),
        ("O O", []),
        ("B-P I-P O B-L", ["0-1P", "3-3L"]),
        ("B-P B-P I-P", ["0-0P", "1-2P"]),
        ("O I-P I-P", ["1-2P"]),  # I opens an entity too
        ("B-P I-L I-L", ["0-0P", "1-2L"]),  # and so does another type
        ("S-P S-P O", ["0-0P", "1-1P"]),
        ("B-P I-P E-P I-P", ["0-2P", "3-3P"]),  # E closes
        ("B-P M-P E-P", ["0-2P"]),
        ("I-P O I-P", ["0-0P", "2-2P"]),
    ],
)
def test_entities_are_found_as_computed_by_hand(tags, entities):
    found = sorted(f"{first}-{last}{kind}" for first, last, kind in find_entities(tags.split()))
    assert found == entities


def test_scores_are_as_computed_by_hand():
    label_ids = np.array([[X, BP, IP, X, BL, O, X], [X, BL, IL, O, BP, X, X]], np.int32)
    predictions = np.array(
        # row 0: PER found through the piece that does not count, LOC found, a wrong PER
        # row 1: LOC too short, PER of the wrong type
        [[BP, BP, IP, O, BL, BP, O], [IP, BL, O, O, BL, IL, O]],
        np.int32,
    )
    assert entity_scores(predictions, label_ids, NAMES) == {
        "entity_precision": 2 / 5,
        "entity_recall": 2 / 4,
        "entity_f1": 4 / 9,
    }


def test_predictions_of_a_network_are_scored_as_counted_by_hand():
    # Shortened from a run on CLUENER: (tags, predicted tags), and the places of the entities.
    # 7 are true, 10 are predicted, 3 are right.
    rows = [
        (  # name 0-2, address 4-5; found: name 0-1, government 2
            "B-name I-name I-name O B-address I-address",
            "B-name I-name I-government O O O",
        ),
        (  # name 0-1, organization 3-4; found: both
            "B-name I-name O B-organization I-organization",
            "B-name I-name O B-organization I-organization",
        ),
        (  # game 0-2, name 4-7, name 9-11; found: game 0-2, name 4-5, 7, game 8, 10, name 11
            "B-game I-game I-game O B-name I-name I-name I-name O B-name I-name I-name",
            "B-game I-game I-game O I-name I-name O I-name I-game O I-game I-name",
        ),
    ]
    names = ("O", *(f"{place}-{kind}" for kind in CLUENER_TYPES for place in "BI"))
    label_ids, predictions = np.full((2, 3, 12), X, np.int32)
    for row, tags in enumerate(rows):
        for ids, side in zip((label_ids, predictions), tags, strict=True):
            ids[row, : len(side.split())] = [names.index(tag) for tag in side.split()]
    assert entity_scores(predictions, label_ids, names) == {
        "entity_precision": 3 / 10,
        "entity_recall": 3 / 7,
        "entity_f1": 6 / 17,
    }


def test_entities_end_with_their_row():
    label_ids = np.array([[O, BP], [IP, O]], np.int32)
    assert entity_scores(label_ids, label_ids, NAMES)["entity_f1"] == 1
    joined = np.array([[O, BP, IP, O]], np.int32)
    assert len(find_entities([NAMES[tag] for tag in joined[0]])) == 1


@pytest.mark.parametrize(("predicted", "true"), [(O, O), (BP, O), (O, BP)])
def test_without_entities_on_one_side_every_score_is_zero(predicted, true):
    scores = entity_scores(np.array([[predicted]]), np.array([[true]]), NAMES)
    assert scores == {"entity_precision": 0, "entity_recall": 0, "entity_f1": 0}


def test_names_that_are_no_tags_are_refused():
    with pytest.raises(InputError) as error:
        entity_scores(np.array([[0]]), np.array([[0]]), ("O", "PER"))
    assert str(error.value) == ("`PER` is no tag: a tag is O, or B-, I-, E-, S- or M- and a type")


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(TAGS), min_size=1, max_size=12), min_size=1, max_size=8))
def test_entities_are_those_of_seqeval(rows):
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    for tags in rows:
        expected = {(first, last, kind) for kind, first, last in labeling.get_entities(tags)}
        assert find_entities(tags) == expected


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scores_are_those_of_seqeval_at_scale():
    metrics = pytest.importorskip("seqeval.metrics")
    generator = np.random.default_rng(1)
    label_ids = generator.integers(0, len(TAGS), (2000, 40)).astype(np.int32)
    wrong = generator.random(label_ids.shape) < 0.3
    predictions = np.where(wrong, generator.integers(0, len(TAGS), label_ids.shape), label_ids)
    label_ids[generator.random(label_ids.shape) < 0.2] = X
    true = [[TAGS[tag] for tag in row if tag != X] for row in label_ids]
    found = [
        [TAGS[tag] for tag, label in zip(row, labels, strict=True) if label != X]
        for row, labels in zip(predictions, label_ids, strict=True)
    ]
    scores = entity_scores(predictions, label_ids, TAGS)
    for name in ("precision", "recall", "f1"):
        expected = getattr(metrics, f"{name}_score")(true, found)
        assert scores[f"entity_{name}"] == pytest.approx(expected, rel=1e-12, abs=0)
    assert 0.2 < scores["entity_f1"] < 0.9
