"""The toy simulators against enumeration and closed forms."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

import physgen as pg
from physgen.random import PhiloxRandom
from physgen.simulators import GaussianRing, IsingRing


def ring_law(beta, n_spins=6):
    states = np.array(list(itertools.product((-1, 1), repeat=n_spins)))
    weight = np.exp(beta * (states * np.roll(states, -1, axis=1)).sum(axis=1))
    return states, weight / weight.sum()


def state_counts(spins):
    return np.bincount((spins > 0) @ (1 << np.arange(spins.shape[1])[::-1]), minlength=64)


@pytest.mark.parametrize("beta", [-0.4, 0.0, 0.5, 1.2])
def test_ising_ring_follows_the_enumerated_law(beta):
    n = 40_000
    events = IsingRing()(n, {"beta": beta}, rng=3)
    _, law = ring_law(beta)
    p = chisquare(state_counts(events["spins"]), n * law).pvalue
    assert p > 1e-3
    # negative control: the law of another temperature
    assert chisquare(state_counts(events["spins"]), n * ring_law(beta + 0.1)[1]).pvalue < 1e-3


def test_each_event_has_its_own_temperature():
    beta = np.repeat([0.0, 1.0], 20_000)
    events = IsingRing()(len(beta), {"beta": beta}, rng=1)
    energy = pg.observables.ising_energy(events["spins"])
    for value in (0.0, 1.0):
        states, law = ring_law(value)
        exact = -(states * np.roll(states, -1, axis=1)).sum(axis=1)
        mean, variance = law @ exact, law @ exact**2 - (law @ exact) ** 2
        found = energy[beta == value].mean()
        assert abs(found - mean) < 4 * np.sqrt(variance / 20_000)


def test_events_depend_on_seed_and_number_alone():
    few, many = IsingRing()(10, rng=5), IsingRing()(1000, rng=5)
    np.testing.assert_array_equal(few["spins"], many[:10]["spins"])
    assert (IsingRing()(1000, rng=6)["spins"] != many["spins"]).any()


def test_a_ring_needs_three_spins():
    with pytest.raises(ValueError, match="at least 3"):
        IsingRing(n_spins=2)


def test_gaussian_ring_has_equal_modes_of_the_right_width():
    events = GaussianRing()(16_000, rng=2)
    angle = np.arctan2(events["y"], events["x"])
    mode = np.round(angle / (np.pi / 4)).astype(int) % 8
    assert chisquare(np.bincount(mode)).pvalue > 1e-3
    dx = events["x"] - 2 * np.cos(mode * np.pi / 4)
    assert kstest(dx, "norm", args=(0, 0.15)).pvalue > 1e-3
    assert kstest(dx, "norm", args=(0, 0.16)).pvalue < 1e-3


def test_a_simulator_does_not_share_its_stream_with_surrogates():
    truth = GaussianRing()(2000, rng=4)
    blob = np.stack([truth["x"], truth["y"]], axis=1)
    noise = PhiloxRandom(4, torch.arange(2000)).normal(2000, 2).numpy()
    correlation = np.corrcoef(blob.T, noise.T)[:2, 2:]
    assert np.abs(correlation).max() < 4 / np.sqrt(2000)
