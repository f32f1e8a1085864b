import awkward as ak
import numpy as np
import pytest

import physgen as pg
from physgen.observables import (
    delta_phi,
    energy_ratio,
    invariant_mass,
    ising_energy,
    layer_energies,
    leading,
    magnetization,
    multiplicity,
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
