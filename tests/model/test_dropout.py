import pytest

from tests.model.networks import tiny
from tinybert.model.dropout import DropoutSite, dropout_sites, keep_scale


def test_sites_come_in_the_order_in_which_the_network_takes_their_masks():
    sites = dropout_sites(tiny(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2), 8)
    hidden, pairs = (8, 16), (4, 8, 8)
    assert sites == (
        DropoutSite("embeddings", "hidden", hidden, 0.1),
        DropoutSite("encoder.layer.0.attention.output", "hidden", hidden, 0.1),
        DropoutSite("encoder.layer.0.output", "hidden", hidden, 0.1),
        DropoutSite("encoder.layer.1.attention.output", "hidden", hidden, 0.1),
        DropoutSite("encoder.layer.1.output", "hidden", hidden, 0.1),
        DropoutSite("encoder.layer.0.attention.self", "attention", pairs, 0.2),
        DropoutSite("encoder.layer.1.attention.self", "attention", pairs, 0.2),
    )


@pytest.mark.parametrize(
    ("hidden", "attention", "kinds"),
    [(0.0, 0.0, set()), (0.1, 0.0, {"hidden"}), (0.0, 0.1, {"attention"}), (1e-6, 1e-6, set())],
)
def test_a_rate_of_zero_has_no_sites(hidden, attention, kinds):
    config = tiny(hidden_dropout_prob=hidden, attention_probs_dropout_prob=attention)
    assert {site.kind for site in dropout_sites(config, 8)} == kinds


def test_the_factor_of_kept_activations_undoes_the_rate_that_is_drawn():
    assert keep_scale(0.0) == 1.0
    assert keep_scale(0.5) == 2.0
    assert keep_scale(0.1) == 65536 / (65536 - 6554)
