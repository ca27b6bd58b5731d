"""Which teacher layer each student layer learns from, and may begin as."""

from collections.abc import Iterable, Sequence

from tinybert.errors import RecipeError
from tinybert.model.parameters import layer_name


def layer_map(
    choice: str | Sequence[int], teacher_layers: int, student_layers: int
) -> tuple[int, ...]:
    """Return the teacher layer, counted from 1, of each student layer.

    Args:
        choice: `uniform` (layer m learns from m * L_T / L_S, TinyBERT section 3.1), `top` (the
            teacher's last layers), `bottom` (its first layers), or a teacher layer for each
            student layer.
        teacher_layers: L_T.
        student_layers: L_S.

    Raises:
        RecipeError: The choice does not fit the two depths.
    """
    if not isinstance(choice, str):
        return _explicit(tuple(choice), teacher_layers, student_layers)
    if student_layers > teacher_layers:
        raise RecipeError(
            f"a student of {student_layers} layers has no layer map `{choice}` to a teacher of "
            f"{teacher_layers}",
            cure=f"give a list of {student_layers} teacher layers, or use a smaller student",
        )
    students = range(1, student_layers + 1)
    if choice == "top":
        return tuple(teacher_layers - student_layers + layer for layer in students)
    if choice == "bottom":
        return tuple(students)
    if choice != "uniform":
        raise RecipeError(
            f"unknown layer map `{choice}`",
            cure="use `uniform`, `top`, `bottom` or a list of teacher layers",
        )
    if teacher_layers % student_layers:
        raise RecipeError(
            f"{student_layers} student layers do not divide {teacher_layers} teacher layers",
            cure=f"use `top`, `bottom` or a list of {student_layers} teacher layers",
        )
    return tuple(layer * teacher_layers // student_layers for layer in students)


def copied_names(names: Iterable[str], layers: Sequence[int]) -> dict[str, str]:
    """Return the name of the teacher's parameter that each of a student's begins as.

    Embeddings and pooler have the same names on either side; layer m of the student is the
    teacher's layer `layers[m - 1]`, counted from 1 (DistilBERT, Sanh et al., arXiv 1910.01108,
    section 3, takes one layer out of two).

    Args:
        names: Names of the student's parameters, without prefix.
        layers: Teacher layer of each student layer.
    """
    prefixes = {
        f"{layer_name(student)}.": f"{layer_name(teacher - 1)}."
        for student, teacher in enumerate(layers)
    }
    copied = {}
    for name in names:
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        copied[name] = prefixes.get(prefix, "") + name.removeprefix(prefix)
    return copied


def _explicit(layers: tuple[int, ...], teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Return the list itself if it fits."""
    if len(layers) != student_layers:
        raise RecipeError(
            f"a layer map of {len(layers)} layers for a student of {student_layers}",
            cure="give one teacher layer for each student layer",
        )
    outside = [layer for layer in layers if not 1 <= layer <= teacher_layers]
    if outside:
        raise RecipeError(
            f"teacher layer {outside[0]} in the layer map of a teacher of {teacher_layers}",
            cure=f"use layers from 1 to {teacher_layers}",
        )
    return layers
