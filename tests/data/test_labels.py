import pytest

from tinybert.data.labels import check_label_order
from tinybert.errors import InputError


def test_label_orders_that_differ_are_refused(tmp_path):
    check_label_order(("a", "b"), ("a", "b"), where="dev", source="train")
    check_label_order(None, ("a", "b"), where="dev", source="train")
    check_label_order(("a", "b"), None, where="dev", source="train")
    check_label_order(("A", "B"), ("a", "b"), where="dev", source="train")  # only the case
    with pytest.raises(InputError, match="the labels are `a`, `A`; those of train are `A`, `a`"):
        check_label_order(("a", "A"), ("A", "a"), where="dev", source="train")
    with pytest.raises(InputError) as error:
        check_label_order(("b", "a"), ("a", "b"), where="data/dev", source="the training records")
    assert str(error.value) == (
        "the labels are `b`, `a`; those of the training records are `a`, `b`\n  --> data/dev\n"
        "help: let both have one order: prepare the records anew with --labels or --labels-from, "
        "for `prepare glue` with --label-names; or say in [task] what the records' labels are "
        'called: label_names = { records_name = "name" }'
    )
