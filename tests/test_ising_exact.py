"""Exact Ising results against each other, against enumeration, and against what is published."""

from decimal import Decimal, localcontext
from math import comb

import numpy as np
import pytest
from scipy.special import ellipe, ellipkm1, kolmogorov

from physgen.observables import ising_energy, magnetization
from physgen.simulators.ising_exact import (
    CRITICAL_BETA,
    CRITICAL_TEMPERATURE,
    beale,
    boltzmann,
    bulk,
    correlation_length,
    counts_chi2,
    density_of_states,
    energy_chi2,
    energy_distribution,
    enumerate_states,
    kaufman,
    residues,
    spins_of_state,
    state_of_spins,
    torus,
)

BETAS = (0.1, 0.25, 0.4, CRITICAL_BETA - 1e-9, CRITICAL_BETA, CRITICAL_BETA + 1e-9, 0.5, 0.8, 1.5)
EXTREME = (1e-8, 1e-4, *BETAS, 3.0, 10.0, 20.0)
SMALL = [(2, 2), (2, 3), (3, 2), (3, 3), (3, 4), (4, 3), (4, 4), (2, 5), (5, 3), (2, 7), (2, 8)]


def relative(value, exact):
    return abs(float((Decimal(float(value)) - Decimal(exact)) / Decimal(exact)))


def deviations(shape, beta):
    """Relative differences of ln Z, energy and heat capacity from the sum over all states."""
    found, exact = torus(shape, beta), boltzmann(enumerate_states(shape), beta)
    return [
        relative(getattr(found, name), getattr(exact, name))
        for name in ("ln_z", "energy_per_site", "specific_heat_per_site")
    ]


# ---------------------------------------------------------------- Kaufman


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_torus_is_the_sum_over_all_states(shape):
    for beta in BETAS:
        ln_z, energy, heat = deviations(shape, beta)
        assert ln_z < 1e-12
        assert energy < 1e-12
        assert heat < 1e-10


def test_other_momenta_are_noticed(monkeypatch):
    right = kaufman._sector
    monkeypatch.setattr(kaufman, "_sector", lambda v, k, n, m: right(v, k + 0.01, n, m))
    assert max(deviations((3, 4), 0.4)) > 1e-4


def test_the_sign_of_the_zero_mode_is_noticed(monkeypatch):
    monkeypatch.setattr(kaufman, "CRITICAL_BETA", 0.3)
    assert max(deviations((4, 4), 0.4)) < 1e-12, "both expansions hold on both sides"
    right = kaufman._expansion_variable
    monkeypatch.setattr(kaufman, "_expansion_variable", lambda K, low: right(K, ~low))
    assert max(deviations((4, 4), 0.4)) > 1e-4


def from_density(shape, beta):
    """Ln Z, energy and heat capacity to 50 digits from the integers."""
    g = density_of_states(shape)
    n_spins = len(g) - 1
    with localcontext() as context:
        context.prec = 50
        beta = Decimal(beta)
        u = (-4 * beta).exp()
        weights = [Decimal(states) * u**k for k, states in enumerate(g)]
        z = sum(weights)
        mean = sum(k * w for k, w in enumerate(weights)) / z
        variance = sum((k - mean) ** 2 * w for k, w in enumerate(weights)) / z
        return z.ln() + 2 * n_spins * beta, 4 * mean - 2 * n_spins, 16 * beta**2 * variance


@pytest.mark.parametrize("shape", [4, (4, 7), (5, 5), (6, 10), 8, 16, 32], ids=str)
def test_torus_and_density_agree_at_every_temperature(shape):
    for beta in EXTREME:
        exact = torus(shape, beta)
        found = (exact.ln_z, exact.energy, exact.heat_capacity)
        for value, wanted in zip(found, from_density(shape, beta), strict=True):
            assert relative(value, wanted) < 1e-13


PUBLISHED = {
    4: (-1.565623787638, 0.7832668259),
    8: (-1.491589107440, 1.1455592399),
    16: (-1.453064852813, 1.4987049594),
    32: (-1.433658466146, 1.8467675900),
    64: (-1.423938389833, 2.1922113931),
    128: (-1.419076272085, 2.5363313351),
    256: (-1.416644954197, 2.8797862552),
    1024: (-1.414821413217, 3.5658628737),
}


@pytest.mark.parametrize("n_side", PUBLISHED)
def test_table_at_the_critical_temperature(n_side):
    exact = torus(n_side, CRITICAL_BETA)
    energy, heat = PUBLISHED[n_side]
    assert exact.energy_per_site == pytest.approx(energy, abs=6e-13)
    assert exact.specific_heat_per_site == pytest.approx(heat, abs=6e-11)


def test_energy_and_heat_are_derivatives_on_a_large_lattice():
    step = 3e-6
    for beta in (0.3, 0.44, CRITICAL_BETA, 0.442, 0.6):
        below, at, above = (torus((200, 300), beta + d * step) for d in (-1, 0, 1))
        slope = -(above.ln_z - below.ln_z) / (2 * step)
        assert slope == pytest.approx(at.energy, rel=1e-6)
        curvature = -(above.energy - below.energy) / (2 * step)
        assert beta**2 * curvature == pytest.approx(at.heat_capacity, rel=1e-5)


def test_torus_takes_arrays():
    betas = np.array([[0.0, 0.3, CRITICAL_BETA], [0.5, 1.0, 50.0]])
    exact = torus((6, 9), betas)
    assert exact.shape == (6, 9)
    assert exact.n_spins == 54
    for name in ("ln_z", "energy", "heat_capacity", "energy_per_site", "specific_heat_per_site"):
        values = getattr(exact, name)
        assert values.shape == betas.shape
        for one, beta in zip(values.flat, betas.flat, strict=True):
            scalar = getattr(torus((9, 6), beta), name)
            assert isinstance(scalar, float)
            assert one == scalar


def test_both_ends_of_the_temperature():
    hot = torus((4, 5), 0.0)
    assert hot.ln_z == pytest.approx(20 * np.log(2), rel=1e-15)
    assert (str(hot.energy), hot.heat_capacity) == ("0.0", 0.0)
    warm = torus(8, 1e-8)
    assert warm.energy_per_site == pytest.approx(-2e-8, rel=1e-12)
    assert warm.specific_heat_per_site == pytest.approx(2e-16, rel=1e-12)
    cold = torus((2, 6), 1e3)
    assert cold.ln_z == pytest.approx(2 * 12e3 + np.log(2), rel=1e-15)
    assert cold.energy_per_site == -2
    assert cold.heat_capacity >= 0


def test_the_sign_of_the_coupling():
    for shape in (2, 4, (2, 6)):
        states = enumerate_states(shape, coupling=-1.5)
        found, exact = torus(shape, 0.3, coupling=-1.5), boltzmann(states, 0.3)
        assert found.ln_z == pytest.approx(exact.ln_z, rel=1e-13)
        assert found.energy == pytest.approx(exact.energy, rel=1e-13)
        assert found.heat_capacity == pytest.approx(exact.heat_capacity, rel=1e-12)
    with pytest.raises(ValueError, match="3 x 4 sites is frustrated"):
        torus((3, 4), 0.3, coupling=-1.0)
    with pytest.raises(ValueError, match="finite"):
        torus(4, 0.3, coupling=np.nan)


# ---------------------------------------------------------------- the infinite lattice


@pytest.mark.parametrize("temperature", [1.8, 2.0, 2.2, 2.4, 2.6, 3.0])
def test_a_large_torus_is_like_the_infinite_lattice(temperature):
    """At 2.2 and 2.4 the side is 28 and 25 correlation lengths, at the others more."""
    infinite = bulk(1 / temperature)
    energy, heat = infinite.energy_per_site, infinite.specific_heat_per_site
    finite = torus(256, 1 / temperature)
    assert finite.energy_per_site == pytest.approx(energy, abs=1e-11)
    assert finite.specific_heat_per_site == pytest.approx(heat, abs=1e-9)
    assert torus(8, 1 / temperature).energy_per_site != pytest.approx(energy, abs=1e-7)


def onsager(K):
    """The formulas as Onsager printed them."""
    modulus = 2 * np.sinh(2 * K) / np.cosh(2 * K) ** 2
    second = 2 * np.tanh(2 * K) ** 2 - 1
    first, other, coth = ellipkm1(second**2), ellipe(modulus**2), 1 / np.tanh(2 * K)
    energy = -coth * (1 + 2 / np.pi * second * first)
    bracket = 2 * first - 2 * other - (1 - second) * (np.pi / 2 + second * first)
    return energy, 2 / np.pi * (K * coth) ** 2 * bracket


def test_bulk_is_onsagers_formula():
    betas = np.concatenate([np.linspace(0.1, 1.0, 91), CRITICAL_BETA + np.array([-1e-6, 1e-6])])
    found = bulk(betas)
    energy, heat = onsager(betas)
    np.testing.assert_allclose(found.energy_per_site, energy, rtol=1e-12)
    np.testing.assert_allclose(found.specific_heat_per_site, heat, rtol=1e-9)
    magnetized = np.sinh(2 * betas) > 1
    expected = np.where(magnetized, np.maximum(1 - np.sinh(2 * betas) ** -4.0, 0), 0) ** 0.125
    np.testing.assert_allclose(found.magnetization, expected, rtol=1e-9)


def test_bulk_at_the_ends_and_at_the_critical_temperature():
    critical = bulk(CRITICAL_BETA)
    assert critical.energy_per_site == pytest.approx(-np.sqrt(2), rel=1e-15)
    assert critical.specific_heat_per_site == np.inf
    assert critical.magnetization == 0
    assert pytest.approx(2.269185314213) == CRITICAL_TEMPERATURE
    near = bulk(CRITICAL_BETA + 1e-12 * np.array([-1, 1]))
    np.testing.assert_allclose(near.energy_per_site, -np.sqrt(2), rtol=1e-10)
    assert np.ptp(near.specific_heat_per_site) < 1e-3
    assert 10 < near.specific_heat_per_site[0] < 20
    hot, cold = bulk([0.0, 1e-8]), bulk([10.0, 1e3])
    np.testing.assert_allclose(hot.energy_per_site, [0, -2e-8], rtol=1e-14)
    np.testing.assert_allclose(hot.specific_heat_per_site, [0, 2e-16], rtol=1e-14)
    np.testing.assert_allclose(cold.energy_per_site, -2, rtol=1e-15)
    np.testing.assert_allclose(cold.specific_heat_per_site, [6400 * np.exp(-80), 0], rtol=1e-14)
    np.testing.assert_allclose(cold.magnetization, 1, rtol=1e-15)


def transfer_gaps(n, beta):
    """Rates of decay along an endless strip of n columns: logarithms of eigenvalue ratios."""
    states = np.arange(1 << n)
    spins = 2.0 * (states[:, None] >> np.arange(n) & 1) - 1
    row = np.exp(beta / 2 * (spins * np.roll(spins, 1, axis=1)).sum(1))
    matrix = row[:, None] * np.exp(beta * spins @ spins.T) * row
    values = np.log(np.linalg.eigvalsh(matrix)[::-1])
    return values[0] - values[1:]


def test_correlation_length_is_the_gap_of_the_transfer_matrix():
    assert transfer_gaps(9, 0.25)[0] == pytest.approx(1 / correlation_length(0.25), rel=1e-4)
    # below the critical temperature the first gap closes, and the next one tends as 1/n^2
    gaps = {n: transfer_gaps(n, 0.7) for n in (5, 7, 9)}
    assert gaps[9][0] < 1e-4
    second = [gaps[n][1] for n in gaps]
    limit = np.polynomial.Polynomial.fit([n**-2.0 for n in gaps], second, 2)(0)
    assert limit == pytest.approx(1 / correlation_length(0.7), rel=5e-3)
    assert limit != pytest.approx(0.5 / correlation_length(0.7), rel=0.1)


def test_correlation_length_near_the_critical_temperature():
    below, at, above = correlation_length(CRITICAL_BETA + 1e-6 * np.array([-1, 0, 1]))
    assert below / above == pytest.approx(2, rel=1e-4)
    assert at == np.inf
    assert correlation_length(0.0) == 0


# ---------------------------------------------------------------- density of states


@pytest.mark.parametrize("shape", [*SMALL, (2, 9)], ids=str)
def test_density_counts_all_states(shape):
    energies = enumerate_states(shape).energy
    n_spins = shape[0] * shape[1]
    counts = np.bincount(((energies + 2 * n_spins) / 4).astype(int), minlength=n_spins + 1)
    assert density_of_states(shape) == tuple(counts.tolist())


@pytest.mark.parametrize("shape", [8, (5, 9), (6, 7), (4, 32), (2, 41), 16, (12, 18)], ids=str)
def test_density_of_larger_lattices(shape):
    rows, cols = shape if isinstance(shape, tuple) else (shape, shape)
    g = density_of_states(shape)
    assert sum(g) == 2 ** (rows * cols)
    assert g == density_of_states((cols, rows))
    assert min(g) >= 0
    if rows % 2 == cols % 2 == 0:
        assert g == g[::-1], "turning every second spin turns the energy"
    if min(rows, cols) > 4:
        n = rows * cols
        # one spin turned, two neighbors, and two apart or three in an L or a line
        assert g[:4] == (2, 0, 2 * n, 4 * n)
        assert g[4] == 2 * (comb(n, 2) - 2 * n + 6 * n + n)


def test_density_is_beales():
    g = density_of_states(32)
    assert sum(g) == 2**1024
    assert g[16] == 122868315209973770496
    assert g[32] == 3523173455605142701375696893142359104
    assert str(g[512]).startswith(
        "6342873169001916568766443273025000331593063924436135196680443689656478072741300511612123"
        "900652711"
    )


def test_a_wrong_cosine_is_noticed(monkeypatch):
    right = beale._cosines
    monkeypatch.setattr(beale, "_cosines", lambda zeta, n, p: right(zeta, n, p)[::-1])
    assert sum(beale._density.__wrapped__(3, 5)) != 2**15


def test_primes_are_primes():
    sieve = [p for p in range(2, 5000) if all(p % q for q in range(2, int(p**0.5) + 1))]
    assert [p for p in range(5000) if residues._is_prime(p)] == sieve
    # strong pseudoprimes to the base 2, and squares and products of large primes
    assert not any(residues._is_prime(p) for p in (2047, 3215031751, 46337**2, 46337 * 46327))
    assert residues._is_prime(2**31 - 1)


def test_too_large_a_lattice_for_the_primes_is_refused():
    with pytest.raises(ValueError, match="10201 sites needs more primes"):
        density_of_states(101)


# ---------------------------------------------------------------- the law of the energy


@pytest.mark.parametrize("beta", [0.0, 0.3, CRITICAL_BETA, 1.0, 20.0])
@pytest.mark.parametrize("shape", [4, (3, 5), 16, 32], ids=str)
def test_energy_distribution_has_the_moments_of_the_torus(shape, beta):
    energies, probabilities = energy_distribution(shape, beta)
    exact = torus(shape, beta)
    mean = probabilities @ energies
    assert probabilities.sum() == pytest.approx(1, rel=1e-14)
    assert (np.diff(energies) > 0).all()
    assert mean == pytest.approx(exact.energy, rel=1e-12, abs=1e-10)
    assert beta**2 * (probabilities @ (energies - mean) ** 2) == pytest.approx(
        exact.heat_capacity, rel=1e-9
    )


def test_energy_distribution_at_infinite_temperature_counts():
    _, probabilities = energy_distribution(16, 0.0)
    exact = [float(Decimal(states) / 2**256) for states in density_of_states(16) if states]
    np.testing.assert_allclose(probabilities, exact, rtol=1e-12)


def test_what_a_user_changes_is_not_remembered():
    energies, probabilities = energy_distribution(4, 0.3)
    energies[:] = probabilities[:] = 0
    assert energy_distribution(4, 0.3)[0][0] == -32


@pytest.fixture(scope="module")
def p_values():
    """p-values of 300 samples of the exact law, and of 300 of a law one percent hotter."""
    rng = np.random.default_rng(5)
    beta = CRITICAL_BETA
    levels, law = energy_distribution(16, beta)
    _, wrong = energy_distribution(16, beta / 1.01)
    return [
        [energy_chi2(rng.choice(levels, 5000, p=p), 16, beta).p_value for _ in range(300)]
        for p in (law, wrong)
    ]


def test_energy_chi2_of_the_exact_law_is_uniform(p_values):
    ordered = np.sort(p_values[0])
    distance = np.abs(ordered - (np.arange(300) + 0.5) / 300).max() + 0.5 / 300
    assert kolmogorov(np.sqrt(300) * distance) > 1e-3


def test_energy_chi2_notices_one_percent_of_temperature(p_values):
    assert np.median(p_values[1]) < 1e-4
    assert max(p_values[1]) < 0.2


def test_energy_chi2_says_what_it_cannot_test():
    with pytest.raises(ValueError, match="no levels of a torus"):
        energy_chi2([-32.0, -28.0, -30.0], 4, 0.4)
    with pytest.raises(ValueError, match="no levels"):
        energy_chi2([np.nan], 4, 0.4)
    with pytest.raises(ValueError, match="single bin"):
        energy_chi2(np.full(1000, -32.0), 4, 5.0)
    with pytest.raises(ValueError, match="single bin"):
        energy_chi2([], 4, 0.4)


def test_bins_are_merged_and_tails_pooled():
    law = np.array([0.001, 0.2, 0.3, 0.25, 0.24, 0.008, 0.001])
    counts = np.array([0, 22, 28, 27, 22, 0, 1])
    fit = counts_chi2(counts, law)
    expected = [20.1, 30, 25, 24.9]
    seen = [22, 28, 27, 23]
    assert fit.dof == 3
    assert fit.chi2 == pytest.approx(
        sum((a - b) ** 2 / b for a, b in zip(seen, expected, strict=True))
    )
    with pytest.raises(ValueError, match=r"got the shapes \(7,\) and \(6,\)"):
        counts_chi2(counts, law[1:])


# ---------------------------------------------------------------- enumeration


def test_states_have_the_energy_of_their_spins():
    for shape in ((3, 4), (2, 5), (4, 4)):
        states = enumerate_states(shape)
        index = np.random.default_rng(1).integers(1 << shape[0] * shape[1], size=500)
        spins = spins_of_state(index, shape)
        assert spins.dtype == np.int8
        assert (state_of_spins(spins) == index).all()
        np.testing.assert_array_equal(states.magnetization[index], magnetization(spins))
        np.testing.assert_array_equal(states.energy[index], ising_energy(spins))


def test_bits_are_counted_from_the_least_along_a_row():
    assert spins_of_state(0b100001, (2, 3)).tolist() == [[1, -1, -1], [-1, -1, 1]]
    assert spins_of_state([[0], [3]], 2).shape == (2, 1, 2, 2)


def test_open_boundaries_and_a_field():
    states = enumerate_states((2, 3), coupling=-0.5, field=0.25, boundary="open")
    spins = spins_of_state(np.arange(64), (2, 3)).astype(float)
    bonds = (spins[:, 1:] * spins[:, :-1]).sum((1, 2))
    bonds += (spins[..., 1:] * spins[..., :-1]).sum((1, 2))
    np.testing.assert_allclose(states.energy, 0.5 * bonds - 0.25 * spins.sum((1, 2)))


def test_boltzmann_of_4x4_at_the_critical_temperature():
    exact = boltzmann(enumerate_states(4), CRITICAL_BETA)
    assert exact.probabilities.sum() == pytest.approx(1)
    assert exact.ln_z == pytest.approx(15.521915458755, abs=1e-12)
    assert exact.abs_magnetization == pytest.approx(0.843860444813, abs=1e-12)
    assert exact.magnetization_2 == pytest.approx(0.761358908569, abs=1e-12)
    assert exact.magnetization_4 == pytest.approx(0.665691213267, abs=1e-12)
    assert exact.binder == pytest.approx(0.617199318412, abs=1e-12)
    assert exact.energy_per_site == pytest.approx(-1.565623787638, abs=1e-12)


def test_susceptibility_is_the_response_to_a_field():
    beta, step = 0.4, 1e-4
    up, none, down = (
        boltzmann(enumerate_states(3, field=h), beta).ln_z for h in (step, 0.0, -step)
    )
    response = (up - 2 * none + down) / (beta * step * 9) ** 2
    second = boltzmann(enumerate_states(3), beta).magnetization_2
    assert response == pytest.approx(second, rel=1e-5)


def test_chi2_over_all_states():
    exact = boltzmann(enumerate_states((3, 4)), 0.3)
    rng = np.random.default_rng(2)
    order = np.argsort(exact.probabilities)
    for law, passes in ((exact, True), (boltzmann(enumerate_states((3, 4)), 0.32), False)):
        states = rng.choice(1 << 12, size=100_000, p=law.probabilities)
        spins = spins_of_state(states, (3, 4))
        counts = np.bincount(state_of_spins(spins), minlength=1 << 12)
        fit = counts_chi2(counts[order], exact.probabilities[order])
        assert (fit.p_value > 1e-3) is passes


def test_twenty_spins_are_enumerated():
    exact = boltzmann(enumerate_states((4, 5)), 0.44)
    assert exact.ln_z == pytest.approx(torus((4, 5), 0.44).ln_z, rel=1e-13)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("shape", [1, 0, -3, (4, 1), (4,), (4, 4, 4), 2.5, "ab", None, (3, 2.0)])
@pytest.mark.parametrize(
    "function",
    [lambda s: torus(s, 0.4), density_of_states, enumerate_states],
    ids=["torus", "density_of_states", "enumerate_states"],
)
def test_bad_shapes(function, shape):
    with pytest.raises(ValueError, match=r"a side or \(rows, cols\), integers of at least 2, got"):
        function(shape)


@pytest.mark.parametrize("beta", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize(
    "function",
    [
        lambda b: torus(4, b),
        bulk,
        correlation_length,
        lambda b: energy_distribution(4, b),
        lambda b: boltzmann(enumerate_states(2), b),
    ],
    ids=["torus", "bulk", "correlation_length", "energy_distribution", "boltzmann"],
)
def test_bad_betas(function, beta):
    with pytest.raises(ValueError, match=f"finite and not negative, in 1/J; got {beta}"):
        function(beta)


def test_other_bad_input():
    with pytest.raises(ValueError, match=r"got -1\.0 in 1 of 2 entries"):
        torus(4, [0.1, -1.0])
    with pytest.raises(ValueError, match="one beta is wanted"):
        energy_distribution(4, [0.1, 0.2])
    with pytest.raises(ValueError, match="25 spins have too many states"):
        enumerate_states(5)
    with pytest.raises(ValueError, match="boundary must be"):
        enumerate_states(3, boundary="closed")
    with pytest.raises(ValueError, match="coupling and field must be finite"):
        enumerate_states(3, field=np.nan)
    with pytest.raises(ValueError, match="integers from 0 to"):
        spins_of_state(16, 2)
    with pytest.raises(ValueError, match="integers from 0 to"):
        spins_of_state(0.5, 2)
    with pytest.raises(ValueError, match="more states than"):
        spins_of_state(0, 8)
    with pytest.raises(ValueError, match="spins of -1 and"):
        state_of_spins([[0, 1], [1, 1]])
