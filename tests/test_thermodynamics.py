"""Ensemble averages against exact values, and their errors against the spread they predict."""

import tracemalloc
from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure

import physgen as pg
from physgen.mcmc import ChainTooShortError
from physgen.observables import ising_energy, magnetization, spin_correlations
from physgen.simulators import Ising2D, IsingRing
from physgen.simulators.ising_exact import (
    CRITICAL_BETA,
    boltzmann,
    enumerate_states,
    spins_of_state,
    torus,
)
from physgen.thermodynamics import (
    Curve,
    abs_magnetization,
    binder_cumulant,
    cluster_size_distribution,
    correlation_function,
    correlation_length,
    magnetization_moment,
    mean_energy,
    plot_curve,
    plot_lattice,
    plot_pulls,
    specific_heat,
    structure_factor,
    structure_factor_grid,
    susceptibility,
    thermodynamics,
)

N_SITES = 16
HOTTER = 0.38  # a temperature to draw at and weigh to the critical one

AVERAGES = {
    "energy": lambda e, _, **more: mean_energy(e, N_SITES, **more),
    "specific_heat": lambda e, _, **more: specific_heat(e, CRITICAL_BETA, N_SITES, **more),
    "abs_m": lambda _, m, **more: abs_magnetization(m, **more),
    "m2": lambda _, m, **more: magnetization_moment(m, 2, **more),
    "m4": lambda _, m, **more: magnetization_moment(m, 4, **more),
    "chi": lambda _, m, **more: susceptibility(m, CRITICAL_BETA, N_SITES, **more),
    "chi_whole": lambda _, m, **more: susceptibility(
        m, CRITICAL_BETA, N_SITES, connected=False, **more
    ),
    "u4": lambda _, m, **more: binder_cumulant(m, **more),
}


@cache
def states():
    return enumerate_states(4)


@cache
def law(beta=CRITICAL_BETA):
    """Cumulative probabilities of all 65,536 states of the 4 x 4 lattice."""
    return np.cumsum(boltzmann(states(), beta).probabilities)


def draw(shape, rng, *, stay=0.0, beta=CRITICAL_BETA):
    """States from the exact law; a chain (axis 0) that stays where it is with this probability.

    Its autocorrelation time is (1 + stay) / (2 (1 - stay)) for every observable.
    """
    index = np.searchsorted(law(beta), rng.random(shape)).clip(max=65535)
    for t in range(1, shape[0] if stay else 0):
        kept = rng.random(shape[1:]) < stay
        index[t] = np.where(kept, index[t - 1], index[t])
    return index


@cache
def exact_values():
    p = boltzmann(states(), CRITICAL_BETA).probabilities
    return {
        name: average(states().energy, states().magnetization, weights=p, independent=True).value
        for name, average in AVERAGES.items()
    }


def pulls_of(average, exact, samples, **more):
    """One pull per sample of (states, weights)."""
    return np.array(
        [
            average(states().energy[i], states().magnetization[i], weights=w, **more).pull(exact)
            for i, w in samples
        ]
    )


@cache
def independent_samples(n_samples=150):
    index = draw((2000, n_samples), np.random.default_rng(1))
    return [(column, None) for column in index.T]


@cache
def chain_samples(n_samples=150):
    index = draw((800, n_samples, 4), np.random.default_rng(2), stay=0.6)  # tau = 2
    return [(index[:, i], None) for i in range(n_samples)]


@cache
def weighted_samples(n_samples=150):
    index = draw((3000, n_samples), np.random.default_rng(3), beta=HOTTER)
    weights = np.exp(-(CRITICAL_BETA - HOTTER) * states().energy[index])
    return list(zip(index.T, weights.T, strict=True))


def assert_standard_normal(pulls):
    assert abs(pulls.mean()) < 4 / np.sqrt(len(pulls))
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * len(pulls))


# ---------------------------------------------------------------- values


def test_averages_over_all_states_are_the_exact_ones():
    exact = exact_values()
    whole = torus(4, CRITICAL_BETA)
    assert exact["energy"] == pytest.approx(whole.energy_per_site, rel=1e-12)
    assert exact["specific_heat"] == pytest.approx(whole.specific_heat_per_site, rel=1e-12)
    assert exact["abs_m"] == pytest.approx(0.843860444813, abs=1e-12)
    assert exact["m2"] == pytest.approx(0.761358908569, abs=1e-12)
    assert exact["m4"] == pytest.approx(0.665691213267, abs=1e-12)
    assert exact["u4"] == pytest.approx(0.617199318412, abs=1e-12)
    scale = CRITICAL_BETA * N_SITES
    assert exact["chi_whole"] == pytest.approx(scale * exact["m2"], rel=1e-12)
    assert exact["chi"] == pytest.approx(scale * (exact["m2"] - exact["abs_m"] ** 2), rel=1e-12)


def test_specific_heat_keeps_its_digits():
    e = np.random.default_rng(0).choice([-2.0, 2.0], size=1000)
    near = specific_heat(e, 1.0, 1, independent=True)
    far = specific_heat(e - 1e9, 1.0, 1, independent=True)
    assert far.value == pytest.approx(near.value, rel=1e-7)
    assert far.std_error == pytest.approx(near.std_error, rel=1e-7)


def test_a_frozen_lattice_has_no_error():
    frozen = np.full(100, -32.0)
    assert specific_heat(frozen, 5.0, N_SITES).value == 0
    assert mean_energy(frozen, N_SITES).std_error == 0
    assert binder_cumulant(np.ones(100)).value == pytest.approx(2 / 3)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("independent", [True, False])
def test_errors_of_independent_events_cover(name, independent):
    samples = independent_samples()
    pulls = pulls_of(AVERAGES[name], exact_values()[name], samples, independent=independent)
    assert_standard_normal(pulls)


@pytest.mark.parametrize("name", AVERAGES)
def test_errors_of_chains_cover_and_naive_ones_do_not(name):
    average, exact = AVERAGES[name], exact_values()[name]
    assert_standard_normal(pulls_of(average, exact, chain_samples()))
    naive = pulls_of(average, exact, chain_samples(), independent=True)
    assert naive.std() == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("name", AVERAGES)
def test_errors_of_weighted_events_cover_and_weights_matter(name):
    average, exact = AVERAGES[name], exact_values()[name]
    assert_standard_normal(pulls_of(average, exact, weighted_samples(), independent=True))
    ignored = [(index, None) for index, _ in weighted_samples()[:20]]
    assert abs(pulls_of(average, exact, ignored).mean()) > 3


def test_errors_of_weighted_chains_know_both():
    index = draw((1000, 150, 4), np.random.default_rng(4), stay=0.6, beta=HOTTER)
    weights = np.exp(-(CRITICAL_BETA - HOTTER) * states().energy[index])
    samples = [(index[:, i], weights[:, i]) for i in range(150)]
    for name in ("energy", "specific_heat", "u4"):
        assert_standard_normal(pulls_of(AVERAGES[name], exact_values()[name], samples))
    naive = pulls_of(AVERAGES["energy"], exact_values()["energy"], samples, independent=True)
    assert naive.std() == pytest.approx(2, abs=0.5)


def test_weights_of_both_signs():
    """Events of weight -1 take away what as many of weight +1 put in beside the law."""
    samples = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        beside = rng.random(3000) < 0.3
        index = np.where(beside, rng.integers(65536, size=3000), draw((3000,), rng))
        samples.append((index, np.where(beside & (rng.random(3000) < 0.5), -1.0, 1.0)))
    pulls = pulls_of(AVERAGES["energy"], exact_values()["energy"], samples, independent=True)
    assert_standard_normal(pulls)


def test_weights_count_as_fewer_events():
    index, weights = weighted_samples()[0]
    found = mean_energy(states().energy[index], 16, weights=weights, independent=True)
    assert found.n_effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    scaled = mean_energy(states().energy[index], 16, weights=7 * weights, independent=True)
    assert scaled.std_error == pytest.approx(found.std_error)


def test_a_chain_reports_its_tau():
    index = draw((4000, 4), np.random.default_rng(1), stay=0.6)
    assert mean_energy(states().energy[index], N_SITES).tau == pytest.approx(2, abs=0.3)
    assert mean_energy(states().energy[index], N_SITES, independent=True).tau == 0.5


# ---------------------------------------------------------------- correlations


def ring_correlations(n, beta):
    t, r = np.tanh(beta), np.arange(n // 2 + 1)
    return (t**r + t ** (n - r)) / (1 + t**n)


def test_correlations_over_all_states():
    p = boltzmann(states(), CRITICAL_BETA).probabilities
    spins = spins_of_state(np.arange(65536), 4)
    r, value, _ = correlation_function(spins, weights=p, independent=True)
    assert r.tolist() == [0, 1, 2]
    assert value[0] == 1
    assert value[1] == pytest.approx(-torus(4, CRITICAL_BETA).energy_per_site / 2, rel=1e-10)
    k, factor, _ = structure_factor(spins, weights=p, independent=True)
    assert k == pytest.approx([0, np.pi / 2, np.pi])
    assert factor[0] == pytest.approx(N_SITES * 0.761358908569, rel=1e-10)


def test_correlations_of_a_ring_with_their_errors():
    exact = ring_correlations(12, 0.6)
    k = np.arange(7) * np.pi / 6
    t = np.tanh(0.6)
    factor = (1 - t**2) / (1 - 2 * t * np.cos(k) + t**2) * (1 - t**12) / (1 + t**12)
    pulls = []
    for seed in range(100):
        spins = IsingRing(n_spins=12)(1000, {"beta": 0.6}, rng=seed)["spins"]
        pulls.append(
            np.append(
                correlation_function(spins, independent=True).pulls(exact)[1:],
                structure_factor(spins).pulls(factor),
            )
        )
    for column in np.transpose(pulls):
        assert_standard_normal(column)


def test_the_grid_is_the_transform_of_the_correlations():
    spins = Ising2D(8)(512, {"beta": 0.4}, rng=1)["spins"]
    value, error = structure_factor_grid(spins)
    c = np.fft.ifft2(value).real
    axes = (c[0, :5] + c[:5, 0]) / 2
    assert axes == pytest.approx(correlation_function(spins).value, abs=1e-12)
    assert value.mean() == pytest.approx(1, rel=1e-12)
    assert c.sum() == pytest.approx(64 * (magnetization(spins) ** 2).mean(), rel=1e-12)
    curve = structure_factor(spins)
    assert (value[0, :5] + value[:5, 0]) / 2 == pytest.approx(curve.value, rel=1e-12)
    assert error[0, 0] == pytest.approx(curve.std_error[0], rel=0.4)


def test_errors_of_the_grid_cover_also_for_a_chain():
    p = boltzmann(states(), CRITICAL_BETA).probabilities
    all_spins = spins_of_state(np.arange(65536), 4)
    exact = np.tensordot(p, np.abs(np.fft.fft2(all_spins)) ** 2, 1) / N_SITES
    pulls = []
    for index in draw((2560, 150), np.random.default_rng(1), stay=0.4).T:  # bins of 34 tau
        value, error = structure_factor_grid(all_spins[index])
        pulls.append((value - exact)[0, :2] / error[0, :2])
    for column in np.transpose(pulls):
        assert_standard_normal(column)


@pytest.mark.parametrize("independent", [True, False])
def test_correlation_length_of_a_ring(independent):
    t = np.tanh(1.0)
    exact = np.sqrt(t) / (1 - t)  # of any ring, since S(k) keeps its shape
    pulls = [
        correlation_length(
            IsingRing(n_spins=24)(600, {"beta": 1.0}, rng=seed)["spins"], independent=independent
        ).pull(exact)
        for seed in range(120)
    ]
    assert_standard_normal(np.array(pulls))


def test_correlation_length_of_a_repeating_chain():
    t = np.tanh(1.0)
    spins = IsingRing(n_spins=24)(4000, {"beta": 1.0}, rng=3)["spins"]
    once = correlation_length(spins, independent=True)
    again = np.repeat(spins, 8, axis=0)  # tau is near 4
    measured, naive = correlation_length(again), correlation_length(again, independent=True)
    assert abs(once.pull(np.sqrt(t) / (1 - t))) < 4
    assert measured.std_error == pytest.approx(once.std_error, rel=0.3)
    assert naive.std_error < 0.45 * once.std_error


def test_weights_move_the_correlation_length():
    ring = IsingRing(n_spins=12)(20_000, {"beta": 0.8}, rng=1)["spins"]
    w = np.exp(-0.1 * ising_energy(ring))
    t = np.tanh(0.9)
    exact = np.sqrt(t) / (1 - t)
    assert abs(correlation_length(ring, weights=w, independent=True).pull(exact)) < 4
    assert correlation_length(ring, independent=True).pull(exact) < -4


def test_a_length_that_is_too_short_to_see():
    alternating = np.tile([1, -1], (100, 8))
    with pytest.raises(ValueError, match=r"S\(0\) = 0 is not above S\(2 pi/L\).*more events"):
        correlation_length(alternating, independent=True)


# ---------------------------------------------------------------- clusters


def test_cluster_sizes_of_random_rings():
    """Runs of equal spins: on an infinite ring of free spins n(s) = 2^-(s+1)."""
    pulls = []
    for seed in range(100):
        spins = np.random.default_rng(seed).choice([-1, 1], size=(400, 64)).astype(np.int8)
        edges, value, error = cluster_size_distribution(
            spins, edges=[1, 2, 3, 4, 5], independent=True
        )
        pulls.append((value - 2.0 ** -(edges[:-1] + 1)) / error)
    for column in np.transpose(pulls):
        assert_standard_normal(column)


def test_every_spin_is_in_a_cluster():
    spins = Ising2D(6)(600, {"beta": 0.4}, rng=1)["spins"]
    edges, value, error = cluster_size_distribution(spins, edges=np.arange(1, 38))
    assert (edges[:-1] * value).sum() == pytest.approx(1)
    assert (error[value > 0] > 0).all()
    coarse = cluster_size_distribution(spins)
    assert coarse.edges[[0, -2, -1]].tolist() == [1, 36, 37]
    counts, fine = np.diff(coarse.edges) * coarse.value, value
    sums = np.add.reduceat(fine, coarse.edges[:-1] - 1)
    assert counts == pytest.approx(sums)
    with pytest.raises(ValueError, match="two or more increasing integers"):
        cluster_size_distribution(spins, edges=[3, 1])


# ---------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def events():
    beta = np.tile([0.3, 0.44, 0.6], 1000)
    return Ising2D(8, observables=("energy", "magnetization"))(3000, {"beta": beta}, rng=5)


def test_the_table_agrees_with_the_exact_solution(events):
    table = thermodynamics(events)
    exact = torus(8, table.beta)
    assert table.beta.tolist() == [0.3, 0.44, 0.6]
    assert table.n_events.tolist() == [1000] * 3
    assert table.temperature == pytest.approx(1 / table.beta)
    assert np.abs(table.energy_per_site.pulls(exact.energy_per_site)).max() < 4
    assert np.abs(table.specific_heat.pulls(exact.specific_heat_per_site)).max() < 4
    assert np.abs(table.energy_per_site.pulls(exact.energy_per_site + 0.1)).min() > 4
    m = events["magnetization"][events["beta"] == 0.44]
    assert table.m2.value[1] == pytest.approx((m**2).mean())
    assert table.binder_cumulant.value[1] == pytest.approx(
        1 - (m**4).mean() / 3 / (m**2).mean() ** 2
    )


def test_columns_and_spins_tell_the_same(events):
    whole = thermodynamics(events, independent=True)
    spins = thermodynamics(events[["spins", "beta"]], independent=True)
    columns = thermodynamics(
        events[["beta", "energy", "magnetization"]], n_sites=64, independent=True
    )
    assert str(whole) == str(spins) == str(columns)
    assert whole.tau.tolist() == [0.5] * 3


def test_events_that_a_simulator_spaced_are_independent(events, caplog):
    known = thermodynamics(events)
    assert known.tau.tolist() == [0.5] * 3
    assert str(known) == str(thermodynamics(events, independent=True))
    assert thermodynamics(events, independent=False).tau.min() > 0.5
    plain = pg.Events.from_dict({name: events[name] for name in events.schema.names})
    assert thermodynamics(plain).tau.min() > 0.5
    assert not caplog.records


@pytest.mark.parametrize("independent", [None, True, False])
def test_spacings_of_somebody_else_are_warned_of(independent, caplog):
    """512 lattices in turn, 40 events of each one sweep apart: tau in their order is near 1/2."""
    ising = Ising2D(16, n_burn_in=200, spacing=1, observables=("energy", "magnetization"))
    events = ising(40 * 512, {"beta": CRITICAL_BETA}, rng=1)
    caplog.clear()
    table = thermodynamics(events, independent=independent)
    assert "chosen by hand (metropolis, 200 sweeps of burn-in" in caplog.text
    assert "errors are too small" in caplog.text
    m = np.abs(events["magnetization"]).reshape(40, 512)
    honest = m.mean(axis=0).std(ddof=1) / np.sqrt(512)
    assert table.abs_magnetization.std_error[0] < 0.4 * honest


def test_the_table_in_print():
    e = np.tile([-8.0, -4.0], 200)
    m = np.tile([1.0, 0.5], 200)
    table = thermodynamics(
        pg.Events.from_dict({"beta": np.full(400, 0.5), "energy": e, "magnetization": m}),
        n_sites=4,
        independent=True,
    )
    header, row = str(table).splitlines()
    names = "beta [1/J] events E/N [J] c [k_B] <|m|> <m^2> <m^4> chi [1/J] U4 tau"
    assert " ".join(header.split()) == names
    # sd(E/N) = 0.5 and sd(m) = 0.25, over sqrt(400); the variances have no error to first order
    assert row.split() == [
        *("0.5", "400", "-1.500(25)", "0.25", "0.750(13)", "0.625(19)", "0.531(23)", "0.125"),
        *("0.547(7)", "0.5"),
    ]
    assert len(header) == len(row) < 100


def test_weights_count_in_the_table():
    index, weights = weighted_samples()[0]
    columns = {
        "beta": np.full(len(index), CRITICAL_BETA),
        "energy": states().energy[index],
        "magnetization": states().magnetization[index],
        "weight": weights,
    }
    plain = pg.Events.from_dict(columns)
    weighted = plain.replace_schema(plain.schema.with_field("weight", role="weight"))
    exact = exact_values()["energy"]
    assert abs(thermodynamics(weighted, n_sites=16).energy_per_site.pulls(exact)[0]) < 4
    assert abs(thermodynamics(plain, n_sites=16).energy_per_site.pulls(exact)[0]) > 4


def test_a_chain_in_the_table_carries_its_tau(events):
    again = events[np.repeat(np.arange(3000), 6)]
    once, chain = thermodynamics(events), thermodynamics(again, independent=False)
    naive = thermodynamics(again, independent=True)
    assert (chain.tau > 2).all()
    assert chain.energy_per_site.std_error == pytest.approx(
        once.energy_per_site.std_error, rel=0.3
    )
    assert (naive.energy_per_site.std_error < 0.5 * once.energy_per_site.std_error).all()


def test_pulls_without_spread_are_not_numbers():
    curve = Curve(np.arange(2.0), np.array([1.0, 2.0]), np.array([0.0, 0.5]))
    assert np.isnan(curve.pulls(1.0)[0])
    assert curve.pulls(1.0)[1] == 2


# ---------------------------------------------------------------- bad input


def test_what_the_table_refuses(events):
    with pytest.raises(TypeError, match="events must be Events"):
        thermodynamics({"beta": 0.4})
    with pytest.raises(ValueError, match="no field 'beta'"):
        thermodynamics(events[["spins"]])
    with pytest.raises(ValueError, match="give n_sites"):
        thermodynamics(events[["beta", "energy", "magnetization"]])
    with pytest.raises(ValueError, match=r"beta = 0.3 has 2 \(3 of 3 temperatures"):
        thermodynamics(events[:6])
    with pytest.raises(ChainTooShortError, match=r"at beta = 0.3: .*independent=True"):
        thermodynamics(events[:30], independent=False)
    varied = events.with_columns({"field": np.arange(3000.0)}, role="condition")
    with pytest.raises(ValueError, match="field varies too"):
        thermodynamics(varied)


def test_spins_of_another_hamiltonian_need_their_energy():
    simulator = Ising2D(4, boundary="open")
    events = simulator(600, {"beta": 0.4}, rng=1)
    with pytest.raises(
        ValueError, match=r"another energy than the periodic lattice.*with_columns"
    ):
        thermodynamics(events)
    given = events.with_columns({"energy": simulator.energy(events["spins"])})
    exact = boltzmann(enumerate_states(4, boundary="open"), 0.4)
    assert abs(thermodynamics(given).energy_per_site.pulls(exact.energy / 16)[0]) < 4
    with pytest.raises(ValueError, match="another energy"):
        thermodynamics(Ising2D(4, coupling=-1)(600, {"beta": 0.4}, rng=1))


def test_what_averages_refuse():
    e = np.arange(100.0)
    with pytest.raises(ValueError, match=r"beta must be one finite number.*got -1"):
        specific_heat(e, -1, 4)
    with pytest.raises(ValueError, match="several temperatures go into thermodynamics"):
        susceptibility(e, np.array([0.1, 0.2]), 4)
    with pytest.raises(ValueError, match="n_sites must be 1 or more, got 0"):
        mean_energy(e, 0)
    with pytest.raises(ValueError, match="order of a moment must be 1 or more, got 0"):
        magnetization_moment(e, 0)
    with pytest.raises(ValueError, match="Binder cumulant is 0/0"):
        binder_cumulant(np.zeros(100))
    with pytest.raises(ValueError, match=r"shape of the series, \(100,\), got \(5,\)"):
        mean_energy(e, 4, weights=np.ones(5))
    with pytest.raises(ValueError, match="are all zero"):
        mean_energy(e, 4, weights=np.zeros(100))
    with pytest.raises(ValueError, match="8 steps or more"):
        mean_energy(e[:5], 4)
    with pytest.raises(ValueError, match="NaN or inf"):
        mean_energy(np.append(e, np.nan), 4)
    with pytest.raises(ValueError, match="64 bins of events, and 10 events"):
        structure_factor_grid(np.ones((10, 4, 4)))


# ---------------------------------------------------------------- memory


def test_many_lattices_need_bounded_memory():
    spins = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), size=(24_000, 32, 32))
    tracemalloc.start()
    spin_correlations(spins)
    structure_factor_grid(spins)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6  # float64 copies of the spins would be 197 MB


# ---------------------------------------------------------------- figures


def test_curves_are_drawn_with_their_errors(events):
    table = thermodynamics(events, independent=True)
    ax = Figure().subplots()
    assert plot_curve(ax, table.energy_per_site, x=table.temperature, label="L = 8") is ax
    points, _, (bars,) = ax.containers[0]
    assert list(points.get_xdata()) == list(table.temperature)
    assert list(points.get_ydata()) == list(table.energy_per_site.value)
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    assert lengths == pytest.approx(2 * table.energy_per_site.std_error)
    assert ax.containers[0].get_label() == "L = 8"
    assert list(plot_curve(Figure().subplots(), table.m2).lines[0].get_xdata()) == [0.3, 0.44, 0.6]


def test_pulls_are_drawn_over_two_bands():
    ax = Figure().subplots()
    for pulls in ([0.5, -6.0, np.nan], [1.0, 2.0, 0.0]):
        assert plot_pulls(ax, [1, 2, 3], np.array(pulls)) is ax
    assert len(ax.patches) == 2
    low, high = ax.get_ylim()
    assert low == -high == pytest.approx(-6.9)
    assert ax.get_ylabel() == "pull"
    assert plot_pulls(Figure().subplots(), [1], np.array([0.1])).get_ylim() == (-3.5, 3.5)


def test_a_lattice_is_drawn_as_it_is():
    spins = np.array([[1, -1], [-1, -1], [1, 1]])
    ax = plot_lattice(Figure().subplots(), spins, title="T = 2")
    image = ax.images[0]
    assert np.array_equal(image.get_array(), spins)
    assert image.to_rgba(spins)[0, 1, :3].min() == 1  # down is white
    assert ax.get_title() == "T = 2"
    assert list(ax.get_xticks()) == []
    with pytest.raises(ValueError, match=r"one lattice of shape .* take one: spins\[0\]"):
        plot_lattice(Figure().subplots(), spins[None])
