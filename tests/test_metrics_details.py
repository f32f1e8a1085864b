"""Details that the tests of calibration do not see: a mutation of each of them survived those."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.mcmc import Metropolis, RandomWalk, parallel_tempering, tempered
from physgen.mcmc.independence import _accepted
from physgen.mcmc.measurement import _bin_size, measure
from physgen.metrics import (
    Column,
    bin_edges,
    classifier_test,
    compare_columns,
    equivalent_shift,
    js_divergence,
    js_from_probabilities,
    wasserstein,
)
from physgen.metrics.classifier import platt
from physgen.metrics.columns import _layout, equivalent_shift_of_ks
from physgen.metrics.copies import _quantile, _upper_tail
from physgen.metrics.divergences import js_estimate, js_of_differences
from physgen.metrics.image_classifier import _logits, _loss, _train
from physgen.metrics.intervals import _lowest
from physgen.metrics.resampling import Design
from physgen.metrics.separation import triangular_discrimination
from physgen.metrics.subsets import select_events


def normal(seed, *shape, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, shape)


def test_js_of_the_difference_observed_is_js():
    p, q = np.array([0.5, 0.2, 0.3, 0.0]), np.array([0.1, 0.3, 0.4, 0.2])
    expected = js_from_probabilities(p, q)
    for sizes in ((100, 100), (30, 500)):
        assert js_of_differences((p - q)[None], p, q, *sizes) == pytest.approx([expected])


def test_the_error_of_js_counts_bins_that_have_events_on_the_scale_that_chance_leaves():
    p, q, none = np.array([0.6, 0.4]), np.array([0.1, 0.9]), np.zeros(5)
    drawn, halves = np.array([0.3, 0.1, 0.2, 0.3]), np.array([0.1, 0.2])
    design = Design.of(20, 20)
    found = js_estimate(drawn, halves, p, q, design)
    padded = js_estimate(drawn, halves, np.append(p, none), np.append(q, none), design)
    assert padded.std_error == found.std_error
    same = js_estimate(drawn, halves, p, p, design)
    assert same.std_error == pytest.approx(drawn[1:].std() / (1 - drawn[1:].mean()))


def test_miller_madow_counts_a_bin_that_both_fill_alike():
    x, edges = np.repeat([0.5, 1.5, 2.5], 40), np.array([1.0, 2.0])
    found = js_divergence(x, x, edges=edges, correction="miller-madow", n_permutations=19, rng=0)
    assert found.value == pytest.approx(-(2 * 2 / 480 - 2 / 480) / math.log(2))


def test_events_that_are_dropped_do_not_enter_the_error():
    x, y = normal(1, 20_000), normal(2, 20_000, shift=1.5)
    edges = np.linspace(0, 3, 6)
    inside = [z[(z >= 0) & (z < 3)] for z in (x, y)]
    found = triangular_discrimination(
        x, y, edges=edges, keep_outside=False, n_permutations=19, rng=0
    )
    alone = triangular_discrimination(
        *inside, edges=edges, keep_outside=False, n_permutations=19, rng=0
    )
    assert found.value == pytest.approx(alone.value)
    assert found.std_error == pytest.approx(alone.std_error, rel=0.002)


def test_the_log_weights_of_either_sample_are_those_of_the_likelihood_ratio():
    x, y = normal(1, 2000, 1), normal(2, 2000, 1, shift=1.0)
    found = classifier_test(x, y, rng=0)
    for z, rows, log_weight in zip((x, y), found.rows, found.log_weights, strict=True):
        exact = 0.5 - z[rows, 0]
        assert np.corrcoef(exact, log_weight)[0, 1] > 0.7
        assert abs((log_weight - exact).mean()) < 0.2


def test_a_classifier_that_is_the_wrong_way_round_has_found_nothing():
    labels = np.arange(200) % 2
    assert platt(-(2.0 * labels - 1) + normal(0, 200), labels, np.ones(200)) == (0.0, 0.0)


def test_the_numbers_of_a_column_are_those_observed():
    x, y = normal(1, 3000), normal(2, 3000, shift=0.3)
    (found,), _ = compare_columns(
        [Column(x, y)], Design.of(3000, 3000), n_permutations=199, rng=np.random.default_rng(0)
    )
    assert found.w1.value == pytest.approx(stats.wasserstein_distance(x, y))
    assert found.ks.value == pytest.approx(stats.ks_2samp(x, y).statistic)
    ks = equivalent_shift_of_ks(math.sqrt(found.ks.value**2 - found.ks_noise**2))
    assert found.shift == pytest.approx(max(equivalent_shift(found.js.value), ks))
    js = js_divergence(x, y, n_permutations=199, rng=1)
    assert found.js.value == pytest.approx(js.value, rel=0.05)
    assert found.js.floor == pytest.approx(js.floor, rel=0.5)


def test_where_nothing_is_seen_nothing_is_excluded():
    columns = [Column(normal(1, 300), normal(2, 300))]
    (found,), _ = compare_columns(
        columns, Design.of(300, 300), n_permutations=99, rng=np.random.default_rng(0)
    )
    assert min(found.js.p_value, found.ks.p_value) > 0.05
    assert found.shift_lower == 0


def test_the_halves_of_the_reference_are_binned_as_it_is():
    x, y = normal(1, 500), normal(2, 400, shift=1.0)
    layout = _layout(Column(x, y), Design.of(500, 400)).of_reference(500)
    below = np.searchsorted(np.sort(x), layout.edges, side="left")
    assert (layout.last_of_bin + 1 == below).all()


def test_a_tail_and_a_quantile():
    assert _upper_tail(2.0, 1.0) == pytest.approx(stats.norm.sf(2.0))
    assert (_upper_tail(0.1, 0.0), _upper_tail(0.0, 0.0)) == (0.0, 1.0)
    assert _quantile(np.array([3.0, 1.0, 2.0]), 1.0, Design.of(3, 3)) == (3.0, 2)


def test_the_lower_end_of_an_interval_is_where_its_quantile_meets_the_value():
    def quantile(_, level):
        return 0.1 * stats.norm.ppf(level)

    assert _lowest(1.0, quantile) == pytest.approx(1 - 0.1 * stats.norm.ppf(0.975), abs=1e-4)


def test_many_values_that_repeat_are_no_atoms():
    assert len(bin_edges(np.repeat(np.arange(5000.0), 8))) < 500


def w1_on_circle(seed, by, shift=0.7, spread=0.5):
    x, y = (spread * normal(2 * seed + k, 500) + k * shift + by for k in (0, 1))
    x, y = (np.mod(z + math.pi, 2 * math.pi) - math.pi for z in (x, y))
    return wasserstein(x, y, period=2 * math.pi, n_permutations=1, rng=0)


@pytest.mark.parametrize("shift", [0.7, 2.5])
def test_the_error_of_w1_on_a_circle_is_its_scatter_wherever_it_begins(shift):
    found = [w1_on_circle(k, 0.0, shift) for k in range(200)]
    scatter = np.std([one.value for one in found])
    assert np.mean([one.std_error for one in found]) == pytest.approx(scatter, rel=0.2)
    for by in (1.0, 2.5, 4.0):
        assert w1_on_circle(0, by, shift).std_error == pytest.approx(found[0].std_error, rel=0.02)


def test_multipliers_leave_the_content_of_every_slice():
    slices = (np.arange(60) % 3, np.arange(90) % 3)
    weights = (np.random.default_rng(0).uniform(0.5, 2, 60), None)
    side = Design.of(60, 90, slices=slices, weights=weights).sides[0]
    for draw in side.multiplied(20, np.random.default_rng(1)):
        assert np.abs(np.bincount(slices[0], draw)).max() < 1e-12


def test_chosen_events_keep_their_weights():
    weights = np.random.default_rng(0).uniform(0.5, 2, 1000)
    design = Design.of(1000, 1000, weights=(None, weights))
    found = select_events(design, 200, all_events=False, rng=np.random.default_rng(0))
    expected = weights[found.theirs] / weights[found.theirs].sum()
    assert np.allclose(found.design.a, 1 / len(found.ours))
    assert np.allclose(found.design.b, expected)


def test_the_network_kept_is_the_best_on_held_out_images():
    """There is nothing to learn, so that what is learned by heart makes it worse."""
    images = torch.from_numpy(normal(0, 300, 8, 8)).float()[:, None]
    targets = torch.from_numpy(np.random.default_rng(1).integers(0, 2, 300)).float()
    targets = torch.stack((targets, torch.ones(300)), dim=1)
    network = _train(images, targets, (8, 8), (), n_steps=300, seed=0)
    assert float(_loss(_logits(network, images), targets)) > 0.6


def test_tau_has_no_unit():
    x = normal(0, 200, 128) + normal(1, 128)  # the chains do not agree
    taus = [measure(scale * x, min_length=0).tau for scale in (1, 100)]
    assert taus[1] == pytest.approx(taus[0])


def test_bins_of_a_chain_are_many_times_tau():
    assert _bin_size(50.0, 5000, 1) == 500


def test_a_proposal_of_no_finite_weight_is_never_taken():
    log_weight = torch.tensor([0.0, math.nan, math.inf, 0.0]).reshape(4, 1)
    at, _ = _accepted(log_weight, torch.full((4, 1), -1.0))
    assert set(at.flatten().tolist()) <= {0, 3}


def test_a_hot_start_without_a_finite_energy_is_told():
    start = torch.zeros(2, 3, 1)
    start[0, 1] = math.nan
    with pytest.raises(ValueError, match="energy at the start of chain"):
        parallel_tempering(
            Metropolis(proposal=RandomWalk(step_size=0.5)),
            tempered(lambda x: x.square().sum(1)), start, betas=(0.5, 1.0), n_steps=1, rng=0,
        )  # fmt: skip
