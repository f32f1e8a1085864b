import numpy as np
import pytest

import physgen as pg
from physgen.designs import chain_ids, design_of, slice_conditions
from physgen.summaries import Quantity
from physgen.validation import compare


def events(n, seed=0, **columns):
    rng = np.random.default_rng(seed)
    return pg.Events.from_dict({"x": rng.normal(size=n), **columns})


def given(e, *names):
    return e.replace_schema(e.schema.with_roles(conditions=names))


def quantity(a, b):
    return Quantity("x", "", np.asarray(a["x"], float), np.asarray(b["x"], float))


def ar1(n, tau, seed):
    rho = (2 * tau - 1) / (2 * tau + 1)
    rng = np.random.default_rng(seed)
    x = np.empty(n)
    x[0] = rng.normal()
    for t in range(1, n):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * rng.normal()
    return x


def test_chains_by_field_by_array_and_as_one():
    e = events(6, chain=np.array([3, 3, 7, 7, 3, 7]))
    assert chain_ids(e, "chain", "the reference").tolist() == [0, 0, 1, 1, 0, 1]
    assert chain_ids(e, True, "the reference").tolist() == [0] * 6
    assert chain_ids(e, None, "the reference") is None
    assert chain_ids(e, np.array([1, 1, 1, 2, 2, 2]), "it").tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(pg.SchemaError, match="no field 'chian' in the reference; did you mean"):
        chain_ids(e, "chian", "the reference")
    with pytest.raises(ValueError, match=r"6 events need 6 chain numbers, got shape \(2,\)"):
        chain_ids(e, np.array([1, 2]), "the reference")


def test_blocks_are_six_autocorrelation_times_long():
    a = pg.Events.from_dict({"x": ar1(20_000, 8.0, 0)})
    b = events(500)
    design, _, notes = design_of(a, b, [quantity(a, b)], chains=(True, None))
    assert design.tau[0] == pytest.approx(8, rel=0.25)
    lengths = np.bincount(design.blocks[0])
    assert lengths.min() >= 0.5 * 6 * design.tau[0]
    assert np.median(lengths) == np.ceil(6 * design.tau[0])
    assert design.blocks[1] is None
    assert notes[0].startswith("the reference has 1 Markov chain with tau = ")


def test_blocks_of_interleaved_chains_do_not_mix():
    two = np.stack((ar1(4000, 5.0, 0), ar1(4000, 5.0, 1)), axis=1)
    a = pg.Events.from_dict({"x": two.ravel(), "chain": np.tile([0, 1], 4000)})
    b = events(500)
    design, _, _ = design_of(a, b, [quantity(a, b)], chains=("chain", None))
    assert design.tau[0] == pytest.approx(5, rel=0.3)
    of_block = [set(np.flatnonzero(design.blocks[0] == k) % 2) for k in range(20)]
    assert all(len(chains) == 1 for chains in of_block)


def test_too_short_chains_are_refused_with_what_they_are():
    a = pg.Events.from_dict({"x": np.cumsum(np.random.default_rng(0).normal(size=200))})
    b = events(500)
    with pytest.raises(ValueError, match=r"the reference is 1 Markov chain.* p-values need 20"):
        design_of(a, b, [quantity(a, b)], chains=(True, None))


def test_independent_events_called_a_chain_lose_little():
    a, b = events(3000), events(3000, 1)
    design, _, _ = design_of(a, b, [quantity(a, b)], chains=(True, True))
    assert design.tau == pytest.approx((0.5, 0.5), rel=0.35)


def test_naive_chains_are_called_different_and_told_ones_are_not():
    a, b = (pg.Events.from_dict({"x": ar1(4000, 20.0, seed)}) for seed in (2, 5))
    quick = {"max_events": 800, "tolerance": 0.5}
    naive = compare(a, b, **quick)
    assert naive.difference_seen
    told = compare(a, b, chains=(True, True), **quick)
    assert not told.difference_seen
    assert told.n_effective[0] < 300
    numbered = [e.with_columns({"chain": np.zeros(4000)}) for e in (a, b)]
    assert [r.name for r in compare(*numbered, chains=("chain", "chain"), **quick).table] == ["x"]


def test_slices_of_values_and_of_ranges():
    a = given(events(100, beta=np.repeat([0.3, 0.4], 50)), "beta")
    b = given(events(60, beta=np.repeat([0.4, 0.3], 30)), "beta")
    found = slice_conditions(a, b, "beta")
    assert [found.label(k) for k in range(2)] == ["beta 0.3", "beta 0.4"]
    assert found.counts.tolist() == [[50, 50], [30, 30]]
    energy = np.geomspace(1, 50_000, 1000)
    c = given(events(1000, energy=energy), "energy")
    c = c.replace_schema(c.schema.with_field("energy", unit="MeV"))
    ranges = slice_conditions(c, c, "energy")
    assert ranges.counts[0].tolist() == [200] * 5
    assert ranges.label(4).endswith("to 50000 MeV")
    assert (
        slice_conditions(*(given(events(50, beta=np.ones(50)), "beta") for _ in "ab"), "beta")
        is None
    )


def test_slices_of_one_number_per_event_only():
    column = events(100, beta=np.repeat([0.3, 0.4], 50))
    boxed = events(100, beta=np.repeat([0.3, 0.4], 50)[:, None])  # of shape (100, 1)
    for pair in ((boxed, boxed), (column, boxed)):
        assert slice_conditions(*pair, "beta").counts.tolist() == [[50, 50]] * 2
    arrays = events(100, beta=np.zeros((100, 3)))
    assert slice_conditions(arrays, arrays, "beta") is None


def test_conditions_that_differ_are_balanced_and_missing_ones_told():
    rng = np.random.default_rng(0)
    beta = [np.repeat([0.0, 2.0], n) for n in ((1500, 500), (500, 1500))]
    samples = [
        given(pg.Events.from_dict({"x": b + rng.normal(size=2000), "beta": b}), "beta")
        for b in beta
    ]
    report = compare(*samples, max_events=800, tolerance=0.5)
    assert not report.difference_seen
    assert "beta has not the same law in both samples" in " ".join(report.notes)
    assert [row.name for row in report.table] == ["x"]
    lacking = compare(samples[0], samples[1][samples[1]["beta"] == 0], max_events=800)
    assert "the candidate has hardly any events in 1 of 2 slices of beta" in " ".join(
        lacking.notes
    )
    assert lacking.outcome == "fail"
    # the same conditions on both sides: a worse x is seen at its condition
    x = samples[0]["x"] + np.where(beta[0] == 2.0, 0.5, 0.0)
    worse = compare(samples[0], samples[0].with_columns({"x": x[::1] + 1e-6}), max_events=800)
    assert worse.outcome == "fail"
    assert [part.p_value < 0.01 for part in worse.slices] == [False, True]
