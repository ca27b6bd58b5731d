import numpy as np

from tests.model.networks import tiny
from tinybert.model.parameters import encoder_shapes, seeded


def test_shapes_have_hugging_face_names_in_network_order():
    shapes = encoder_shapes(tiny(num_hidden_layers=1))
    layer = "encoder.layer.0"
    assert list(shapes.items()) == [
        ("embeddings.word_embeddings.weight", (31, 16)),
        ("embeddings.position_embeddings.weight", (10, 16)),
        ("embeddings.token_type_embeddings.weight", (2, 16)),
        ("embeddings.LayerNorm.weight", (16,)),
        ("embeddings.LayerNorm.bias", (16,)),
        (f"{layer}.attention.self.query.weight", (16, 16)),
        (f"{layer}.attention.self.query.bias", (16,)),
        (f"{layer}.attention.self.key.weight", (16, 16)),
        (f"{layer}.attention.self.key.bias", (16,)),
        (f"{layer}.attention.self.value.weight", (16, 16)),
        (f"{layer}.attention.self.value.bias", (16,)),
        (f"{layer}.attention.output.dense.weight", (16, 16)),
        (f"{layer}.attention.output.dense.bias", (16,)),
        (f"{layer}.attention.output.LayerNorm.weight", (16,)),
        (f"{layer}.attention.output.LayerNorm.bias", (16,)),
        (f"{layer}.intermediate.dense.weight", (24, 16)),
        (f"{layer}.intermediate.dense.bias", (24,)),
        (f"{layer}.output.dense.weight", (16, 24)),
        (f"{layer}.output.dense.bias", (16,)),
        (f"{layer}.output.LayerNorm.weight", (16,)),
        (f"{layer}.output.LayerNorm.bias", (16,)),
        ("pooler.dense.weight", (16, 16)),
        ("pooler.dense.bias", (16,)),
    ]


def test_relative_positions_take_the_place_of_the_position_embedding():
    absolute = encoder_shapes(tiny())
    relative = encoder_shapes(tiny(use_relative_positions=True))
    assert absolute.keys() - relative.keys() == {"embeddings.position_embeddings.weight"}
    tables = [f"encoder.layer.{i}.attention.self.relative_positions.weight" for i in range(2)]
    assert {name: relative[name] for name in relative.keys() - absolute.keys()} == dict.fromkeys(
        tables, (33, 4)
    )


def test_seeded_values_are_a_cut_normal_with_identity_norms_and_zero_biases():
    shapes = encoder_shapes(tiny(vocab_size=5000))
    values = seeded(shapes, seed=3, std=0.02, prefix="student.")
    assert {name: value.shape for name, value in values.items()} == shapes
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}
    words = values["embeddings.word_embeddings.weight"]
    assert 0.039 < np.abs(words).max() <= 0.04
    assert 0.017 < words.std() < 0.018  # a normal of 0.02 cut at two deviations
    assert words[0].any()  # the padding row is a row like any other
    for name, value in values.items():
        if name.endswith("bias"):
            assert not value.any(), name
        elif "LayerNorm" in name:
            assert (value == 1).all(), name
        else:
            assert value.std() > 0.01, name


def test_seeded_values_depend_on_seed_network_and_name_alone():
    shapes = {"a.weight": (4, 4), "b.weight": (4, 4)}
    values = seeded(shapes, seed=1, std=1.0, prefix="student.")
    again = seeded({"b.weight": (4, 4)}, seed=1, std=1.0, prefix="student.")
    assert (values["b.weight"] == again["b.weight"]).all()
    assert (values["a.weight"] != values["b.weight"]).any()
    assert (
        values["a.weight"] != seeded(shapes, seed=2, std=1.0, prefix="student.")["a.weight"]
    ).any()
    assert (
        values["a.weight"] != seeded(shapes, seed=1, std=1.0, prefix="teacher.")["a.weight"]
    ).any()
