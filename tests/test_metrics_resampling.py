"""The engine under every p-value: its draws have the law that it promises."""

import numpy as np
import pytest

from physgen.metrics import resampling
from physgen.metrics.quadratic import quadratic_forms
from physgen.metrics.resampling import Design, as_design


def drawn(design, f, n=4000, seed=0):
    """Observed value of sum D f, and its draws."""
    rows = np.concatenate(list(design.draws(n, np.random.default_rng(seed))))
    values = rows @ f
    return values[0], values[1:]


def chains(n, length, seed):
    """Constant within blocks: as correlated as can be."""
    values = np.random.default_rng(seed).normal(size=n // length)
    return np.repeat(values, length), np.repeat(np.arange(n // length), length)


def test_permutations_keep_the_numbers_and_the_spread_is_known():
    f = np.random.default_rng(0).normal(size=50)
    design = Design.of(20, 30)
    rows = next(design.draws(100, np.random.default_rng(1)))
    assert np.array_equal(rows[0], design.observed)
    assert np.allclose(np.sort(rows, axis=1), np.sort(rows[0]))
    _, null = drawn(design, f)
    assert null.std() == pytest.approx(design.null_error(f), rel=0.05)
    assert null.mean() == pytest.approx(0, abs=4 * null.std() / np.sqrt(len(null)))


def test_multipliers_have_the_spread_of_weighted_means():
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=300)
    f = rng.normal(size=700)
    design = Design.of(300, 400, weights=(weights, None))
    assert not design.is_exact
    _, null = drawn(design, f)
    assert null.std() == pytest.approx(design.std_error(f), rel=0.05)
    repeated = [
        np.average(x, weights=w) - y.mean()
        for x, w, y in (
            (r.normal(size=300), r.exponential(size=300), r.normal(size=400))
            for r in (np.random.default_rng(k) for k in range(2000))
        )
    ]
    assert design.std_error(f) == pytest.approx(np.std(repeated), rel=0.15)


def test_blocks_count_once():
    x, blocks = chains(600, 20, 0)
    y = np.random.default_rng(1).normal(size=300)
    f = np.concatenate((x, y))
    design = Design.of(600, 300, blocks=(blocks, None), tau=(10.0, 0.5))
    naive = Design.of(600, 300)
    expected = np.sqrt(x[::20].var() / 30 + y.var() / 300)
    assert design.std_error(f) == pytest.approx(expected, rel=0.05)
    assert naive.std_error(f) < 0.5 * expected
    _, null = drawn(design, f)
    assert null.std() == pytest.approx(expected, rel=0.06)
    assert design.n_effective == pytest.approx((30, 300))


def test_events_are_exchanged_within_slices_only():
    slices = (np.repeat([5, 7], [10, 10]), np.repeat([7, 5], [15, 15]))
    design = Design.of(20, 30, slices=slices)
    of_slice = np.concatenate(design.slices) == 0
    # 5 holds half of either sample: nothing of it may reach the events of 7
    _, null = drawn(design, of_slice.astype(float))
    assert np.abs(null).max() < 1e-12
    _, free = drawn(Design.of(20, 30), of_slice.astype(float))
    assert free.std() > 0.1


@pytest.mark.parametrize("weighted", [False, True])
def test_slices_that_are_filled_differently_are_balanced(weighted):
    ours, theirs = np.repeat([0, 1], [300, 100]), np.repeat([0, 1], [100, 300])
    weights = (np.random.default_rng(0).exponential(size=400), None) if weighted else (None, None)
    design = Design.of(400, 400, slices=(ours, theirs), weights=weights)
    assert design.b[theirs == 0].sum() == pytest.approx(design.a[ours == 0].sum())
    rng = np.random.default_rng(1)
    f = np.concatenate((ours, theirs)) * 5.0 + rng.normal(size=800)
    observed, null = drawn(design, f)
    # the slices differ by five sigma, and yet nothing differs
    assert abs(observed) < 4 * null.std()
    plain, _ = drawn(Design.of(400, 400, weights=weights), f)
    assert abs(plain) > 2


def test_a_slice_without_candidate_events_is_refused():
    with pytest.raises(
        ValueError, match="1 slices of the conditions hold reference events but no"
    ):
        Design.of(4, 4, slices=(np.array([0, 0, 1, 1]), np.zeros(4, dtype=int)))


def test_halves_of_chains_keep_blocks_together():
    _, blocks = chains(400, 20, 0)
    design = Design.of(400, 100, blocks=(blocks, None))
    rows = next(design.halves(50, np.random.default_rng(0)))
    assert np.allclose(rows.reshape(50, 20, 20), rows.reshape(50, 20, 20)[:, :, :1])
    assert np.allclose(rows.sum(axis=1), 0)


def test_rows_of_a_design():
    design = Design.of(6, 4, weights=(np.arange(1.0, 7), None), blocks=(np.arange(6) // 2, None))
    part = design.restricted(np.array([2, 3, 5]), np.array([0, 1]))
    assert part.a == pytest.approx(np.array([3, 4, 6]) / 13)
    assert part.blocks[0].tolist() == [0, 0, 1]


def test_a_design_of_other_sizes_is_refused():
    design = Design.of(5, 6)
    assert as_design(design, 5, 6) is design
    with pytest.raises(ValueError, match="that of 5 and 6 events, but the samples have 5 and 7"):
        as_design(design, 5, 7)


@pytest.mark.parametrize("weights", [(None, None), (np.arange(1.0, 9), np.arange(2.0, 8))])
def test_the_number_of_draws_does_not_depend_on_their_blocks(monkeypatch, weights):
    monkeypatch.setattr(resampling, "_CHUNK", 14 * 4)  # of 4 draws
    design = Design.of(8, 6, weights=weights)
    blocks = list(design.draws(9, np.random.default_rng(0)))
    assert [len(block) for block in blocks] == [4, 4, 2]
    np.testing.assert_allclose(blocks[0][0], design.observed)
    halves = list(design.halves(9, np.random.default_rng(0)))
    assert [len(block) for block in halves] == [7, 2]


@pytest.mark.parametrize("n", [300, 5000])
def test_forms_are_as_many_as_were_asked_for(n):
    """Of few events, and of so many that they are drawn in groups."""
    z = np.random.default_rng(0).normal(size=(2 * n, 1))
    found = quadratic_forms(
        lambda x, y: x @ y.T, z, Design.of(n, n), 19, np.random.default_rng(1), with_diagonal=True
    )
    assert len(found.drawn) == 20
    observed = (z[:n].mean() - z[n:].mean()) ** 2
    assert found.drawn[0] == pytest.approx(observed, rel=1e-3)
    # halves of 300 and more events: (mean - mean)^2 of n / 2 each has the mean 4 / n
    assert found.halves.mean() == pytest.approx(4 / n, rel=0.5)


@pytest.mark.parametrize("weights", [None, np.ones(10), (None,)])
def test_weights_that_are_no_pair(weights):
    with pytest.raises(TypeError, match="weights are a pair, those of the reference and of the"):
        Design.of(10, 10, weights=weights)
