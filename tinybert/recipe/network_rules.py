"""Rules about `[network]`, `[teacher]`, `[student]`, and how their sizes fit together."""

from collections.abc import Iterator
from itertools import chain

from tinybert.recipe.diagnose import ValidValues, missing_keys
from tinybert.recipe.keys import as_toml
from tinybert.recipe.network_tables import NetworkKeys
from tinybert.recipe.problems import Problem

DISTILLATIONS = ("general_distill", "task_distill")
COPIED_KEYS = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "hidden_act", "layer_norm_eps"),
    *("max_position_embeddings", "type_vocab_size", "use_relative_positions"),
)
"""What a student has in common with the teacher whose layers it begins as, beside `vocab_size`."""


def network_problems(written: ValidValues, stage: str) -> Iterator[Problem]:
    """Yield every contradiction within and between the networks."""
    yield from chain(
        _one_network(written, stage),
        _shared_keys_once(written),
        _weights(written, stage),
        _heads_divide_width(written),
        _positions_suffice(written),
        _padding_is_a_token(written),
    )
    if stage in DISTILLATIONS:
        yield from chain(_same_vocabulary(written), _student_not_deeper(written))


def _one_network(written: ValidValues, stage: str) -> Iterator[Problem]:
    if stage in DISTILLATIONS:
        return
    if not written.has("teacher") and not written.has("student"):
        yield written.at_key((), f"missing table [teacher] or [student], the network to {stage}")
    if written.has("teacher") and written.has("student"):
        message = "[teacher] and [student] are both written"
        yield written.at_key(("student",), message, f"keep the network to {stage}")


def _shared_keys_once(written: ValidValues) -> Iterator[Problem]:
    """Check that each key is in `[network]`, or in each of `[teacher]` and `[student]`."""
    networks = written.networks()
    both = " and ".join(f"[{name}]" for name in networks)
    nowhere = []
    for key in NetworkKeys.model_fields:
        own = [name for name in networks if written.has(name, key)]
        if written.has("network", key):
            for name in own:
                message = f"`{key}` is written in [network] and in [{name}]"
                yield written.at_key((name, key), message, f"keep it in [network] or in {both}")
        elif not own:
            nowhere.append(key)
        else:
            for name in networks:
                if name not in own:
                    message = f"missing key `{key}` in [{name}]"
                    cure = f"write it in {both}, or once in [network]"
                    yield written.at_key((name,), message, cure)
    if nowhere and not (written.has("network") and not written.table("network")):
        yield missing_keys(written.document, NetworkKeys, ("network",), nowhere)


def _weights(written: ValidValues, stage: str) -> Iterator[Problem]:
    """Check that each network has one origin of its weights, and one that its stage allows."""
    for name in written.networks():
        load = f"load_{name}_ckpt_path"
        yield from written.exactly_one((name,), ("init", load))
        init = written.get(name, "init")
        if init == "teacher":
            yield from _copy_of_teacher(written, stage)
        elif init is None:
            continue
        elif stage == "evaluate":
            message = "a seeded network has learned nothing to evaluate"
            yield written.at_value((name, "init"), message, f"write `{load}` instead")
        elif stage == "task_distill" and name == "student" and not written.has("phase1"):
            message = "a student for [phase2] alone cannot be seeded"
            cure = f"write `{load}` instead, or add [phase1]"
            yield written.at_value((name, "init"), message, cure)


def _copy_of_teacher(written: ValidValues, stage: str) -> Iterator[Problem]:
    """Check that the student's first weights can be copies of the teacher's."""
    path = ("student", "init")
    if stage not in DISTILLATIONS:
        message = f"there is no teacher to copy in a recipe of {stage}"
        yield written.at_value(path, message, "write `load_student_ckpt_path` instead")
    elif stage == "task_distill" and not written.has("phase1"):
        message = "the layers to copy are those of `layer_map` in [phase1.distill]"
        cure = "write `load_student_ckpt_path` instead, or add [phase1]"
        yield written.at_value(path, message, cure)
    for key in COPIED_KEYS if written.has("teacher") else ():
        teacher, student = written.shared("teacher", key), written.shared("student", key)
        if teacher is not None and student is not None and teacher != student:
            message = (
                f"`{key}` is {as_toml(teacher)} in [teacher] and {as_toml(student)} in [student], "
                "which begins as a copy"
            )
            cure = f'write {as_toml(teacher)}, or `init = "seeded"` in [student]'
            yield written.at_value(("student", key), message, cure)


def _heads_divide_width(written: ValidValues) -> Iterator[Problem]:
    for name in written.networks():
        width = written.get(name, "hidden_size")
        heads = written.shared(name, "num_attention_heads")
        if width and heads and width % heads:
            message = f"`hidden_size` of [{name}], {width}, does not divide into {heads} heads"
            cure = (
                f"write a multiple of `num_attention_heads`, such as {-(-width // heads) * heads}"
            )
            yield written.at_value((name, "hidden_size"), message, cure)


def _positions_suffice(written: ValidValues) -> Iterator[Problem]:
    length = written.get("data", "seq_length")
    for name in written.networks():
        rows = written.shared(name, "max_position_embeddings")
        relative = written.shared(name, "use_relative_positions")
        if length and rows and not relative and length > rows:
            message = f"`seq_length` {length} exceeds `max_position_embeddings` {rows} of [{name}]"
            yield written.at_value(("data", "seq_length"), message)


def _padding_is_a_token(written: ValidValues) -> Iterator[Problem]:
    for name in written.networks():
        index, size = written.get(name, "padding_idx"), written.shared(name, "vocab_size")
        if index is not None and size and index >= size:
            message = f"`padding_idx` {index} of [{name}] is no token id below {size}"
            yield written.at_value((name, "padding_idx"), message, "write the id of [PAD], 0")


def _same_vocabulary(written: ValidValues) -> Iterator[Problem]:
    reason = "both networks read the same token ids"
    yield from one_number(written, "vocab_size", f"write one number: {reason}")


def one_number(written: ValidValues, key: str, cure: str) -> Iterator[Problem]:
    """Check that a key of both networks, where each has it, has one value."""
    teacher, student = written.get("teacher", key), written.get("student", key)
    if teacher and student and teacher != student:
        message = f"`{key}` is {teacher} in [teacher] and {student} in [student]"
        yield written.at_value(("student", key), message, cure)


def _student_not_deeper(written: ValidValues) -> Iterator[Problem]:
    teacher = written.get("teacher", "num_hidden_layers")
    student = written.get("student", "num_hidden_layers")
    if teacher and student and student > teacher:
        message = f"the student has {student} layers, more than the teacher's {teacher}"
        yield written.at_value(("student", "num_hidden_layers"), message)
