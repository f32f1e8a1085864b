import itertools

import numpy as np
import pytest

from physgen.observables import (
    energy_correlation_ratios,
    energy_flow_polynomial,
    jet_girth,
    jet_mass,
    pt_dispersion,
    split_particles,
)

TRIANGLE = [(0, 1), (1, 2), (2, 0)]
GRAPHS = {
    "edge": [(0, 1)],
    "twice": [(0, 1), (0, 1)],
    "wedge": [(0, 1), (1, 2)],
    "triangle": TRIANGLE,
    "star": [(0, 1), (0, 2), (0, 3)],
    "other names": [(5, 9)],
}


def jets(n=6, n_particles=5, seed=0):
    rng = np.random.default_rng(seed)
    eta, phi = rng.normal(0, 0.2, (2, n, n_particles))
    pt = rng.exponential(size=(n, n_particles)) * (rng.random((n, n_particles)) < 0.8)
    return eta, phi, pt


def efp_by_loops(eta, phi, pt, edges, beta):
    vertices = sorted({v for edge in edges for v in edge})
    total = 0.0
    for chosen in itertools.product(range(len(pt)), repeat=len(vertices)):
        at = dict(zip(vertices, chosen, strict=True))
        term = np.prod([pt[i] for i in chosen])
        for k, l in edges:
            term *= np.hypot(eta[at[k]] - eta[at[l]], phi[at[k]] - phi[at[l]]) ** beta
        total += term
    return total


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_energy_flow_polynomials_against_loops(graph, beta):
    v = jets()
    found = energy_flow_polynomial(*v, GRAPHS[graph], beta=beta)
    loops = [efp_by_loops(*one, GRAPHS[graph], beta) for one in zip(*v, strict=True)]
    assert found == pytest.approx(loops, rel=1e-12)


@pytest.mark.parametrize("edges", [[], [(1, 1)]])
def test_graphs_without_edges_are_refused(edges):
    with pytest.raises(ValueError, match="edges between different vertices"):
        energy_flow_polynomial(*jets(), edges)


def test_blocks_do_not_show(monkeypatch):
    v = jets(50)
    whole = energy_flow_polynomial(*v, TRIANGLE)
    monkeypatch.setattr("physgen.observables.jets._MAX_NUMBERS", 7 * 25)
    assert energy_flow_polynomial(*v, TRIANGLE) == pytest.approx(whole, rel=1e-14)


def test_mass_against_pairs():
    eta, phi, pt = jets()
    for k, found in enumerate(jet_mass(eta, phi, pt)):
        square = sum(
            2 * pt[k, i] * pt[k, j]
            * (np.cosh(eta[k, i] - eta[k, j]) - np.cos(phi[k, i] - phi[k, j]))
            for i, j in itertools.combinations(range(5), 2)
        )  # fmt: skip
        assert found == pytest.approx(np.sqrt(square))


def test_mass_is_that_of_the_file(request):
    path = request.config.rootpath.parent / "shared/data/jets_gluon.h5"
    if not path.exists():
        pytest.skip("no data set of jets")
    import h5py

    with h5py.File(path) as file:
        particles, features = file["particle_features"][:], file["jet_features"][:]
    whole = features[:, 3] <= 30  # nothing of these jets was cut
    found = jet_mass(*split_particles(particles[whole])) * features[whole, 0]
    assert whole.sum() > 15
    ratio = found / features[whole, 2]  # below 1, since the particles of the file have masses
    assert 0.45 < ratio.min() < ratio.max() < 1.01
    assert np.corrcoef(found, features[whole, 2])[0, 1] > 0.97


def test_two_particles_by_hand():
    v = np.array([[0.3, -0.1]]), np.array([[0.0, 0.3]]), np.array([[0.6, 0.2]])
    assert jet_girth(*v) == pytest.approx([(0.6 * 0.3 + 0.2 * np.sqrt(0.1)) / 0.8])
    assert pt_dispersion(v[2]) == pytest.approx([np.sqrt(0.4) / 0.8])
    assert energy_flow_polynomial(*v, [(0, 1)]) == pytest.approx([2 * 0.12 * 0.5])
    assert [x.tolist() for x in energy_correlation_ratios(*v)] == [[0], [0]]


def test_correlations_of_an_equilateral_triangle():
    corners = np.arange(3) * 2 * np.pi / 3
    eta, phi = 0.1 * np.cos(corners)[None], 0.1 * np.sin(corners)[None]
    c2, d2 = energy_correlation_ratios(eta, phi, np.full((1, 3), 7.0))
    side, z = 0.1 * np.sqrt(3), 1 / 3
    e2, e3 = 3 * z**2 * side, z**3 * side**3
    assert c2 == pytest.approx([e3 / e2**2])
    assert d2 == pytest.approx([e3 / e2**3])


def everything(eta, phi, pt):
    return np.stack(
        [
            jet_mass(eta, phi, pt),
            pt_dispersion(pt),
            *energy_correlation_ratios(eta, phi, pt),
            energy_flow_polynomial(eta, phi, pt, TRIANGLE),
        ]
    )


def test_padding_and_order_do_not_matter():
    eta, phi, pt = jets()
    more = [np.pad(x, ((0, 0), (0, 4)), constant_values=c) for x, c in zip(
        (eta, phi, pt), (9.9, -9.9, 0.0), strict=True)]  # fmt: skip
    order = np.random.default_rng(1).permutation(9)
    shuffled = [x[:, order] for x in more]
    assert everything(*shuffled) == pytest.approx(everything(eta, phi, pt), rel=1e-9)
    assert jet_girth(*shuffled) == pytest.approx(jet_girth(eta, phi, pt))


def test_shifts_and_turns_of_the_plane():
    eta, phi, pt = jets()
    shifted = everything(eta, phi + 0.5, pt)
    assert shifted == pytest.approx(everything(eta, phi, pt), rel=1e-8)
    turned = everything(-phi, eta, pt)[1:]  # the mass knows eta from phi
    assert turned == pytest.approx(everything(eta, phi, pt)[1:], rel=1e-9)


def test_empty_jets_are_zero():
    nothing = np.zeros((2, 3))
    assert everything(nothing, nothing, nothing).tolist() == np.zeros((5, 2)).tolist()
    assert jet_girth(nothing, nothing, nothing).tolist() == [0, 0]


def test_masked_particles_are_dropped():
    features = np.ones((1, 2, 4))
    features[0, 1] = [5, 5, 5, 0]
    eta, phi, pt = split_particles(features)
    assert (eta.tolist(), phi.tolist(), pt.tolist()) == ([[1, 0]], [[1, 0]], [[1, 0]])
    with pytest.raises(ValueError, match=r"mask last, got \(1, 2, 3\)"):
        split_particles(features[..., :3])
