import numpy as np
import pytest

from physgen.observables import (
    cos_theta_star,
    delta_phi,
    invariant_mass,
    pair_pt,
    pair_rapidity,
)


def particles(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return [
        x for _ in range(2)
        for x in (rng.uniform(10, 50, n), rng.normal(size=n), rng.uniform(-np.pi, np.pi, n))
    ]  # fmt: skip


def four_vector(pt, eta, phi, mass=0.0):
    pz = pt * np.sinh(eta)
    e = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
    return np.stack([e, pt * np.cos(phi), pt * np.sin(phi), pz])


def mass_of(p):
    return np.sqrt(p[0] ** 2 - (p[1:] ** 2).sum(axis=0))


def boosted(p, along):
    """Momentum in the rest frame of ``along``, one event."""
    m = mass_of(along)
    gamma, beta = along[0] / m, along[1:] / along[0]
    parallel = beta @ p[1:]
    shift = (gamma - 1) * parallel / (beta @ beta) - gamma * p[0]
    return np.concatenate(([gamma * (p[0] - parallel)], p[1:] + shift * beta))


@pytest.mark.parametrize("masses", [(0.0, 0.0), (5.0, 0.0), (0.0, 4.0), (4.2, 91.0)])
def test_pairs_against_four_vectors(masses):
    v = particles()
    total = four_vector(*v[:3], masses[0]) + four_vector(*v[3:], masses[1])
    assert invariant_mass(*v, *masses) == pytest.approx(mass_of(total))
    assert pair_pt(v[0], v[2], v[3], v[5]) == pytest.approx(np.hypot(total[1], total[2]))
    rapidity = np.arctanh(total[3] / total[0])
    assert pair_rapidity(*v, *masses) == pytest.approx(rapidity, abs=1e-12)


def test_a_pair_at_rest():
    still = (45.6, 0.3, 0.0, 45.6, -0.3, np.pi)
    assert invariant_mass(*still) == pytest.approx(91.2 * np.cosh(0.3))
    assert pair_pt(45.6, 0.0, 45.6, np.pi) == pytest.approx(0, abs=1e-13)
    assert pair_rapidity(*still) == pytest.approx(0, abs=1e-15)
    assert cos_theta_star(*still) == pytest.approx(np.tanh(0.3))  # at rest: cos of the polar angle


def test_pairs_of_nothing_are_zero():
    for function in (invariant_mass, pair_rapidity, cos_theta_star):
        assert function(0.0, 0.0, 0.0, 0.0, 0.0, 0.0) == 0


def test_only_differences_of_azimuths_count():
    v = particles()
    turned = [x if k not in (2, 5) else x + 1.234 for k, x in enumerate(v)]
    for function in (invariant_mass, pair_rapidity, cos_theta_star):
        assert function(*turned) == pytest.approx(function(*v), abs=1e-9)
    assert delta_phi(turned[2], turned[5]) == pytest.approx(delta_phi(v[2], v[5]))


def test_a_boost_along_the_beam_shifts_the_rapidity_only():
    v = particles()
    moved = [x if k not in (1, 4) else x + 0.7 for k, x in enumerate(v)]
    assert invariant_mass(*moved) == pytest.approx(invariant_mass(*v))
    assert pair_rapidity(*moved) == pytest.approx(pair_rapidity(*v) + 0.7)
    assert np.abs(cos_theta_star(*moved)) == pytest.approx(np.abs(cos_theta_star(*v)))


def test_decay_angle_against_boosts_to_the_collins_soper_frame():
    """Angle between the negative lepton and the bisector of the beams where the pair rests."""
    v = particles(50)
    for k, found in enumerate(cos_theta_star(*v)):
        one = four_vector(*(x[k] for x in v[:3]))
        total = one + four_vector(*(x[k] for x in v[3:]))
        along = np.sign(total[3])
        beams = [boosted(np.array([1, 0, 0, s * along]), total)[1:] for s in (1, -1)]
        first, second = (b / np.linalg.norm(b) for b in beams)
        axis = (first - second) / np.linalg.norm(first - second)
        lepton = boosted(one, total)[1:]
        assert found == pytest.approx(axis @ lepton / np.linalg.norm(lepton), abs=1e-9)


def test_decay_angle_knows_the_charge():
    v = particles()
    plus = cos_theta_star(*v, charge1=np.ones(200))
    assert plus.tolist() == (-cos_theta_star(*v)).tolist()
    assert plus == pytest.approx(cos_theta_star(*v[3:], *v[:3]), abs=1e-12)
