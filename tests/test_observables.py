import awkward as ak
import numpy as np
import pytest

import physgen as pg
from physgen.observables import (
    cluster_sizes,
    delta_phi,
    energy_ratio,
    invariant_mass,
    ising_energy,
    layer_energies,
    leading,
    magnetization,
    multiplicity,
    spin_correlations,
    structure_factors,
    total_energy,
)


def test_invariant_mass_against_four_vectors():
    rng = np.random.default_rng(0)
    pt, eta, phi = (
        rng.uniform(10, 50, (2, 100)),
        rng.normal(size=(2, 100)),
        rng.uniform(-3, 3, (2, 100)),
    )
    e, px, py, pz = (
        (pt * f).sum(axis=0) for f in (np.cosh(eta), np.cos(phi), np.sin(phi), np.sinh(eta))
    )
    expected = np.sqrt(e**2 - px**2 - py**2 - pz**2)
    assert invariant_mass(pt[0], eta[0], phi[0], pt[1], eta[1], phi[1]) == pytest.approx(expected)


def test_invariant_mass_of_close_particles_keeps_its_digits():
    angle = 1e-6
    found = invariant_mass(np.float32(50), 0.0, 0.0, np.float32(50), 0.0, angle)
    assert found == pytest.approx(50 * angle, rel=1e-9)


def test_invariant_mass_is_the_column_of_the_file(request):
    names = ["mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "mu2_eta", "mu2_phi"]
    path = request.config.rootpath / "data/zmumu.root"
    events = pg.read_events(path, fields=[*names, "mll"])[:2000]
    found = invariant_mass(*(events[n] for n in names))
    assert np.median(np.abs(found / events["mll"] - 1)) < 1e-3


def test_delta_phi_is_wrapped():
    assert delta_phi(3.0, -3.0) == pytest.approx(6 - 2 * np.pi)
    assert delta_phi(np.pi, 0.0) == pytest.approx(-np.pi)
    assert delta_phi(np.array([0.5]), np.array([0.2])) == pytest.approx([0.3])


def test_ising_energy_by_hand():
    up = np.ones((4, 4))
    flipped = up.copy()
    flipped[1, 2] = -1  # four bonds from -1 to +1
    checkerboard = (-1.0) ** np.add.outer(np.arange(4), np.arange(4))
    assert ising_energy(np.stack((up, flipped, checkerboard))).tolist() == [-32, -24, 32]


def test_ising_energy_of_a_ring_and_a_cube():
    assert ising_energy(np.array([[1, 1, 1, -1, -1, -1]])).tolist() == [-2]
    assert ising_energy(np.ones((1, 3, 3, 3), dtype=np.int8)).tolist() == [-81]


def test_ising_energy_against_a_loop_over_bonds():
    rng = np.random.default_rng(0)
    s = rng.choice([-1, 1], size=(1, 5, 7))
    loop = -sum(
        s[0, i, j] * (s[0, (i + 1) % 5, j] + s[0, i, (j + 1) % 7])
        for i in range(5)
        for j in range(7)
    )
    assert ising_energy(s)[0] == loop


def test_magnetization():
    assert magnetization(np.array([[1, 1, -1, 1]], dtype=np.int8)).tolist() == [0.5]


def test_shower_energies():
    showers = np.arange(24.0).reshape(2, 12)
    layers = layer_energies(showers, (3, 2, 2))
    assert layers.tolist() == [[6, 22, 38], [54, 70, 86]]
    assert layer_energies(showers.reshape(2, 3, 2, 2)).tolist() == layers.tolist()
    assert total_energy(showers).tolist() == layers.sum(axis=1).tolist()
    assert energy_ratio(showers, np.array([[66.0], [105.0]])).tolist() == [1, 2]


def test_a_binning_that_does_not_fit():
    with pytest.raises(ValueError, match=r"12 voxels do not fit the binning \(3, 3\) with 9"):
        layer_energies(np.zeros((2, 12)), (3, 3))


def test_jagged_columns():
    column = ak.Array([[3.0, 1.0], [], [2.0]])
    assert multiplicity(column).tolist() == [2, 0, 1]
    assert leading(column).tolist() == [3, 0, 2]
    assert leading(column, empty=-1).tolist() == [3, -1, 2]


# ---------------------------------------------------------------- spins

SHAPES = [(7,), (6, 6), (5, 7), (3, 4, 5), (2, 2)]


def random_spins(shape, n_events=3, p=0.5):
    rng = np.random.default_rng(0)
    return np.where(rng.random((n_events, *shape)) < p, 1, -1).astype(np.int8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_correlations_against_shifted_lattices(shape):
    s = random_spins(shape)
    c = spin_correlations(s)
    axes = range(1, s.ndim)
    for r in range(min(shape) // 2 + 1):
        shifted = sum(s.astype(float) * np.roll(s, r, axis) for axis in axes)
        assert c[:, r] == pytest.approx(shifted.reshape(3, -1).mean(axis=1) / len(shape))
    assert c.shape == (3, min(shape) // 2 + 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_nearest_correlation_is_the_energy_of_every_event(shape):
    s = random_spins(shape, 200)
    n_bonds = len(shape) * np.prod(shape)
    assert (spin_correlations(s)[:, 1] * n_bonds).round(9).tolist() == (-ising_energy(s)).tolist()


def test_correlations_of_a_ring_add_up_to_the_magnetization():
    s = random_spins((9,), 50, p=0.7)
    c = spin_correlations(s)
    assert c[:, 0] + 2 * c[:, 1:].sum(axis=1) == pytest.approx(9 * magnetization(s) ** 2)


@pytest.mark.parametrize("shape", [(7,), (6, 6), (5, 5), (4, 4, 4)], ids=str)
def test_structure_factors_against_waves(shape):
    s = random_spins(shape)
    found = structure_factors(s)
    assert found[:, 0] == pytest.approx(np.prod(shape) * magnetization(s) ** 2)
    for j in range(shape[0] // 2 + 1):
        expected = np.zeros(3)
        for axis in range(len(shape)):
            wave = np.exp(2j * np.pi * j * np.indices(shape)[axis] / shape[0])
            amplitude = (s * wave).reshape(3, -1).sum(axis=1)
            expected += np.abs(amplitude) ** 2 / np.prod(shape) / len(shape)
        assert found[:, j] == pytest.approx(expected)


def test_wave_numbers_of_different_sides_are_refused():
    with pytest.raises(ValueError, match=r"equal sides only, got \(4, 6\)"):
        structure_factors(np.ones((1, 4, 6)))


def flooded(lattice, *, periodic=True):
    """Sizes of clusters by walking from site to site."""
    left, sizes = set(np.ndindex(lattice.shape)), []
    while left:
        stack, size = [left.pop()], 0
        value = lattice[stack[0]]
        while stack:
            site = stack.pop()
            size += 1
            for axis in range(lattice.ndim):
                for step in (-1, 1):
                    near = list(site)
                    near[axis] += step
                    if periodic:
                        near[axis] %= lattice.shape[axis]
                    if tuple(near) in left and lattice[tuple(near)] == value:
                        left.remove(tuple(near))
                        stack.append(tuple(near))
        sizes.append(size)
    return sorted(sizes, reverse=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.6])
def test_clusters_against_a_walk(shape, p):
    s = random_spins(shape, 20, p)
    assert cluster_sizes(s).tolist() == [flooded(lattice) for lattice in s]


def test_clusters_reach_around_the_lattice():
    stripes = np.ones((1, 6, 6), dtype=np.int8)
    stripes[0, [1, 2, 4]] = -1
    found = cluster_sizes(stripes)
    assert found.tolist() == [[12, 12, 6, 6]]
    assert flooded(stripes[0], periodic=False) == [12, 6, 6, 6, 6]
    assert leading(found).tolist() == [12]
    assert multiplicity(found).tolist() == [4]


def test_blocks_do_not_show(monkeypatch):
    s = random_spins((6, 6), 50)
    functions = (spin_correlations, structure_factors, lambda x: cluster_sizes(x).tolist())
    whole = [f(s) for f in functions]
    monkeypatch.setattr("physgen.observables.spins._BLOCK", 7 * 36)
    for f, expected in zip(functions, whole, strict=True):
        assert np.array_equal(f(s), expected) if f is not functions[2] else f(s) == expected


@pytest.mark.parametrize("function", [spin_correlations, structure_factors, cluster_sizes])
def test_spins_need_an_axis_of_events(function):
    with pytest.raises(ValueError, match=r"one lattice is spins\[None\]"):
        function(np.ones(4))
    with pytest.raises(ValueError, match="an event or more"):
        function(np.ones((0, 4, 4)))


SPIN_FUNCTIONS = [
    ising_energy,
    magnetization,
    spin_correlations,
    structure_factors,
    cluster_sizes,
]


@pytest.mark.parametrize("function", SPIN_FUNCTIONS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool", "int64", "float32"])
def test_spins_of_zero_and_one_are_refused_with_the_way_out(function, dtype):
    up = np.random.default_rng(0).integers(0, 2, (50, 4, 4)).astype(dtype)
    with pytest.raises(
        ValueError, match="spins must be -1 or \\+1, got 0; spins of 0 and 1 become"
    ):
        function(up)
    spins = 2 * up.astype("int8") - 1
    assert function(spins).tolist() == function(spins.astype("float32")).tolist()


@pytest.mark.parametrize("wrong", [np.nan, 0.3, 2.0, -np.inf])
def test_other_spins_are_refused(wrong):
    spins = np.ones((3, 4, 4))
    spins[1, 2, 3] = wrong
    with pytest.raises(ValueError, match=f"got {wrong:g};"):
        ising_energy(spins)
