"""Cluster moves leave the exact law: every state of small lattices, Kaufman's energy above."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from physgen.simulators.clusters import energies_and_magnetizations, swendsen_wang, wolff
from physgen.simulators.ising_exact import CRITICAL_BETA, counts_chi2, torus
from physgen.simulators.xoshiro import seed_states

MOVES = {"wolff": wolff, "swendsen-wang": swendsen_wang}
TRIANGULAR_BETA = np.log(3) / 4
# steps along the axes of the lattice, one for each positive direction
AXES = {2: ((1, 0), (0, 1)), 3: ((1, 0, 0), (0, 1, 0), (0, 0, 1))}
TRIANGLE = ((1, 0), (0, 1), (1, 1))


def periodic(shape, steps=None):
    """Neighbors on a torus, positive directions first."""
    sites = np.arange(np.prod(shape)).reshape(shape)
    forward = [np.negative(step) for step in steps or AXES[len(shape)]]
    backward = [np.negative(step) for step in forward]
    shifted = [np.roll(sites, s, range(len(shape))).ravel() for s in forward + backward]
    return np.stack(shifted, axis=1).astype(np.int32)


def bond_sums(spins, neighbors):
    half = neighbors.shape[1] // 2
    return sum((spins * spins[:, neighbors[:, d]]).sum(1, dtype=np.int64) for d in range(half))


def every_state(n_sites):
    bits = np.arange(2**n_sites)[:, None] >> np.arange(n_sites) & 1
    return (2 * bits - 1).astype(np.int8)


def hot(n_lattices, n_sites):
    return np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (n_lattices, n_sites))


def cold(n_lattices, n_sites):
    return np.ones((n_lattices, n_sites), np.int8)


def p_value(move, neighbors, K, *, law_of=None, n_lattices=20_000, n_moves=20, start=hot):
    """Chi-squared test of the states of independent lattices against the enumerated law."""
    n_sites = len(neighbors)
    spins = start(n_lattices, n_sites)
    move(spins, neighbors, K, n_moves, seed_states(7, 0, n_lattices))
    weight = np.exp((K if law_of is None else law_of) * bond_sums(every_state(n_sites), neighbors))
    counts = np.bincount((spins > 0) @ (1 << np.arange(n_sites)), minlength=2**n_sites)
    order = np.argsort(-weight, kind="stable")  # states merged for small numbers are of one energy
    return counts_chi2(counts[order], weight[order] / weight.sum()).p_value


# ---------------------------------------------------------------- every state


@pytest.mark.parametrize("start", [hot, cold])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_all_65536_states_of_4x4_at_t_c(move, start):
    p = p_value(move, periodic((4, 4)), CRITICAL_BETA, n_lattices=150_000, start=start)
    assert 1e-3 < p < 1


LATTICES = {
    "square 3x3, frustrated": (periodic((3, 3)), -0.3),
    "square 2x4, antiferromagnet": (periodic((2, 4)), -0.4),
    "square 3x4": (periodic((3, 4)), 0.4),
    "triangular 3x3 at T_c": (periodic((3, 3), TRIANGLE), TRIANGULAR_BETA),
    "triangular 4x3, frustrated": (periodic((4, 3), TRIANGLE), -0.5),
    "cubic 2x2x2": (periodic((2, 2, 2)), 0.2),
    "cubic 3x2x2": (periodic((3, 2, 2)), 0.2216),
    "ring of 10": (np.stack([np.roll(np.arange(10), d) for d in (-1, 1)], 1).astype("i4"), 0.9),
    "a site bound to itself": (np.zeros((1, 2), dtype=np.int32), 0.5),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
@pytest.mark.parametrize("lattice", LATTICES.values(), ids=LATTICES)
def test_every_state_of_other_lattices(lattice, move):
    # frustration slows the sweeps down; a Wolff cluster may be a single site
    n_moves = 100 if move is wolff else 60
    assert 1e-3 < p_value(move, *lattice, n_moves=n_moves) < 1


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_the_chi_squared_sees_two_percent_in_beta(move):
    neighbors = periodic((4, 4))
    p = p_value(move, neighbors, 1.02 * CRITICAL_BETA, law_of=CRITICAL_BETA, n_lattices=150_000)
    assert p < 1e-3


# ---------------------------------------------------------------- Kaufman's torus

# a cluster holds most of a cold lattice and a few sites of a hot one
N_CLUSTERS = {1.8: 100, 1 / CRITICAL_BETA: 150, 3.0: 600}


def pulls(move, shape, beta, K, start, n_moves, n_lattices=1500):
    """Deviation of the mean and the variance of the energy from Kaufman's, in standard errors."""
    neighbors = periodic(shape)
    spins = start(n_lattices, len(neighbors))
    move(spins, neighbors, K, n_moves, seed_states(11, 0, n_lattices))
    energy = energies_and_magnetizations(spins, neighbors)[0] * np.sign(K)
    exact = torus(shape, beta)
    centered = energy - energy.mean()
    variance = (centered**2).mean()
    error_of_variance = np.sqrt(((centered**4).mean() - variance**2) / n_lattices)
    return (
        (energy.mean() - exact.energy) / np.sqrt(variance / n_lattices),
        (variance - exact.heat_capacity / beta**2) / error_of_variance,
    )


@pytest.mark.parametrize("start", [hot, cold])
@pytest.mark.parametrize("temperature", N_CLUSTERS)
@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_energy_and_its_variance(move, side, temperature, start):
    beta = 1 / temperature
    n_moves = N_CLUSTERS[temperature] if move is wolff else 60
    assert np.abs(pulls(move, (side, side), beta, beta, start, n_moves)).max() < 4


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_energy_of_other_shapes_and_signs(move):
    n_moves = 150 if move is wolff else 40
    assert np.abs(pulls(move, (9, 9), 0.44, 0.44, hot, n_moves)).max() < 4
    assert np.abs(pulls(move, (5, 26), 0.44, 0.44, cold, n_moves)).max() < 4
    # an antiferromagnet on even sides is the ferromagnet with every second spin turned
    assert np.abs(pulls(move, (8, 6), 0.44, -0.44, hot, n_moves)).max() < 4


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_wrong_bond_probability_fails(move):
    # 1 - exp(-K) instead of 1 - exp(-2 K) is the move at half the coupling
    assert abs(pulls(move, (8, 8), 0.44, 0.22, cold, 40)[0]) > 10
    assert abs(pulls(move, (8, 8), 0.44, 0.42, cold, 40)[0]) > 4  # 5 % off is seen as well


@pytest.mark.slow
@pytest.mark.parametrize("temperature", N_CLUSTERS)
@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_energy_and_its_variance_of_large_lattices(move, side, temperature):
    beta = 1 / temperature
    n_moves = (2 if temperature < 3 else 8) * N_CLUSTERS[temperature] if move is wolff else 100
    assert np.abs(pulls(move, (side, side), beta, beta, cold, n_moves, 1000)).max() < 4


# ---------------------------------------------------------------- what the calls promise


@pytest.mark.parametrize("shape", [(4, 6), (2, 3), (3, 2, 2)])
def test_energies_and_magnetizations(shape):
    neighbors = periodic(shape)
    spins = hot(50, len(neighbors))
    energy, magnetization = energies_and_magnetizations(spins, neighbors)
    on_lattice = spins.reshape(-1, *shape).astype(int)
    rolled = sum(np.roll(on_lattice, 1, axis) for axis in range(1, len(shape) + 1))
    np.testing.assert_array_equal(energy, -(on_lattice * rolled).reshape(50, -1).sum(1))
    np.testing.assert_array_equal(magnetization, on_lattice.reshape(50, -1).sum(1))
    assert energy.dtype == magnetization.dtype == np.int64


def test_mean_cluster_size_is_the_mean_square_of_the_magnetization():
    neighbors, n_lattices = periodic((4, 4)), 50_000
    spins, states = cold(n_lattices, 16), seed_states(1, 0, n_lattices)
    wolff(spins, neighbors, CRITICAL_BETA, 30, states)
    size = wolff(spins, neighbors, CRITICAL_BETA, 1, states)
    states_of_4x4 = every_state(16)
    weight = np.exp(CRITICAL_BETA * bond_sums(states_of_4x4, neighbors))
    exact = np.average(states_of_4x4.sum(1, dtype=float) ** 2 / 16, weights=weight)
    assert abs(size.mean() - exact) < 4 * size.std() / np.sqrt(n_lattices)


def batches(move, spins, neighbors, K, n_moves, n_parts):
    """The same lattices in slices, each slice in a thread of its own."""
    spins, states = spins.copy(), seed_states(3, 0, len(spins))

    def work(part):
        move(spins[part], neighbors, K[part], n_moves[part], states[part])

    edges = np.linspace(0, len(spins), n_parts + 1).astype(int)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, [slice(a, b) for a, b in itertools.pairwise(edges)]))
    return spins, states


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_lattice_depends_on_no_other(move):
    spins, neighbors = hot(24, 81), periodic((9, 9))
    K, n_moves = np.linspace(-0.6, 0.6, 24), np.arange(24)
    whole = batches(move, spins, neighbors, K, n_moves, 1)
    for n_parts in (3, 24):
        for got, wanted in zip(
            batches(move, spins, neighbors, K, n_moves, n_parts), whole, strict=True
        ):
            np.testing.assert_array_equal(got, wanted)
    assert (whole[0][0] == spins[0]).all()  # no move asked for
    assert (whole[0][1:] != spins[1:]).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_run_can_be_continued(move):
    neighbors, once, twice = periodic((8, 8)), hot(5, 64), hot(5, 64)
    move(once, neighbors, 0.44, 7, seed_states(1, 0, 5))
    states = seed_states(1, 0, 5)
    for n in (3, 0, 4):
        move(twice, neighbors, 0.44, n, states)
    np.testing.assert_array_equal(once, twice)


def test_extreme_couplings():
    neighbors, states = periodic((8, 8)), seed_states(1, 0, 200)
    spins = cold(200, 64)
    assert (wolff(spins, neighbors, 50.0, 3, states) == 64).all()
    assert (spins == -1).all()
    swendsen_wang(spins, neighbors, 50.0, 1, states)
    assert (np.abs(spins.sum(axis=1)) == 64).all()
    assert 0 < (spins[:, 0] > 0).sum() < 200
    assert (wolff(spins, neighbors, 0.0, 3, states) == 1).all()
    swendsen_wang(spins, neighbors, 0.0, 1, states)
    assert abs(spins.sum()) < 4 * np.sqrt(spins.size)
    assert (wolff(spins, neighbors, 0.4, 0, states) == 0).all()


BAD = {
    "spins must be a C-contiguous array of int8": {"spins": np.ones((3, 16))},
    "spins must be a C-contiguous": {"spins": np.ones((16, 3), np.int8).T},
    "neighbors must be a C-contiguous array of int32": {"neighbors": np.zeros((16, 4), np.int64)},
    "neighbors must have shape": {"neighbors": np.zeros((9, 4), np.int32)},
    "an even number": {"neighbors": np.zeros((16, 3), np.int32)},
    "numbers of sites": {"neighbors": np.full((16, 4), 16, np.int32)},
    "at least one site": {"spins": np.ones((3, 0), np.int8), "neighbors": np.ones((0, 4), "i4")},
    "beta_coupling must be finite, got nan": {"K": [0.1, np.nan, 0.1]},
    "beta_coupling must be one number or one per": {"K": [0.1, 0.2]},
    "must be integers of at least 0, got -1": {"n": -1},
    "must be integers of at least 0, got 2.5": {"n": 2.5},
    "states must have shape": {"states": np.ones((2, 4), np.uint64)},
    "states must be a C-contiguous array of uint64": {"states": np.ones((3, 4))},
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
@pytest.mark.parametrize("message", BAD)
def test_what_is_refused(message, move):
    good = {"spins": cold(3, 16), "neighbors": periodic((4, 4)), "K": 0.4, "n": 1}
    arguments = good | {"states": seed_states(1, 0, 3)} | BAD[message]
    with pytest.raises(ValueError, match=message):
        move(*arguments.values())
