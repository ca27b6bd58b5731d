import pytest

from tinybert.distill.layer_map import copied_names, layer_map
from tinybert.errors import RecipeError


@pytest.mark.parametrize(
    ("choice", "teacher", "student", "expected"),
    [
        ("uniform", 12, 4, (3, 6, 9, 12)),
        ("uniform", 6, 6, (1, 2, 3, 4, 5, 6)),
        ("uniform", 6, 1, (6,)),
        ("top", 12, 4, (9, 10, 11, 12)),
        ("bottom", 12, 4, (1, 2, 3, 4)),
        ((2, 2, 12), 12, 3, (2, 2, 12)),
        ([12, 1], 12, 2, (12, 1)),
    ],
)
def test_each_student_layer_has_a_teacher_layer(choice, teacher, student, expected):
    assert layer_map(choice, teacher, student) == expected


@pytest.mark.parametrize(
    ("choice", "teacher", "student", "message"),
    [
        (
            "uniform",
            12,
            5,
            "5 student layers do not divide 12 teacher layers\n"
            "help: use `top`, `bottom` or a list of 5 teacher layers",
        ),
        (
            "top",
            4,
            6,
            "a student of 6 layers has no layer map `top` to a teacher of 4\n"
            "help: give a list of 6 teacher layers, or use a smaller student",
        ),
        (
            "middle",
            4,
            2,
            "unknown layer map `middle`\n"
            "help: use `uniform`, `top`, `bottom` or a list of teacher layers",
        ),
        (
            (1, 2),
            4,
            3,
            "a layer map of 2 layers for a student of 3\n"
            "help: give one teacher layer for each student layer",
        ),
        (
            (1, 5),
            4,
            2,
            "teacher layer 5 in the layer map of a teacher of 4\nhelp: use layers from 1 to 4",
        ),
        (
            (0, 4),
            4,
            2,
            "teacher layer 0 in the layer map of a teacher of 4\nhelp: use layers from 1 to 4",
        ),
    ],
)
def test_a_map_that_does_not_fit_is_refused(choice, teacher, student, message):
    with pytest.raises(RecipeError) as caught:
        layer_map(choice, teacher, student)
    assert str(caught.value) == message


def test_a_copied_layer_has_the_number_of_its_teacher_layer():
    names = ["embeddings.LayerNorm.bias", "pooler.dense.weight"]
    names += [f"encoder.layer.{layer}.output.dense.bias" for layer in range(11)]
    copied = copied_names(names, range(2, 24, 2))
    assert copied["embeddings.LayerNorm.bias"] == "embeddings.LayerNorm.bias"
    assert copied["pooler.dense.weight"] == "pooler.dense.weight"
    assert copied["encoder.layer.1.output.dense.bias"] == "encoder.layer.3.output.dense.bias"
    assert copied["encoder.layer.10.output.dense.bias"] == "encoder.layer.21.output.dense.bias"
    assert list(copied) == names
