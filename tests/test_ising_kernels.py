"""Lattices, bit-coded kernels, farms, ladders and thermalization, each against what is known."""

import itertools
import math

import numpy as np
import pytest

from physgen.mcmc import ChainTooShortError
from physgen.random import derived_seed
from physgen.simulators import Ising2D, bits
from physgen.simulators.farms import BitFarm, starting_spins
from physgen.simulators.ising_exact import CRITICAL_BETA, torus
from physgen.simulators.lattice import cubic, square, triangular
from physgen.simulators.sampling import chunk_size
from physgen.simulators.spin_model import SpinModel, flip_probabilities, ordered_spins, random_bits
from physgen.simulators.tempered import TemperedFarm, ladder
from physgen.simulators.thermalization import Thermalization, thermalize
from physgen.simulators.xoshiro import next_u64, seed_states

# ---------------------------------------------------------------- lattices

LATTICES = [
    square((4, 6)),
    square((5, 3)),
    square((4, 5), "open"),
    triangular((4, 6)),
    triangular((5, 4), "open"),
    cubic((3, 4, 5)),
    cubic((2, 3, 4), "open"),
]


@pytest.mark.parametrize("lattice", LATTICES, ids=str)
def test_neighbors_are_mutual(lattice):
    half = lattice.n_neighbors // 2
    sites = np.arange(lattice.n_sites)
    for column in range(half):
        there = lattice.neighbors[:, column]
        back = lattice.neighbors[there, column + half]
        missing = there == sites
        assert (back[~missing] == sites[~missing]).all()
    assert lattice.degree.sum() == 2 * lattice.n_bonds
    assert sorted(lattice.order) == list(sites)


def test_numbers_of_bonds():
    assert square((4, 6)).n_bonds == 48
    assert square((4, 6), "open").n_bonds == 4 * 5 + 3 * 6
    assert triangular((4, 6)).n_bonds == 72
    assert cubic((3, 4, 5)).n_bonds == 180


def test_a_torus_has_the_neighbors_of_a_roll():
    lattice = square((4, 6))
    site = np.arange(24).reshape(4, 6)
    rolls = [np.roll(site, d, axis) for d, axis in ((-1, 0), (-1, 1), (1, 0), (1, 1))]
    assert (lattice.neighbors == np.stack([r.reshape(-1) for r in rolls], axis=1)).all()


def test_sublattices_come_one_after_the_other():
    lattice = square((4, 4))
    color = np.indices((4, 4)).sum(axis=0).reshape(-1) % 2
    assert (np.diff(color[lattice.order]) >= 0).all()
    assert lattice.bipartite
    assert not square((4, 5)).bipartite
    assert square((4, 5), "open").bipartite
    assert not triangular((4, 4)).bipartite


# ---------------------------------------------------------------- bits


def test_packing_goes_both_ways():
    up = random_bits(1, (12, 512))
    words = bits.pack(up)
    assert words.shape == (12, 8)
    assert (words[3, 2] >> np.uint64(5)) & np.uint64(1) == up[3, 2 * 64 + 5]
    assert (bits.unpack(words) == 2 * up.T.astype(np.int8) - 1).all()


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.25, 1 / 3, 0.9999, 1.0])
def test_planes_hold_the_probability(p):
    planes = bits.flip_planes(np.full(512, p))
    assert planes.shape == (64, 8)
    digits = (planes[:, 3] & np.uint64(1)).astype(object)
    q = sum(int(d) << (63 - k) for k, d in enumerate(digits))
    assert abs((q + 1) / 2**64 - p) <= 2.0**-53


def frequency_of_flips(p, n_sweeps=4000, n_classes=5):
    """Fraction of flips when every class has probability p, of shape (512,)."""
    lattice = square((2, 2))
    planes = bits.flip_planes(np.broadcast_to(p, (1, n_classes, 512)))
    state = np.ascontiguousarray(seed_states(1, 0, 8).T)
    words = np.zeros((4, 8), dtype=np.uint64)
    group = np.zeros(4, dtype=np.int32)
    sweep = bits.sweeper(4, n_classes)
    n_flips = np.zeros(512)
    before = bits.unpack(words)
    for _ in range(n_sweeps):
        sweep(words, lattice.neighbors, lattice.order, group, planes, state, 1)
        after = bits.unpack(words)
        n_flips += (after != before).sum(axis=1)
        before = after
    return n_flips / (4 * n_sweeps)


def test_every_lattice_flips_with_its_own_probability():
    p = np.linspace(0, 1, 512)
    sigma = np.sqrt(np.maximum(p * (1 - p), 1e-12) / 16_000)
    z = (frequency_of_flips(p) - p) / sigma
    assert z[0] == 0
    assert z[-1] == 0
    assert np.abs(z).max() < 4.5
    assert abs((z[1:-1] ** 2).mean() - 1) < 4 * math.sqrt(2 / 510)


def test_lattices_draw_their_own_bits():
    """Two lattices with p = 1/2 flip together half of the time, and no pair does more often."""
    lattice = square((2, 2))
    planes = bits.flip_planes(np.full((1, 5, 512), 0.5))
    state = np.ascontiguousarray(seed_states(2, 0, 8).T)
    words = np.zeros((4, 8), dtype=np.uint64)
    sweep = bits.sweeper(4, 5)
    spins = []
    for _ in range(500):
        sweep(
            words, lattice.neighbors, lattice.order, np.zeros(4, dtype=np.int32), planes, state, 1
        )
        spins.append(bits.unpack(words))
    s = np.stack(spins).transpose(1, 0, 2).reshape(512, -1).astype(np.float64)
    correlation = s @ s.T / s.shape[1]
    off_diagonal = correlation[~np.eye(512, dtype=bool)] * math.sqrt(s.shape[1])
    assert abs(off_diagonal.std() - 1) < 0.02
    assert np.abs(off_diagonal).max() < 5.5


def test_the_generators_are_xoshiro():
    """The vector generators give the words of the scalar one, in the order of the levels."""
    state = np.ascontiguousarray(seed_states(3, 0, 8).T)
    expected = seed_states(3, 0, 8)
    lattice = square((2, 2))
    # p = 1 - 2^-64 undecided until a zero bit of the random word: lattices decide in turn
    planes = bits.flip_planes(np.full((1, 5, 512), 1.0))
    words = np.zeros((4, 8), dtype=np.uint64)
    order = np.zeros(1, dtype=np.int32)
    bits.sweeper(4, 5)(
        words, lattice.neighbors, order, np.zeros(4, dtype=np.int32), planes, state, 1
    )
    n_steps = 0
    while not (state == expected.T).all():
        for row in expected:
            next_u64(row)
        n_steps += 1
        assert n_steps <= 64
    assert n_steps % 4 == 0


@pytest.mark.parametrize("lattice", LATTICES, ids=str)
def test_counting_agrees_with_plain_sums(lattice):
    model = SpinModel(lattice, coupling=-0.7, field=0.3)
    spins = 2 * random_bits(5, (512, lattice.n_sites)).astype(np.int8) - 1
    farm = BitFarm(model, np.full(512, 0.3), "metropolis", spins, seed=1)
    energy, order = farm.measure()
    bonds = np.zeros(512)
    for site, row in enumerate(lattice.neighbors[:, : lattice.n_neighbors // 2]):
        for neighbor in row[row != site]:
            bonds += spins[:, site] * spins[:, neighbor]
    assert energy == pytest.approx(0.7 * bonds - 0.3 * spins.sum(axis=1))
    assert order == pytest.approx((spins * ordered_spins(model)).mean(axis=1))
    assert (farm.spins() == spins).all()


def test_exchanging_temperatures_is_exact():
    planes = bits.flip_planes(np.random.default_rng(1).uniform(size=(3, 512)))
    a, b = np.array([0, 70, 511]), np.array([1, 300, 65])
    swapped = planes.reshape(-1, 8).copy()
    bits.exchange(swapped, a, b)
    old, new = (bits.unpack(w.reshape(-1, 8)) for w in (planes, swapped))
    kept = np.setdiff1d(np.arange(512), np.concatenate([a, b]))
    assert (new[a] == old[b]).all()
    assert (new[b] == old[a]).all()
    assert (new[kept] == old[kept]).all()


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize("rule", ["metropolis", "heat_bath"])
@pytest.mark.parametrize(
    ("coupling", "field"), [(1.0, 0.0), (-1.0, 0.0), (0.8, 0.3), (-0.5, -0.2)]
)
def test_flips_are_in_detailed_balance(rule, coupling, field):
    model = SpinModel(square((4, 4)), coupling, field)
    beta = np.full(512, 0.4)
    p = flip_probabilities(model, beta, rule, np.array([4]))[0, :, 0]
    certain = np.ones(5 - len(p)) if len(p) < 5 else np.zeros(0)
    by_count = np.concatenate([p, certain]) if not field else p
    for k, s in itertools.product(range(5), (-1, 1)):
        cost = 2 * coupling * (4 - 2 * k) + 2 * field * s
        there = by_count[k + (5 if field and s > 0 else 0)]
        back = by_count[4 - k + (5 if field and s < 0 else 0)]
        assert there / back == pytest.approx(math.exp(-0.4 * cost))


# ---------------------------------------------------------------- starts


def test_ground_states():
    assert (ordered_spins(SpinModel(square((4, 4)))) == 1).all()
    assert (ordered_spins(SpinModel(square((4, 4)), field=-1.0)) == -1).all()
    board = ordered_spins(SpinModel(square((4, 4)), coupling=-1.0)).reshape(4, 4)
    assert (board == -np.roll(board, 1, 0)).all()
    assert (board == -np.roll(board, 1, 1)).all()


@pytest.mark.parametrize(
    ("lattice", "shape"),
    [
        ("square", (3, 3)),
        ("square", (3, 4)),
        ("square", (4, 4)),
        ("triangular", (4, 4)),
        ("triangular", (2, 5)),
    ],
)
def test_ordered_antiferromagnets_are_ground_states(lattice, shape):
    simulator = Ising2D(shape, coupling=-1.0, lattice=lattice)
    bits = np.arange(1 << math.prod(shape))[:, None] >> np.arange(math.prod(shape)) & 1
    lowest = simulator.energy(2 * bits - 1).min()
    assert simulator.energy(ordered_spins(simulator.model)[None])[0] == lowest


def test_hot_starts_of_the_ordered_phase_have_no_stripes():
    model = SpinModel(square((32, 32)))
    spins = starting_spins(model, np.full(256, 0.6), np.ones(256, dtype=bool), seed=1)
    m = np.abs(spins.mean(axis=1))
    assert m.min() > 0.8


def test_seeds_of_parts_differ():
    seeds = {derived_seed(s, a, b) for s in range(10) for a in range(10) for b in range(10)}
    assert len(seeds) == 1000


# ---------------------------------------------------------------- thermalization


class Relaxing:
    """A farm whose energies are AR(1) with a known time, and far from equilibrium at first."""

    def __init__(self, n_lanes, a, start, *, forgets=True, seed=1):
        self.n_lanes, self._a, self._forgets = n_lanes, a, forgets
        self._rng = np.random.default_rng(seed)
        self._start, self._x = np.asarray(start, dtype=float), np.asarray(start, dtype=float)

    def sweep(self, n_sweeps):
        noise = math.sqrt(1 - self._a**2)
        for _ in range(n_sweeps):
            self._x = self._a * self._x + noise * self._rng.normal(size=self.n_lanes)

    def measure(self):
        x = self._x if self._forgets else self._x + 0.5 * self._start
        return x, x


# where the sign of the order parameter counts
IN_A_FIELD = SpinModel(square((4, 4)), field=0.1)


def test_times_of_a_known_process():
    a = 0.9
    tau = (1 + a) / (2 * (1 - a))
    times = thermalize(
        lambda _, hot: Relaxing(512, a, np.where(hot, 40.0, -40.0)),
        np.array([0.1, 0.2]),
        512,
        IN_A_FIELD,
        "metropolis",
    )
    assert times.tau_energy == pytest.approx(tau, rel=0.1)
    # rho(t) = a^t falls below 0.1 at 21.9, and twice that is the spacing
    assert (abs(times.spacing - 44) <= 6).all()
    assert (abs(times.residual) < 0.05).all()
    # 80 a^t is visible, above 5 standard errors of means over 128 lattices, for 46 sweeps
    seen = math.log(80 / (5 * math.sqrt(2 / 128))) / -math.log(a)
    assert (abs(times.n_burn_in - (seen + 10 * tau)) < 25).all()
    assert (abs(times.hot_cold) < 4).all()


def test_starts_that_never_meet_are_an_error():
    with pytest.raises(ChainTooShortError, match="standard errors") as caught:
        thermalize(
            lambda _, hot: Relaxing(64, 0.5, np.where(hot, 1.0, -1.0), forgets=False),
            np.array([0.44]),
            64,
            IN_A_FIELD,
            "metropolis",
            max_sweeps=1024,
        )
    assert caught.value.tau > 0


def test_a_range_takes_the_slowest_between_its_ends():
    betas = np.array([0.1, 0.2, 0.3, 0.4])
    times = Thermalization.unknown(betas, "metropolis").replaced(1, 1)
    times.n_burn_in[:] = [10, 30, 20, 90]
    times.spacing[:] = [1, 2, 3, 4]
    assert times.slowest(0.1, 0.1) == (10, 1)
    assert times.slowest(0.15, 0.25) == (30, 3)
    assert times.slowest(0.3, 0.3) == (20, 3)
    assert times.slowest(0.0, 1.0) == (90, 4)


# ---------------------------------------------------------------- parallel tempering


def test_a_ladder_swaps_equally_often():
    model = SpinModel(square((16, 16)))
    nodes = np.linspace(0.3, 0.6, 61)
    exact = torus(16, nodes)
    rungs = ladder(np.array([0.3, 0.45, 0.6]), nodes, np.sqrt(exact.heat_capacity) / nodes)
    assert {0.3, 0.45, 0.6} <= set(rungs)
    beta = rungs[np.arange(512) * len(rungs) // 512]
    farm = TemperedFarm(model, beta, starting_spins(model, beta, np.zeros(512, bool), 1), seed=2)
    farm.sweep(400)
    assert (farm.swap_rates > 0.33).all()
    assert farm.n_round_trips > 100


def test_tempered_lanes_stay_at_their_temperature():
    rungs = np.linspace(0.35, 0.5, 8)
    beta = np.repeat(rungs, 64)
    model = SpinModel(square((8, 8)))
    farm = TemperedFarm(model, beta, starting_spins(model, beta, np.zeros(512, bool), 1), seed=3)
    farm.sweep(100)
    energies = []
    for _ in range(200):
        farm.sweep(5)
        energies.append(farm.measure()[0].reshape(8, 64).mean(axis=1))
    exact = torus(8, rungs)
    error = np.std(energies, axis=0) / math.sqrt(200) * 2
    assert (np.abs(np.mean(energies, axis=0) - exact.energy) < 4 * error).all()
    # the configurations handed out are those that were measured
    spins = farm.spins().reshape(512, 8, 8).astype(float)
    bonds = (spins * (np.roll(spins, 1, 1) + np.roll(spins, 1, 2))).sum((1, 2))
    assert (farm.measure()[0] == -bonds).all()


def test_swaps_that_ignore_the_energies_are_found():
    rungs = np.array([0.35, 0.5])
    beta = np.repeat(rungs, 256)
    model = SpinModel(square((8, 8)))
    farm = TemperedFarm(model, beta, starting_spins(model, beta, np.zeros(512, bool), 1), seed=3)
    farm._betas = np.array([0.4, 0.4])  # the swap then believes in equal temperatures
    farm.sweep(100)
    energy = np.mean([(farm.sweep(5), farm.measure()[0])[1] for _ in range(50)], axis=0)
    assert abs(energy[:256].mean() / torus(8, 0.35).energy - 1) > 0.05


def test_chunks_are_bounded():
    assert chunk_size(16, 512) == 16_384
    assert chunk_size(64 * 64, 512) * 64 * 64 <= 1 << 26
    assert chunk_size(4096 * 4096, 32) == 32


def test_the_critical_point_is_where_the_exact_module_has_it():
    assert square((4, 4)).critical_coupling == pytest.approx(CRITICAL_BETA, abs=1e-15)
