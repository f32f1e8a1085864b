"""The bit-coded farm of Triton kernels against sequential moves and exact laws.

Run by test_ising_cuda.py in Triton's interpreter, with TRITON_INTERPRET=1, and by test_gpu.py on
a GPU. Not collected by name: the variable must be set before Triton is imported.
"""

import os

import numpy as np
import pytest
import torch

from physgen.random import philox
from physgen.simulators import ising_cuda
from physgen.simulators.ising import Ising2D
from physgen.simulators.ising_cuda import CudaFarm
from physgen.simulators.ising_exact import (
    boltzmann,
    counts_chi2,
    energy_chi2,
    enumerate_states,
    spins_of_state,
    state_of_spins,
)
from physgen.simulators.lattice import cubic, square, triangular
from physgen.simulators.spin_model import SpinModel, flip_probabilities

SEED = (3 << 40) + 17
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def random_spins(n_lanes, n_sites):
    return np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (n_lanes, n_sites))


def farm(model, beta, rule, start, *, seed=SEED, tile=None):
    tile = tile or (max(2, len(beta) // 32), 16)
    return CudaFarm(model, beta, rule, start, seed, device=DEVICE, tile=tile)


# ---------------------------------------------------------------- the move itself


def uniforms(site, sweep, n_lanes):
    """U of every lattice, from 64 bits, the most significant in word 0 of draw 0."""
    n_words = n_lanes // 32
    column, draw = torch.meshgrid(torch.arange(n_words), torch.arange(16), indexing="ij")
    rest = torch.tensor([site, sweep])[:, None].expand(2, column.numel())
    counter = torch.stack((column.reshape(-1), *rest, draw.reshape(-1)))
    words = philox(counter, (SEED & 0xFFFFFFFF, SEED >> 32)).numpy()
    levels = words.reshape(4, n_words, 16).transpose(1, 2, 0).reshape(n_words, 64)
    bits = (levels[:, None, :] >> np.arange(32)[:, None]) & 1
    return bits.reshape(n_lanes, 64) @ 2.0 ** -np.arange(1, 65)


def one_after_the_other(model, beta, rule, start, n_sweeps):
    """The same sweeps, site by site in the order of the lattice, from the same random words."""
    spins, lattice = start.astype(np.int64), model.lattice
    degrees, group = np.unique(lattice.degree, return_inverse=True)
    probability = flip_probabilities(model, beta, rule, degrees)
    lane = np.arange(len(spins))
    for sweep in range(n_sweeps):
        for site in lattice.order:
            k = (spins[:, lattice.neighbors[site]] != spins[:, [site]]).sum(axis=1)
            if model.field:
                k += (lattice.n_neighbors + 1) * (spins[:, site] > 0)
            known = np.minimum(k, probability.shape[1] - 1)
            p = np.where(k == known, probability[group[site], known, lane], 1)
            spins[:, site] *= np.where(uniforms(site, sweep, len(spins)) < p, -1, 1)
    return spins


@pytest.mark.parametrize(
    ("model", "rule", "n_lanes", "n_sweeps"),
    [
        (SpinModel(square((4, 4))), "metropolis", 192, 2),
        (SpinModel(square((3, 5))), "metropolis", 64, 1),
        (SpinModel(square((3, 3), "open"), field=0.3), "heat_bath", 64, 1),
        (SpinModel(triangular((3, 4)), coupling=-1.0), "metropolis", 64, 1),
        (SpinModel(cubic((2, 2, 3))), "heat_bath", 64, 1),
    ],
    ids=["checkerboard", "odd", "open-field", "triangular", "cubic"],
)
def test_waves_of_kernels_move_as_one_site_after_the_other(model, rule, n_lanes, n_sweeps):
    beta = np.linspace(0, 0.6, n_lanes)
    start = random_spins(n_lanes, model.lattice.n_sites)
    ours = farm(model, beta, rule, start, tile=(4, 5))
    ours.sweep(n_sweeps)
    expected = one_after_the_other(model, beta, rule, start, n_sweeps)
    assert (expected != start).mean() > 0.1
    np.testing.assert_array_equal(ours.spins(), expected)


def test_a_history_depends_on_the_seed_and_not_on_tiles_lanes_or_calls():
    model, beta = SpinModel(square((2, 2))), np.full(128, 0.15)
    start = random_spins(128, 4)

    def history(n_lanes, tile, seed, *calls):
        ours = farm(model, beta[:n_lanes], "metropolis", start[:n_lanes], seed=seed, tile=tile)
        for n_sweeps in calls:
            ours.sweep(n_sweeps)
        return ours.spins()

    first = history(128, (4, 4), SEED, 2)
    np.testing.assert_array_equal(history(64, (2, 3), SEED, 1, 1), first[:64])
    assert (history(128, (4, 4), SEED + 1, 2) != first).any(axis=1).mean() > 0.5


def test_counters_agree_with_the_spins():
    model = SpinModel(cubic((2, 3, 2), "open"), coupling=-1.5, field=0.25)
    start = random_spins(192, 12)
    energy, order = farm(model, np.zeros(192), "metropolis", start).measure()
    there = start[:, model.lattice.neighbors[:, :3]].astype(int)
    antiparallel = (there != start[:, :, None]).sum(axis=(1, 2))
    ups = (start > 0).sum(axis=1)
    np.testing.assert_array_equal(energy, model.energies(antiparallel, ups))
    staggered = 1 - 2 * (np.indices((2, 3, 2)).sum(axis=0).ravel() % 2)
    np.testing.assert_allclose(order, (start * staggered).mean(axis=1))


# ---------------------------------------------------------------- the law it leaves

N = 1 << 13


def after_sweeps(states, model, rule, beta, n_sweeps, *, move_at=None):
    """States of lattices drawn from the exact law at beta and moved, and this law."""
    law = boltzmann(states, beta).probabilities
    index = np.random.default_rng(5).choice(len(law), N, p=law)
    start = spins_of_state(index, states.shape).reshape(N, -1)
    ours = farm(model, np.full(N, move_at or beta), rule, start)
    ours.sweep(n_sweeps)
    spins = ours.spins()
    assert (spins != start).any(axis=1).mean() > 0.5
    return state_of_spins(spins.reshape(N, *states.shape)), law


@pytest.fixture
def one_tile(monkeypatch):
    """The interpreter runs one tile after the other, and a wide one takes no longer."""
    monkeypatch.setattr(ising_cuda, "_UNPACK_TILE", (N // 32, 16))


@pytest.mark.usefixtures("one_tile")
def test_the_energies_keep_their_exact_law_and_another_temperature_does_not():
    model, states = SpinModel(square((4, 4))), enumerate_states(4)
    found, _ = after_sweeps(states, model, "metropolis", 0.4, 2)
    assert energy_chi2(states.energy[found], 4, 0.4).p_value > 1e-3
    found, _ = after_sweeps(states, model, "metropolis", 0.4, 2, move_at=0.43)
    assert energy_chi2(states.energy[found], 4, 0.4).p_value < 1e-6


@pytest.mark.usefixtures("one_tile")
def test_every_state_of_an_open_lattice_in_a_field_keeps_its_probability():
    model = SpinModel(square((3, 3), "open"), field=0.2)
    states = enumerate_states(3, field=0.2, boundary="open")
    found, law = after_sweeps(states, model, "heat_bath", 0.35, 2)
    order = np.argsort(-law, kind="stable")
    counts = np.bincount(found, minlength=512)
    assert counts_chi2(counts[order], law[order]).p_value > 1e-3


# ---------------------------------------------------------------- the simulator


def test_the_simulator_runs_on_the_device(monkeypatch):
    monkeypatch.setattr(ising_cuda, "check_device", lambda _: None)
    monkeypatch.setattr(ising_cuda, "lanes_for", lambda _: 64)
    monkeypatch.setattr(ising_cuda, "CudaFarm", _Here)
    ising = Ising2D(2, device="cuda", n_burn_in=1, spacing=1, observables=("energy",))
    events = ising(100, {"beta": 0.4}, rng=1)
    assert events["spins"].shape == (100, 2, 2)
    np.testing.assert_array_equal(events["energy"], ising.energy(events["spins"]))
    np.testing.assert_array_equal(events["spins"], ising(100, {"beta": 0.4}, rng=1)["spins"])


class _Here(CudaFarm):
    """Lives where this suite runs, whatever was asked for."""

    def __init__(self, *args, device):
        assert device == "cuda"
        super().__init__(*args, device=DEVICE, tile=(2, 16))
